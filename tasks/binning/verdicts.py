"""What probes of tokenizers found, kept on this machine, and what follows for a run to come.

A verdict is a function of the tokenizer's files, the libraries, Unicode's tables and our code; all
of these are in the name of the file that keeps it. Imports nothing heavy.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

from infra.io.files import replacing
from infra.remote.access import Access
from tasks.binning.stage import BinningParameters

_LIBRARIES = ("tokenizers", "gigatoken")
_HERE = Path(__file__).parent
_CODE = (
    *(_HERE / f"{name}.py" for name in ("probe", "probe_texts", "fast", "encode", "kernels")),
    _HERE.parent / "documents" / "tokenize.py",
)


class Verdict(NamedTuple):
    """`reason`: why gigatoken does not stand for the reference, or "". `example`: a text on which
    ids differ, and how. `digests`: (path, byte, digest of the reference's ids) of documents.
    """

    reason: str = ""
    example: dict[str, Any] | None = None
    digests: tuple[tuple[str, int, str], ...] = ()


def folder_of(access: Access) -> Path:
    """Where verdicts are kept."""
    return access.cache.parent / "encoders"


def kept(tokenizer: Path, cache: Path) -> Verdict | None:
    """What a probe found before for the tokenizer of a folder."""
    try:
        found = json.loads((cache / _name(tokenizer)).read_bytes())
        return Verdict(str(found["reason"]), found["example"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(verdict: Verdict, tokenizer: Path, cache: Path) -> None:
    """Keep a verdict on the tokenizer of a folder, if the disk lets us."""
    content = json.dumps({"reason": verdict.reason, "example": verdict.example})
    with contextlib.suppress(OSError), replacing(cache / _name(tokenizer)) as path:
        path.write_text(content)


def foreseen(parameters: BinningParameters, tokenizer: Path | None, access: Access) -> str:
    """What will tokenize, in words; `tokenizer`: its folder, where it exists before the run."""
    if parameters.tokenize == "tokenizers":
        return "tokenizers, as the recipe says"
    known = kept(tokenizer, folder_of(access)) if tokenizer else None
    if known is None:
        return "gigatoken, if a probe shows the ids of tokenizers; else " + (
            "the run is refused" if parameters.tokenize == "gigatoken" else "tokenizers"
        )
    if known.reason and parameters.tokenize == "gigatoken":
        return f"refused: {known.reason}; set binning.tokenize: auto"
    if known.reason:
        return f"tokenizers, because {known.reason}"
    return "gigatoken: a probe found the ids of tokenizers; a sample of the documents is compared"


def _name(tokenizer: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in (tokenizer / "tokenizer.json", tokenizer / "tokenizer_config.json", *_CODE):
        digest.update(hashlib.blake2b(path.read_bytes()).digest())
    parts = [*map(_version, _LIBRARIES), unicodedata.unidata_version, platform.machine()]
    digest.update("\n".join(parts).encode())
    return f"{digest.hexdigest()}.json"


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return ""
