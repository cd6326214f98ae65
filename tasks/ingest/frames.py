"""Finds the ends of LZ4 and Zstandard frames from their block sizes, without decoding them."""

from __future__ import annotations

import mmap

LZ4_MAGIC = b"\x04\x22\x4d\x18"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
MAX_ZSTD_WINDOW = 1 << 27
"""Largest window that a Zstandard frame may require: 128 MiB, the zstd command's default."""

_LZ4_UNCOMPRESSED_BIT = 0x80000000
_ZSTD_DICTIONARY_ID_BYTES = (0, 1, 2, 4)
_ZSTD_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_ZSTD_MAX_BLOCK_BYTES = 128 << 10
_RLE, _RESERVED = 1, 3


def skippable_end(view: mmap.mmap | bytes, start: int) -> int | None:
    """The end of a skippable frame (the same in both formats); None without one or if it is cut."""
    if (
        len(view) < start + 8
        or view[start + 1 : start + 4] != b"\x2a\x4d\x18"
        or not 0x50 <= view[start] <= 0x5F
    ):
        return None
    end = start + 8 + int.from_bytes(view[start + 4 : start + 8], "little")
    return end if end <= len(view) else None


def lz4_frame_end(view: mmap.mmap | bytes, start: int) -> int | None:
    """Walk a frame's blocks (LZ4 frame format 1.6) to its end; None if the file ends first."""
    # Flags: 8 content size, 1 dictionary id, 4 content checksum, 16 a checksum after each block.
    flags = view[start + 4] if start + 4 < len(view) else 0
    content_size, dictionary_id = bool(flags & 8), bool(flags & 1)
    at = start + 7 + 8 * content_size + 4 * dictionary_id
    while at + 4 <= len(view):
        size = int.from_bytes(view[at : at + 4], "little") & ~_LZ4_UNCOMPRESSED_BIT
        at += 4
        if size == 0:
            end = at + 4 * bool(flags & 4)
            return end if end <= len(view) else None
        at += size + 4 * bool(flags & 16)
    return None


def zstd_frame_end(view: mmap.mmap | bytes, start: int) -> int | None:
    """Walk a frame's blocks (RFC 8878, section 3.1.1) to its end; None if cut short or invalid."""
    if len(view) < start + 6:
        return None
    # Flags: 32 single segment (no window descriptor), 4 content checksum, 3 size of dictionary id.
    flags = view[start + 4]
    single_segment = bool(flags & 32)
    content_size = _ZSTD_CONTENT_SIZE_BYTES[flags >> 6] or int(single_segment)
    at = start + 5 + (not single_segment) + _ZSTD_DICTIONARY_ID_BYTES[flags & 3] + content_size
    while at + 3 <= len(view):
        header = int.from_bytes(view[at : at + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == _RESERVED or (size > _ZSTD_MAX_BLOCK_BYTES and kind != _RLE):
            return None
        at += 3 + (1 if kind == _RLE else size)
        if last:
            end = at + 4 * bool(flags & 4)
            return end if end <= len(view) else None
    return None
