"""Where two JSON values differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield `(path, before, after)` for every leaf that differs. A key missing on one side counts
    as None.

    `path` is dotted, with list indices as numbers. Lists of different lengths differ as a whole.

    >>> list(differences({"a": [1, 2]}, {"a": [1, 3], "b": True}))
    [('a.1', 2, 3), ('b', None, True)]
    """

    def below(key: object) -> str:
        return f"{path}.{key}" if path else str(key)

    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), below(key))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, below(index))
    elif before != after:
        yield path, before, after
