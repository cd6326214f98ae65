"""Interpolated modified Kneser-Ney estimation in NumPy: KenLM's `lmplz` without a compiler.

Papers: Chen and Goodman (1998), "An empirical study of smoothing techniques for language modeling",
equation 26 for the discounts; Heafield et al. (2013), "Scalable modified Kneser-Ney language model
estimation", for the details of lmplz.

1. Count (`count_ngrams`). A sentence is `<s> w1 ... wn </s>`; n-grams begin at `<s>` or later.
2. Adjust (`adjust`). The highest order keeps occurrences. For lower orders, a(g) is the number of
   distinct words that precede the n-gram g. N-grams that begin with `<s>` have no predecessor and
   keep their occurrences; `<s>` and `<unk>` alone get 0.
3. Discount (`estimate_discount`). Per order, from n_k, the number of n-grams with a(g) = k:
   Y = n_1 / (n_1 + 2 n_2) and D_k = k - (k + 1) Y n_(k+1) / n_k for k = 1, 2, 3; D_3 holds for
   counts of 3 or more.
4. Interpolate (`Model.probabilities`), lowest order first:
   p(w | c) = (a(cw) - D(a(cw))) / sum_x a(cx) + gamma(c) p(w | c'), where
   gamma(c) = sum_x D(a(cx)) / sum_x a(cx) is the share freed by discounting and is written as the
   back-off weight of c. Below the unigrams is the uniform distribution over all words but `<s>`,
   from which `<unk>` gets all its probability. `<s>` gets 1, because it is never predicted.
5. Write ARPA (`Model.write_arpa`).

Symbols: w, x words; c a context (the n-gram without its last word); c' the context without its
first word; D(0) = 0.

Example: the one sentence "a b a", order 2, fallback discounts 0.5, 1, 1.5.
- Bigrams `<s> a`, `a b`, `b a`, `a </s>` occur once each. `a` follows `<s>` and `b`, so a(a) = 2;
  a(b) = a(`</s>`) = 1. The unigram counts sum to 4.
- Unigrams free gamma = (1 + 0.5 + 0.5) / 4 = 0.5; the uniform probability is 1/4 (`<unk>`, `</s>`,
  a, b). So p(b) = (1 - 0.5) / 4 + 0.5 / 4 = 0.25.
- Context `a` has counts 1 + 1 and frees gamma(a) = (0.5 + 0.5) / 2 = 0.5. So
  p(b | a) = (1 - 0.5) / 2 + 0.5 * 0.25 = 0.375.

One deviation from the papers is copied from lmplz: in n_k, the last n-gram of each lower order (in
suffix order) counts with its occurrences, not with its adjusted count. It looks like a mistake in
its `AdjustCounts`. Correcting it moved unigram log10 probabilities by 5e-4 on 500,000 tokens of
English; with it, the two programs agree to 2e-6.

Data layout: see `Order`. An n-gram is found by sorting `row of its context x vocabulary + last
word`, which fits 64 bits at every order, whereas n words side by side would not. Peak memory is
about `BYTES_PER_TOKEN` per token at order 5; beyond `TOKENS_LIMIT` tokens use lmplz, which sorts on
disk.
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
"""Decimals of log10 values in the ARPA file. KenLM stores float32, so more would not matter, and
rounding hides last-bit differences between libraries.
"""

BYTES_PER_TOKEN = 200
TOKENS_LIMIT = 200_000_000
_WRITE_ROWS = 500_000


class DegenerateDiscount(ValueError):
    """An order's counts of counts yield no valid Kneser-Ney discounts."""


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
class Order:
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


@dataclass(frozen=True)
class Discount:
    """The discounts of adjusted counts 1, 2, and 3 or more; `fallback`: not estimated but given."""

    amounts: tuple[float, float, float]
    fallback: bool = False

    def of(self, count: npt.NDArray[np.int64]) -> Floats:
        """Discount of each adjusted count (0 for count 0); same shape."""
        return np.array([0.0, *self.amounts])[np.minimum(count, 3)]


