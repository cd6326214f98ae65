"""From a vocabulary with priorities to the ordered merges that Hugging Face's BPE applies.

sentencepiece, tiktoken and llama2.c all keep a list of pieces and join the neighbouring pair whose
*joined piece* has the best priority. Hugging Face ranks pairs instead. The two agree when every
split of a piece into two pieces is a merge and the merges are ordered by the joined piece's
priority. (transformers 5 orders them by id, which is another order where scores do not fall with
the id: whitespace runs of Llama-2 score -1e9.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

Piece = TypeVar("Piece", str, bytes)


def merges_of(pieces: Sequence[Piece], parts: Iterable[Piece]) -> list[tuple[Piece, Piece]]:
    """All two-way splits of `pieces` (best priority first) into pieces that occur in `parts`."""
    known = set(parts)
    return [
        (piece[:cut], piece[cut:])
        for piece in pieces
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]
