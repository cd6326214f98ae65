"""Runs KenLM's own programs, for corpora too large for the builtin estimator's memory.

Checked: two runs give equal bytes, whatever the memory limit (`-S`) and the location of the files.
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
    """Path of `lmplz` with `build_binary` in the same folder; StageError says how to get them."""
    candidates = [given] if given else [shutil.which("lmplz"), str(BUILD / "lmplz")]
    for candidate in candidates:
        path = Path(candidate) if candidate else None
        if path and path.is_file() and (path.parent / "build_binary").is_file():
            return path.resolve()
    where = f"`lmplz: {given}`" if given else f"the PATH and {BUILD}"
    raise StageError(
        "`estimator: lmplz` needs KenLM's programs lmplz and build_binary in one folder; they were "
        f"not found in {where}. Run `make lmplz` (about a minute), or set `estimator: builtin`"
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
    """Estimate a model and write it in KenLM's binary (probing) format.

    `text`: a sentence per line, pieces separated by spaces. `scratch`: folder for temporary files.
    """
    arpa = scratch / "lm.arpa"
    discounts = ["--discount_fallback", *map(str, fallback)] if fallback else []
    options = ["-o", str(order), "-S", memory, "-T", f"{scratch}/", "--skip_symbols", *discounts]
    _run([str(program), *options, "--text", str(text), "--arpa", str(arpa)])
    _run([str(program.parent / "build_binary"), str(arpa), str(binary)])
    arpa.unlink()


def _run(command: list[str]) -> None:
    completed = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if completed.returncode:
        stderr = completed.stderr.strip()[-_ERROR_CHARACTERS:]
        raise StageError(
            f"{command[0]} failed with exit status {completed.returncode}; command: "
            f"{' '.join(command)}; end of its stderr: {stderr}"
        )
