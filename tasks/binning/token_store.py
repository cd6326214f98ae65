"""The documents of a range as one array of tokens, dealt into bins."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.ledger import Ledger
from tasks.binning.encode import Encoded
from tasks.binning.kernels import append_documents
from tasks.binning.lines import SelectedDocument
from tasks.binning.write import Documents


class TokenStore:
    """`size`: bytes of the range, of which text has hardly ever fewer than tokens (the array then
    grows). `begin`, `end`: ids around every document.
    """

    def __init__(self, size: int, begin: Sequence[int], end: Sequence[int], bins: int) -> None:
        self._begin, self._end = np.array(begin, np.uint32), np.array(end, np.uint32)
        self._bins = bins
        self._tokens = np.empty(size, np.uint32)  # pages without tokens take no memory
        self._filled = 0
        self._ids: list[str] = []
        self._copies: list[tuple[int, int]] = []
        """(document, bin) of every copy, in the order of the documents."""
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._prompts: list[npt.NDArray[np.int64]] = []
        self._bytes = Counter[tuple[str, str]]()
        self._documents = Counter[tuple[str, str]]()
        self.counts = Counter[str]()
        self.repeats = Counter[int]()
        """Copies of a document -> documents."""

    def add(self, batch: Sequence[SelectedDocument], encoded: Encoded) -> None:
        """Keep a batch's ids, and count the batch."""
        around = len(self._begin) + len(self._end)
        filled = self._filled + len(encoded.ids) + around * len(batch)
        if filled > len(self._tokens):
            grown = np.empty(filled + filled // 4, np.uint32)
            grown[: self._filled] = self._tokens[: self._filled]
            self._tokens = grown
        ids = np.ascontiguousarray(encoded.ids)
        self._filled = append_documents(
            self._tokens, self._filled, ids, encoded.lengths, self._begin, self._end
        )
        self._lengths.append(encoded.lengths + around)
        self._prompts.append(encoded.prompts + len(self._begin))
        self._copies += [
            (number, bin_)
            for number, document in enumerate(batch, len(self._ids))
            for bin_ in bins_of(document.id, self._bins, document.repeats)
        ]
        self._ids += [document.id for document in batch]
        self.repeats.update(document.repeats for document in batch)
        for document in batch:
            key = document.source, document.language
            size = _bytes(document.text) + _bytes(document.prompt)
            self._documents[key] += 1
            self._bytes[key] += size
            self.counts["bytes"] += size
            self.counts["characters"] += len(document.text) + len(document.prompt)
        self.counts["text_tokens"] += len(ids)

    @property
    def ledger(self) -> Ledger:
        """What was read, all of which is kept."""
        ledger = Ledger()
        for (source, language), documents in self._documents.items():
            size = self._bytes[source, language]
            for side in ("read", "kept"):
                ledger.add(source, language, side, documents=documents, bytes=size)
        return ledger

    def of_bin(self, number: int) -> Documents:
        """The copies of documents that are dealt to a bin, in the order they were read."""
        lengths = np.concatenate([np.empty(0, np.int64), *self._lengths])
        prompts = np.concatenate([np.empty(0, np.int64), *self._prompts])
        copies = np.array(self._copies, np.int64).reshape(-1, 2)
        within = copies[copies[:, 1] == number, 0]
        return Documents(
            pa.array([self._ids[document] for document in within.tolist()], pa.string()),
            self._tokens,
            (np.cumsum(lengths) - lengths)[within],
            lengths[within],
            prompts[within],
        )


def bins_of(document_id: str, bins: int, repeats: int) -> list[int]:
    """The bin of each copy of a document: as far from each other in training order as bins allow,
    the first where `bin_of` deals it.
    """
    first = bin_of(document_id, bins)
    return [(first + copy * bins // repeats) % bins for copy in range(repeats)]


def _bytes(text: str) -> int:
    """Bytes of text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def bin_of(document_id: str, bins: int) -> int:
    """The bin a document is dealt to, uniform by a keyed hash of its id.

    The key (`person`) makes it independent of other choices by id, such as held-out text.
    """
    digest = hashlib.blake2b(document_id.encode(), digest_size=8, person=b"puna-bin").digest()
    return int.from_bytes(digest, "little") % bins
