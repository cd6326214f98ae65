"""Models and tokenizers of which only pointers of Git LFS are here are refused before a run."""

from __future__ import annotations

from pathlib import Path

from infra.io.lfs import ADVICE, WHAT, is_pointer_file
from infra.remote.locations import is_remote
from infra.stage import Pin

WHY = f"is {WHAT}; {ADVICE}"
_NEEDED: dict[str, tuple[str, ...]] = {
    "tokenizer": (".json", ".model", ".jinja"),
    "model": (".json", ".model", ".jinja", ".safetensors"),
    "embeddings": (".json", ".model", ".txt", ".safetensors"),
    "token_vectors": (".json", ".model", ".safetensors"),
    "evaluation": (".json", ".model", ".jinja", ".safetensors"),
    "langid": ("",),
    "language_model": ("",),
}
"""Stage -> how the names of files end that it reads of a folder; others may stay pointers. Stage
ingest looks at its files itself.
"""


def pointer(stage: str, pins: tuple[Pin, ...]) -> Pin | None:
    """The first local file that a stage needs and that is a pointer; None where there is none."""
    for pin in pins:
        needed = pin.path.endswith(_NEEDED.get(stage, ()))
        if needed and not is_remote(pin.path) and is_pointer_file(Path(pin.path)):
            return pin
    return None
