"""Derives the ordered merges of Hugging Face's BPE from a vocabulary with priorities.

sentencepiece, tiktoken and llama2.c keep a list of pieces, and merge the neighbouring pair whose
*merged piece* has the best priority. Hugging Face ranks the pairs instead. Both segment text alike
when every split of a piece into two pieces is a merge, and merges are ordered by the priority of
the merged piece. (transformers 5 orders them by id. That differs if scores do not fall with the id:
Llama-2's whitespace runs score -1e9.)

Example: of the pieces "ab", "abc", "bc" in this order, with "a", "b" and "c", the merges are
(a, b), (a, bc), (ab, c), (b, c).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import AnyStr


def merges_of(pieces: Sequence[AnyStr], parts: Iterable[AnyStr]) -> list[tuple[AnyStr, AnyStr]]:
    """All splits of `pieces` (best priority first) into two pieces that occur in `parts`."""
    known = set(parts)
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
