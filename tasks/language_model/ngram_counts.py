"""A corpus as word ids, and its n-grams with occurrences or adjusted counts.

Steps 1 and 2 of `tasks.language_model.kneser_ney`, which has the definitions and a worked example.

Data layout: see `NgramOrder`. An n-gram is found by sorting `row of its context x vocabulary + last
word`, which fits 64 bits at every order, whereas n words side by side would not. Peak memory is
about `BYTES_PER_TOKEN` per token at order 5; beyond `TOKENS_LIMIT` tokens use lmplz, which sorts on
disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int32]

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")

BYTES_PER_TOKEN = 200
TOKENS_LIMIT = 200_000_000


class TooManyTokens(ValueError):
    """The corpus is too large to be estimated in memory."""


@dataclass
class Corpus:
    """Sentences as word ids; after the special words, ids are in order of first appearance."""

    words: dict[str, int] = field(
        default_factory=lambda: {word: row for row, word in enumerate(SPECIAL_WORDS)}
    )
    sentences: int = 0
    tokens: int = 0
    """Words added, not counting `<s>` and `</s>`."""
    _chunks: list[Rows] = field(default_factory=list)

    def add(self, sentences: Iterable[Sequence[str]]) -> None:
        """Append sentences without special words (`lmplz --skip_symbols`); skip empty sentences.

        Raises `TooManyTokens` beyond `TOKENS_LIMIT`.
        """
        words = self.words
        row: list[int] = []
        for sentence in sentences:
            ids = [words.setdefault(word, len(words)) for word in sentence]
            if min(ids, default=0) < len(SPECIAL_WORDS):
                ids = [id_ for id_ in ids if id_ >= len(SPECIAL_WORDS)]
            if not ids:
                continue
            self.sentences += 1
            self.tokens += len(ids)
            row.append(BEGIN)
            row.extend(ids)
            row.append(END)
        if self.tokens > TOKENS_LIMIT:
            raise TooManyTokens(
                f"the reference text has more than {TOKENS_LIMIT:,} tokens, the limit of the "
                f"builtin estimator (about {TOKENS_LIMIT * BYTES_PER_TOKEN >> 30} GiB of memory); "
                "lower `documents`, or set `estimator: lmplz`"
            )
        self._chunks.append(np.array(row, dtype=np.int32))

    def ids(self) -> Rows:
        """All sentences concatenated, each as `<s> ... </s>`; shape (T,)."""
        return np.concatenate([np.zeros(0, dtype=np.int32), *self._chunks])


@dataclass
class NgramOrder:
    """The distinct n-grams of one order, sorted by (context, word); one array entry per n-gram.

    An n-gram is its row in these arrays. Example, the bigrams of `<s> a b a </s>` with ids `<s>` 1,
    `</s>` 2, a 3, b 4: context [1 3 3 4], word [3 2 4 3], suffix [3 2 4 3]. The trigram `a b a` has
    context 2 (bigram row of `a b`), word 3 and suffix 3 (bigram row of `b a`).
    """

    context: Rows
    """Row, one order lower, of the n-gram without its last word (0 for unigrams)."""
    word: Rows
    """Id of the last word."""
    suffix: Rows
    """Row, one order lower, of the n-gram without its first word (0 for unigrams)."""
    count: npt.NDArray[np.int64]
    """Occurrences; after `adjust`, adjusted counts."""
    first: Rows
    """Id of the first word."""


def count_ngrams(ids: Rows, vocabulary: int, order: int) -> list[NgramOrder]:
    """Orders 1 to `order` of concatenated sentences, with occurrences as counts.

    Args:
        ids: `Corpus.ids`, shape (T,).
        vocabulary: number of words; a unigram's row is its word's id.
    """
    word_ids = np.arange(vocabulary, dtype=np.int32)
    no_row = np.zeros(vocabulary, dtype=np.int32)
    occurrences = np.bincount(ids, minlength=vocabulary)
    orders = [NgramOrder(no_row, word_ids, no_row, occurrences, word_ids)]
    # positions: places in `ids` where an n-gram of the current length ends.
    # previous[p]: row of the n-gram, one shorter, that ends at p.
    previous, positions = ids, np.arange(len(ids))
    for length in range(2, order + 1):
        # If the shorter n-gram at p begins with <s>, no longer one ends at p.
        positions = positions[ids[positions - (length - 2)] != BEGIN]
        # The n-gram that ends at p is the shorter one that ends at p - 1, then the word at p.
        keys = previous[positions - 1].astype(np.int64) * vocabulary + ids[positions]
        unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        context = (unique // vocabulary).astype(np.int32)
        # The suffix is the shorter n-gram that ends at p. All occurrences agree, so which of them
        # is written last does not matter.
        suffix = np.empty(len(unique), dtype=np.int32)
        suffix[inverse] = previous[positions]
        orders.append(
            NgramOrder(
                context,
                (unique % vocabulary).astype(np.int32),
                suffix,
                counts,
                orders[-1].first[context],
            )
        )
        rows = np.full(len(ids), -1, dtype=np.int32)
        rows[positions] = inverse
        previous = rows
    return orders


def adjust(orders: Sequence[NgramOrder]) -> list[list[int]]:
    """Replace occurrences by adjusted counts, in place.

    Returns, for each order, how many n-grams have adjusted count 0, 1, 2, 3, 4, and 5 or more (with
    lmplz's treatment of the last n-gram, see `tasks.language_model.kneser_ney`).
    """
    occurrences = [
        int(order.count[row]) for order, row in zip(orders, last_rows(orders), strict=False)
    ]
    for lower, higher in itertools.pairwise(orders):
        # Each distinct longer n-gram with this suffix has another word on the left.
        predecessors = np.bincount(higher.suffix, minlength=len(lower.word))
        lower.count = np.where(lower.first == BEGIN, lower.count, predecessors)
    orders[0].count[BEGIN] = 0
    histograms = [np.bincount(np.minimum(order.count, 5), minlength=6).tolist() for order in orders]
    # As lmplz does: count the last n-gram of each lower order by its occurrences.
    for order, row, occurred, histogram in zip(
        orders, last_rows(orders), occurrences, histograms, strict=False
    ):
        histogram[min(int(order.count[row]), 5)] -= 1
        histogram[min(occurred, 5)] += 1
    return histograms


def last_rows(orders: Sequence[NgramOrder]) -> list[int]:
    """Row of the last n-gram in suffix order, for each order below the highest.

    Suffix order sorts by the last word, then the one before it, and so on. So the last n-gram of an
    order extends that of the order below to the left, by the word with the highest id. Orders in
    which nothing precedes it (it begins with `<s>`) are left out.
    """
    rows = [len(orders[0].word) - 1]
    for order in orders[1:-1]:
        extensions = np.flatnonzero(order.suffix == rows[-1])
        if not len(extensions):
            break
        rows.append(int(extensions[np.argmax(order.first[extensions])]))
    return rows
