"""Limits beyond which decoded bytes are not text."""

from __future__ import annotations

MAX_REPLACED = 0.02
"""Largest share of undecodable or control characters in text."""

_CONTROLS_WITHIN_BYTES = 1 << 13
_CONTROLS = bytes({*range(0x01, 0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), 0x7F})


def is_garbled(text: str) -> bool:
    """Whether more than `MAX_REPLACED` of a text is U+FFFD."""
    return text.count("\ufffd") > MAX_REPLACED * len(text) + 1


def has_controls(data: bytes) -> bool:
    """Whether the first bytes hold more control characters than text can have."""
    head = data[:_CONTROLS_WITHIN_BYTES]
    return len(head) - len(head.translate(None, _CONTROLS)) > MAX_REPLACED * len(head) + 1