def count_ngrams(ids: Rows, vocabulary: int, order: int) -> list[Order]:
    """Orders 1 to `order` of concatenated sentences, with occurrences as counts.

    Args:
        ids: `Corpus.ids`, shape (T,).
        vocabulary: number of words; a unigram's row is its word's id.
    """
    word_ids = np.arange(vocabulary, dtype=np.int32)
    no_row = np.zeros(vocabulary, dtype=np.int32)
    occurrences = np.bincount(ids, minlength=vocabulary)
    orders = [Order(no_row, word_ids, no_row, occurrences, word_ids)]
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
    """Replace occurrences by adjusted counts, in place.

    Returns, for each order, how many n-grams have adjusted count 0, 1, 2, 3, 4, and 5 or more (with
    lmplz's treatment of the last n-gram, see the module).
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


def last_rows(orders: Sequence[Order]) -> list[int]:
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


def estimate_discount(
    n: Sequence[int], order: int, fallback: tuple[float, float, float] | None
) -> Discount:
    """Chen and Goodman's discounts of one order.

    If they do not exist (no n-gram has one of the counts 1 to 3) or lie outside [0, count], returns
    `fallback`, or raises `DegenerateDiscount` without one.

    Args:
        n: n[k] n-grams have adjusted count k, for k = 1 to 4.
        order: only for the error message.
    """
    if min(n[1:4]) > 0:
        y = n[1] / (n[1] + 2 * n[2])
        first, second, third = (k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3))
        if 0 <= first <= 1 and 0 <= second <= 2 and 0 <= third <= 3:
            return Discount((first, second, third))
    if fallback is None:
        raise DegenerateDiscount(
            f"{order}-grams: the numbers with adjusted count 1, 2, 3 and 4 are {n[1:5]}, which "
            "yields no Kneser-Ney discounts. The corpus is small or artificial: use more text, or "
            "set `discount_fallback: [0.5, 1, 1.5]`"
        )
    return Discount(fallback, fallback=True)


@dataclass
class Model:
    """Adjusted counts and discounts, which determine the probabilities; `words` by id."""

    words: list[str]
    orders: list[Order]
    discounts: list[Discount]

    def probabilities(self) -> Iterator[tuple[Floats, Floats | None]]:
        """Yield (probability, back-off weight) of each order, lowest first; an entry per n-gram.

        The highest order has no back-off weights (None).
        """
        below = np.full(1, 1 / (len(self.words) - 1))  # uniform over all words but <s>
        mass, gamma = self._contexts(0, 1)  # unigrams have one context, the empty one
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
            # What never is a context of this order (n-grams that end in </s>) has weight 1.
            yield probability, np.where(mass > 0, gamma, 1.0)

    def _contexts(self, index: int, rows: int) -> tuple[Floats, Floats]:
        """(sum of counts, gamma) of the contexts of an order; shape (rows,) each."""
        order, discount = self.orders[index], self.discounts[index]
        mass = _sums(order.context, order.count, rows)
        freed = _sums(order.context, discount.of(order.count), rows)
        return mass, np.divide(freed, mass, out=np.zeros(rows), where=mass > 0)

    def write_arpa(self, path: Path) -> None:
        """Write the model in ARPA format."""
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
        """The n-grams of some rows as text, words separated by spaces."""
        order = self.orders[index]
        columns = [words.take(pa.array(order.word[rows]))]
        # From the last word to the first: the last word of the context, of its context, and so on.
        context = order.context[rows]
        for lower in reversed(self.orders[:index]):
            columns.insert(0, words.take(pa.array(lower.word[context])))
            context = lower.context[context]
        return pc.binary_join_element_wise(*columns, " ")


def _sums(groups: Rows, weights: npt.NDArray[np.generic], rows: int) -> Floats:
    return np.bincount(groups, weights=weights, minlength=rows).astype(np.float64, copy=False)


def _log10(values: Floats, end: str) -> pa.Array:
    """log10, rounded and at most 0, as text with `end` appended; log10(0) is -99, as in SRILM."""
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.minimum(np.log10(values), 0.0), -99.0)
    # Adding 0.0 turns -0.0 into 0.0.
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
    # Buffer 2 of a string array is all strings end to end: the lines, without Python objects.
    stream.write(lines.buffers()[2])


def estimate(
    corpus: Corpus, order: int, fallback: tuple[float, float, float] | None = (0.5, 1.0, 1.5)
) -> Model:
    """Estimate a model of order 2 or more.

    Raises `DegenerateDiscount` if an order has no discounts and `fallback` is None.
    """
    orders = count_ngrams(corpus.ids(), len(corpus.words), order)
    discounts = [estimate_discount(n, order, fallback) for order, n in enumerate(adjust(orders), 1)]
    return Model(list(corpus.words), orders, discounts)
