"""Interpolated modified Kneser-Ney estimation in NumPy, written as ARPA: KenLM's `lmplz` without a
compiler.

Follows Chen and Goodman (1998), equation 26 for the discounts, and Heafield et al. (2013) for what
lmplz makes of it:

- a sentence is `<s> w1 ... wn </s>`; no n-gram reaches left of its one `<s>`;
- the highest order counts occurrences, lower orders count distinct words to the left, except for
  n-grams that begin with `<s>`, which nothing can precede and which keep their occurrences; `<s>`
  and `<unk>` alone count 0;
- every order is interpolated with the one below, unigrams with the uniform distribution over all
  words but `<s>`, which is all that `<unk>` gets; `<s>` itself has probability 1, for nobody
  predicts it;
- for the discounts, lmplz takes the last n-gram of each lower order (in suffix order) by its
  occurrences. That looks like a slip of its `AdjustCounts`; leaving it out moved unigram log10
  probabilities by 5e-4 on 500,000 tokens of English. It is kept: so the two agree to 2e-6.

An n-gram is a row: the row of its context (without its last word), its last word, and the row of
its suffix (without its first word). Rows of one order are found by sorting `context row x
vocabulary + word`, which fits 64 bits at any order, so words are never packed side by side. Peak
memory is about `BYTES_PER_TOKEN` a token at order 5; beyond `TOKENS_LIMIT` tokens use lmplz, which
sorts on disk.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Rows = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]

UNKNOWN, BEGIN, END = 0, 1, 2
SPECIAL_WORDS = ("<unk>", "<s>", "</s>")

LOG10_DECIMALS = 6
"""Digits after the point in the ARPA file: KenLM holds float32, and last-bit differences of
libraries vanish.
"""

BYTES_PER_TOKEN = 200
TOKENS_LIMIT = 200_000_000
_WRITE_ROWS = 500_000


class DegenerateDiscount(ValueError):
    """Counts of counts admit no Kneser-Ney discounts for an order."""


class TooManyTokens(ValueError):
    """The corpus does not fit the estimator's memory."""


@dataclass
class Corpus:
    """Sentences as word ids, ids given in order of first appearance after the special words."""

    words: dict[str, int] = field(
        default_factory=lambda: {word: row for row, word in enumerate(SPECIAL_WORDS)}
    )
    sentences: int = 0
    tokens: int = 0
    """Words seen, without `<s>` and `</s>`."""
    _chunks: list[Rows] = field(default_factory=list)

    def add(self, sentences: Iterable[Sequence[str]]) -> None:
        """Append sentences; empty ones are left out, and special words in one are dropped (`lmplz
        --skip_symbols`).
        """
        known = self.words
        row: list[int] = []
        for sentence in sentences:
            ids = [known.setdefault(word, len(known)) for word in sentence]
            if min(ids, default=0) < len(SPECIAL_WORDS):
                ids = [number for number in ids if number >= len(SPECIAL_WORDS)]
            if not ids:
                continue
            self.sentences += 1
            self.tokens += len(ids)
            row.append(BEGIN)
            row.extend(ids)
            row.append(END)
        if self.tokens > TOKENS_LIMIT:
            raise TooManyTokens(
                f"the builtin estimator takes at most {TOKENS_LIMIT:,} tokens (about "
                f"{TOKENS_LIMIT * BYTES_PER_TOKEN >> 30} GiB of memory); lower `documents` or set "
                "`estimator: lmplz`"
            )
        self._chunks.append(np.array(row, dtype=np.int32))

    def ids(self) -> Rows:
        """All sentences end to end."""
        return np.concatenate([np.zeros(0, dtype=np.int32), *self._chunks])


@dataclass
class Order:
    """The distinct n-grams of one order, sorted by (context, word). All arrays have one entry per
    n-gram.
    """

    context: Rows
    word: Rows
    suffix: Rows
    count: npt.NDArray[np.int64]
    """Occurrences at first, adjusted counts once `adjust` went over them."""
    first: Rows
    """The first word."""


