"""KenLM's own programs, for corpora that the builtin estimator's memory does not hold.

Checked: the bytes depend neither on the memory given (`-S`) nor on where the files lie, and two
runs give the same.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from infra.stage import StageError

BUILD = Path(__file__).resolve().parents[2] / "build" / "lmplz"
"""Where `make lmplz` puts the programs."""

_ERROR_CHARACTERS = 2_000


def find(given: str | None) -> Path:
    """The `lmplz` program, which must have `build_binary` beside it; `StageError` that names the
    way to get them.
    """
    candidates = [given] if given else [shutil.which("lmplz"), str(BUILD / "lmplz")]
    for candidate in candidates:
        path = Path(candidate) if candidate else None
        if path and path.is_file() and (path.parent / "build_binary").is_file():
            return path.resolve()
    where = f"`lmplz: {given}`" if given else f"the PATH and {BUILD}"
    raise StageError(
        "`estimator: lmplz` needs KenLM's programs lmplz and build_binary, which are not in one "
        f"folder at {where}. Run `make lmplz` (about a minute), or set `estimator: builtin`"
    )


def estimate(
    program: Path,
    text: Path,
    binary: Path,
    scratch: Path,
    *,
    order: int,
    fallback: tuple[float, float, float] | None,
    memory: str,
) -> None:
    """Estimate a model from lines of space-separated pieces and write it in KenLM's binary
    (probing) format.
    """
    arpa = scratch / "lm.arpa"
    discounts = ["--discount_fallback", *map(str, fallback)] if fallback else []
    options = ["-o", str(order), "-S", memory, "-T", f"{scratch}/", "--skip_symbols", *discounts]
    _run([str(program), *options, "--text", str(text), "--arpa", str(arpa)])
    _run([str(program.parent / "build_binary"), str(arpa), str(binary)])
    arpa.unlink()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = done.stderr.strip()[-_ERROR_CHARACTERS:]
        raise StageError(
            f"{command[0]} ended with {done.returncode}; command: {' '.join(command)}; it said: "
            f"{said}"
        )
