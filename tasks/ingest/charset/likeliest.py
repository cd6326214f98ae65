"""Chooses among encodings of eight bits and of several bytes: steps 5 to 7 of `detect`."""

from __future__ import annotations

import re

import numpy as np

from tasks.ingest.charset.decoders import NOT_SINGLE_BYTE, decode_as
from tasks.ingest.charset.garbage import has_controls
from tasks.ingest.charset.likelihood import bits
from tasks.ingest.charset.readings import RARE, RARITY, Reading, bits_per_letter, ranked_readings
from tasks.ingest.charset.utf8 import above_ascii
from tasks.ingest.charset.wide import IMPLAUSIBLE_BITS, wide_without_nul
from tasks.ingest.raw_documents import Unreadable

_NEVER_DECLARED = ("utf-16le", "utf-16be", "x-user-defined", "replacement")
"""Ignored as declarations, because text in these is recognised by structure. HTML reads the first
two as UTF-8, which has been tried by then.
"""

_SAMPLE_BYTES = 1 << 13
_FIRST_BYTES, _SECOND_ROUND = 1 << 11, 6
"""Bytes of the sample on which all encodings are tried, and how many are then tried on all of it.
"""
_DENSE = re.compile(rb"(?:[\x80-\xff]+[\x20-\x7e]{0,6})+")
_PRINTABLE = range(0x20, 0x7F)
_TRUST = 12
_TRUST_PER_BYTE = 0.1
"""A declaration is overruled by a reading that saves more than `_TRUST` bits plus this many bits
per byte above ASCII.
"""
_IMPLAUSIBLE_FROM = 30
"""Bytes above ASCII from which on the average bits per letter are meaningful."""
_PLAIN_BITS, _PLAIN_FROM, _PLAIN_BYTES = 11.5, 40, 1 << 12
"""Shortcut: a declared multi-byte encoding is believed at once if at least _PLAIN_FROM characters
of the first _PLAIN_BYTES cost at most _PLAIN_BITS on average. Correct readings of prose cost 7 to
12.6 (95 % below 11.4), wrong ones that decode without an error 12.5 and more. Comparing all
readings takes ten times as long.
"""
_KANA, _JAPANESE = re.compile("[\u3041-\u30ff]"), ("euc-jp", "shift_jis")
"""Chinese and Korean encodings have kana at the same bytes as EUC-JP, so that Japanese read in them
is cheap too.
"""


def likeliest(data: bytes, declared: list[str]) -> str:
    """The likeliest encoding; `declared` are names in the standard, most trusted first.

    Raises Unreadable("charset") if the bytes are text in none.
    """
    sample = _dense_sample(data)
    above = len(above_ascii(sample))
    trusted = [name for name in declared if name not in _NEVER_DECLARED]
    if trusted and _is_plain(sample[:_PLAIN_BYTES], trusted[0]) and not has_controls(data):
        return trusted[0]
    first_round = ranked_readings(sample[:_FIRST_BYTES], RARITY)[:_SECOND_ROUND]
    names = [reading.name for reading in first_round]
    readings = ranked_readings(sample, dict.fromkeys([*names, *trusted]))
    best = readings[0]
    for name in trusted:
        reading = next(reading for reading in readings if reading.name == name)
        loss = reading.bits - RARITY.get(name, RARE) - best.bits
        if name != "utf-8" and loss <= _TRUST + _TRUST_PER_BYTE * above:
            best = reading
            break
    if wide := wide_without_nul(data, best.name):
        return wide
    if has_controls(data) or (
        above >= _IMPLAUSIBLE_FROM and bits_per_letter(sample, best) > IMPLAUSIBLE_BITS
    ):
        raise Unreadable("charset")
    return best.name


def _dense_sample(data: bytes) -> bytes:
    """The runs of bytes above ASCII, each with the byte before it: for an accent at the end of a
    word, that is the only context.
    """
    head = np.frombuffer(data[: 64 * _SAMPLE_BYTES], np.uint8)
    runs: list[bytes] = []
    size = end = 0
    for start in np.flatnonzero(head > 0x7F).tolist():  # a pattern would try every byte
        if start < end:
            continue
        with_letter = start > end and data[start - 1] in _PRINTABLE
        run = _DENSE.match(data, start, len(head))
        end = run.end() if run else start + 1
        runs.append(data[start - with_letter : end])
        size += len(runs[-1]) + 1
        if size > _SAMPLE_BYTES:
            break
    return b" ".join(runs)[:_SAMPLE_BYTES]


def _is_plain(sample: bytes, name: str) -> bool:
    """Whether a sample is certainly prose in a declared multi-byte encoding (the shortcut)."""
    if name not in NOT_SINGLE_BYTE or name == "utf-8":
        return False
    text = decode_as(name, sample)
    letters = sum(character > "\x7f" for character in text)
    if (
        letters < _PLAIN_FROM
        or "\ufffd" in text[:-1]
        or (name not in _JAPANESE and _KANA.search(text))
    ):
        return False
    return bits_per_letter(sample, Reading(name, bits(text))) <= _PLAIN_BITS