@dataclass(frozen=True)
class Discount:
    """What is taken off an adjusted count of 1, 2, and 3 or more."""

    amounts: tuple[float, float, float]
    fallback: bool = False

    def of(self, count: npt.NDArray[np.int64]) -> Floats:
        """Discounts of adjusted counts; 0 for 0."""
        return np.array([0.0, *self.amounts])[np.minimum(count, 3)]


def count_ngrams(ids: Rows, vocabulary: int, order: int) -> list[Order]:
    """Orders 1 to `order` of sentences laid end to end, with occurrences as counts. Unigram rows
    are word ids.
    """
    everything = np.arange(vocabulary, dtype=np.int32)
    nothing = np.zeros(vocabulary, dtype=np.int32)
    occurrences = np.bincount(ids, minlength=vocabulary)
    orders = [Order(nothing, everything, nothing, occurrences, everything)]
    previous, positions = (
        ids,
        np.arange(len(ids)),
    )  # row of the n-gram that ends at a position; where one does
    for length in range(2, order + 1):
        positions = positions[ids[positions - (length - 2)] != BEGIN]
        keys = previous[positions - 1].astype(np.int64) * vocabulary + ids[positions]
        unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        context = (unique // vocabulary).astype(np.int32)
        suffix = np.empty(len(unique), dtype=np.int32)
        suffix[inverse] = previous[positions]
        orders.append(
            Order(
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


def adjust(orders: Sequence[Order]) -> list[list[int]]:
    """Turn occurrences into adjusted counts, in place.

    Returns for each order how many n-grams have adjusted count 0, 1, 2, 3, 4, and more.
    """
    occurrences = [
        int(order.count[row]) for order, row in zip(orders, last_rows(orders), strict=False)
    ]
    for lower, higher in itertools.pairwise(orders):
        lefts = np.bincount(higher.suffix, minlength=len(lower.word))
        lower.count = np.where(lower.first == BEGIN, lower.count, lefts)
    orders[0].count[BEGIN] = 0
    histograms = [np.bincount(np.minimum(order.count, 5), minlength=6).tolist() for order in orders]
    for order, row, occurred, histogram in zip(
        orders, last_rows(orders), occurrences, histograms, strict=False
    ):
        histogram[min(int(order.count[row]), 5)] -= 1
        histogram[min(occurred, 5)] += 1
    return histograms


def last_rows(orders: Sequence[Order]) -> list[int]:
    """Rows, below the highest order, of the suffixes of the n-gram that is last when sorted by last
    word, then the one before it, and so on. As many as there are words before its `<s>`.
    """
    rows = [len(orders[0].word) - 1]
    for order in orders[1:-1]:
        found = np.flatnonzero(order.suffix == rows[-1])
        if not len(found):
            break
        rows.append(int(found[np.argmax(order.first[found])]))
    return rows


def estimate_discount(
    n: Sequence[int], order: int, fallback: tuple[float, float, float] | None
) -> Discount:
    """Chen and Goodman's closed form, from `n[k]`, how many n-grams have adjusted count k (1 to 4).

    Where it does not exist (no n-gram with one of the counts 1 to 3) or leaves [0, count],
    `fallback` is used, else `DegenerateDiscount` raised.
    """
    if min(n[1:4]) > 0:
        y = n[1] / (n[1] + 2 * n[2])
        first, second, third = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        if 0 <= first <= 1 and 0 <= second <= 2 and 0 <= third <= 3:
            return Discount((first, second, third))
    if fallback is None:
        raise DegenerateDiscount(
            f"{order}-grams: {n[1:5]} of them have adjusted count 1, 2, 3, 4, which gives no "
            "Kneser-Ney discounts. The corpus is small or artificial: use more text, or set "
            "`discount_fallback: [0.5, 1, 1.5]`"
        )
    return Discount(fallback, fallback=True)


@dataclass
class Model:
    """Adjusted n-grams and discounts, all that the probabilities follow from."""

    words: list[str]
    orders: list[Order]
    discounts: list[Discount]

    def probabilities(self) -> Iterator[tuple[Floats, Floats | None]]:
        """For each order, lowest first: probability, and back-off weight (none for the highest),
        one entry a row.
        """
        below = np.full(1, 1 / (len(self.words) - 1))
        mass, gamma = self._contexts(0, 1)
        for index, (order, discount) in enumerate(zip(self.orders, self.discounts, strict=True)):
            kept = order.count - discount.of(order.count)
            probability = kept / mass[order.context] + gamma[order.context] * below[order.suffix]
            if index == 0:
                probability[BEGIN] = 1.0
            if index + 1 == len(self.orders):
                yield probability, None
                return
            mass, gamma = self._contexts(index + 1, len(order.word))
            below = probability
            yield probability, np.where(mass > 0, gamma, 1.0)

    def _contexts(self, index: int, rows: int) -> tuple[Floats, Floats]:
        """Of every context of an order: the sum of its counts, and the share of it that discounting
        set free.
        """
        order, discount = self.orders[index], self.discounts[index]
        mass = _sums(order.context, order.count, rows)
        freed = _sums(order.context, discount.of(order.count), rows)
        return mass, np.divide(freed, mass, out=np.zeros(rows), where=mass > 0)

    def write_arpa(self, path: Path) -> None:
        """Write the model as KenLM reads it."""
        words = pa.array(self.words, pa.string())
        with path.open("wb") as stream:
            sizes = "".join(
                f"ngram {n}={len(order.word)}\n" for n, order in enumerate(self.orders, 1)
            )
            stream.write(f"\\data\\\n{sizes}".encode())
            for index, (probability, backoff) in enumerate(self.probabilities()):
                stream.write(f"\n\\{index + 1}-grams:\n".encode())
                for start in range(0, len(probability), _WRITE_ROWS):
                    rows = slice(start, start + _WRITE_ROWS)
                    grams = self._grams(index, rows, words)
                    _write_lines(
                        stream, probability[rows], grams, None if backoff is None else backoff[rows]
                    )
            stream.write(b"\n\\end\\\n")

    def _grams(self, index: int, rows: slice, words: pa.Array) -> pa.Array:
        """The n-grams of some rows as text, words parted by spaces."""
        order = self.orders[index]
        columns = [words.take(pa.array(order.word[rows]))]
        at = order.context[rows]
        for lower in reversed(self.orders[:index]):
            columns.insert(0, words.take(pa.array(lower.word[at])))
            at = lower.context[at]
        return pc.binary_join_element_wise(*columns, " ")


def _sums(of: Rows, weights: npt.NDArray[np.generic], rows: int) -> Floats:
    return np.bincount(of, weights=weights, minlength=rows).astype(np.float64, copy=False)


def _log10(values: Floats, end: str) -> pa.Array:
    """Rounded log10 as text, no higher than 0; an impossible event is -99, as in SRILM."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.minimum(np.log10(values), 0.0), -99.0)
    text = pc.cast(pa.array(np.round(logs, LOG10_DECIMALS) + 0.0), pa.string())
    return pc.binary_join_element_wise(text, end, "") if end else text


def _write_lines(
    stream: IO[bytes], probability: Floats, grams: pa.Array, backoff: Floats | None
) -> None:
    if backoff is None:
        lines = pc.binary_join_element_wise(
            _log10(probability, ""), pc.binary_join_element_wise(grams, "\n", ""), "\t"
        )
    else:
        lines = pc.binary_join_element_wise(
            _log10(probability, ""), grams, _log10(backoff, "\n"), "\t"
        )
    stream.write(lines.buffers()[2])


def estimate(
    corpus: Corpus, order: int, fallback: tuple[float, float, float] | None = (0.5, 1.0, 1.5)
) -> Model:
    """Estimate a model of order 2 or more. Raises `DegenerateDiscount` where no fallback is
    given.
    """
    orders = count_ngrams(corpus.ids(), len(corpus.words), order)
    discounts = [estimate_discount(n, order, fallback) for order, n in enumerate(adjust(orders), 1)]
    return Model(list(corpus.words), orders, discounts)
