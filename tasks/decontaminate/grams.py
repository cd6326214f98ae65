"""The runs of words of benchmark items that mark a document as contaminated.

With n = `ngram` and the minimum = `minimum_words` (or `character_ngram`, `minimum_characters`):

1. A question of at least n words: any n consecutive words of it.
2. A shorter one of at least the minimum: the whole question.
3. A still shorter one, or a whole question that is a template ("Which of the following is true?"):
   the question followed by its choices, in the layouts that pages use (right answer only; all with
   letters; all without). Of that, the first n words, extended so that at least the minimum come
   from the choices; or all of it if there are fewer words, provided they reach the minimum (half of
   it where all choices are among them).

Templates: a run of words in more than `template_items` different items of the same benchmark shows
how that benchmark asks, not what, and is excluded from rules 1 to 3. If rule 1 leaves nothing, the
whole question counts, however long. Items with the same words in question and choices are one item.
Choices alone never mark a document: often they are names, dates or quotations.

The n-gram rule is that of GPT-3 (https://arxiv.org/abs/2005.14165, appendix C): n = 13. Example, n
= 13 and a minimum of 8: a question of 15 words gives three runs of 13 words; one of 10 words gives
itself; "What is 2 + 2?" is too short, and counts only together with its choices.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.benchmarks.parsed import LETTERS
from tasks.benchmarks.read import Item
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.text.ngrams import GramIndex, Grams
from tasks.text.scripts import unspaced_share
from tasks.text.word_hashes import Hashes, Positions, window_hashes, word_hashes

_UNSPACED_MAJORITY = 0.5
_LAYOUTS = 3


@dataclass(frozen=True)
class ItemIndex:
    """The items searched for, in the order of the recipe and the files, and their index.

    `unmatchable`: benchmark -> number of its items that no run represents.
    """

    items: tuple[Item, ...]
    grams: GramIndex
    unmatchable: dict[str, int]


@dataclass(frozen=True)
class _ItemRuns:
    """Runs of an item that mark a document: `words[start:start + length]` for each start.

    Their first `anchor` words are what the index hashes.
    """

    item: int
    starts: Positions
    length: int
    anchor: int


def build_index(
    benchmarks: Mapping[str, Sequence[Item]], parameters: DecontaminateParameters
) -> ItemIndex:
    """The index over all items of all benchmarks."""
    items: list[Item] = []
    words: list[Hashes] = [np.empty(0, dtype=np.uint64)]
    columns: list[npt.NDArray[np.int64]] = [np.empty((4, 0), dtype=np.int64)]
    unmatchable: dict[str, int] = {}
    taken = 0
    for name, members in benchmarks.items():
        benchmark = _BenchmarkWords(members, parameters)
        runs = list(benchmark.runs())
        sizes = [len(run.starts) for run in runs]
        rest = (
            np.array([(run.length, run.anchor, run.item + len(items)) for run in runs], np.int64)
            .reshape(-1, 3)
            .T
        )
        starts = np.concatenate([np.empty(0, np.int64), *(run.starts for run in runs)]) + taken
        columns.append(np.vstack([starts, np.repeat(rest, sizes, axis=1)]))
        unmatchable[name] = len(members) - len({run.item for run in runs})
        words.append(benchmark.words)
        taken += len(benchmark.words)
        items.extend(members)
    # The rows of the stacked array: starts, lengths, anchors, owners, as `Grams` has them.
    fields = map(np.ascontiguousarray, np.hstack(columns))
    return ItemIndex(tuple(items), GramIndex(Grams(np.concatenate(words), *fields)), unmatchable)


class _BenchmarkWords:
    """The words of one benchmark's items, as one array of hashes.

    First the questions, one after the other; then for each item its question with its choices in
    the three layouts.
    """

    def __init__(self, items: Sequence[Item], parameters: DecontaminateParameters) -> None:
        texts = [item.question for item in items]
        for item in items:
            answer = [item.choices[right] for right in item.right]
            lettered = [
                f"{letter} {choice}" for letter, choice in zip(LETTERS, item.choices, strict=False)
            ]
            texts.extend(
                "\n".join([item.question, *choices]) for choices in (answer, lettered, item.choices)
            )
        hashes = word_hashes(texts)
        self.words: Hashes = np.concatenate(hashes)
        self._lengths = np.array([len(sequence) for sequence in hashes], dtype=np.int64)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._count = len(items)
        self._template_items = parameters.template_items
        unspaced = [
            unspaced_share("".join(item.question.split())) > _UNSPACED_MAJORITY for item in items
        ]
        self._ngram = np.where(unspaced, parameters.character_ngram, parameters.ngram).tolist()
        self._minimum = np.where(
            unspaced, parameters.minimum_characters, parameters.minimum_words
        ).tolist()
        # Identical items are one: the second must not make the first look like a template.
        known: dict[bytes, int] = {}
        self._same_as = [
            known.setdefault(
                b"".join(hashes[item].tobytes() for item in (number, *self._layouts(number))),
                number,
            )
            for number in range(self._count)
        ]

    def _layouts(self, item: int) -> range:
        """Numbers of the sequences of an item's question with its choices, one per layout."""
        first = self._count + item * _LAYOUTS
        return range(first, first + _LAYOUTS)

    def runs(self) -> Iterator[_ItemRuns]:
        """All runs of all items, by the rules of the module's docstring."""
        needs_choices: list[int] = []
        for item in range(self._count):
            start, length = int(self._starts[item]), int(self._lengths[item])
            if not length:
                continue  # choices alone mark nothing
            ngram, minimum = self._ngram[item], self._minimum[item]
            if length >= ngram:
                is_template = self._templates(ngram)[start : start + length - ngram + 1]
                specific = np.flatnonzero(~is_template)
                if len(specific):
                    yield _ItemRuns(item, start + specific, ngram, ngram)
                elif not self._templates(length)[start]:
                    yield _ItemRuns(item, np.array([start]), length, ngram)
                else:
                    needs_choices.append(item)
            elif length >= minimum and not self._templates(length)[start]:
                yield _ItemRuns(item, np.array([start]), length, minimum)
            else:
                needs_choices.append(item)
        yield from self._runs_with_choices(needs_choices)

    def _runs_with_choices(self, items: Sequence[int]) -> Iterator[_ItemRuns]:
        """Rule 3, for items that need their choices."""
        holders: dict[bytes, set[int]] = defaultdict(set)  # words of a run -> items that have it
        candidates: list[tuple[bytes, _ItemRuns]] = []
        for item in items:
            question = int(self._lengths[item])
            minimum = self._minimum[item]
            for sequence, fewest in zip(
                self._layouts(item), (minimum, minimum // 2, minimum // 2), strict=True
            ):
                start = int(self._starts[sequence])
                length = min(
                    int(self._lengths[sequence]), max(self._ngram[item], question + minimum)
                )
                if length >= fewest and length > question:
                    key = self.words[start : start + length].tobytes()
                    holders[key].add(self._same_as[item])
                    candidates.append(
                        (key, _ItemRuns(item, np.array([start]), length, min(minimum, length)))
                    )
        yield from (run for key, run in candidates if len(holders[key]) <= self._template_items)

    @functools.cache  # noqa: B019 (lives as long as the index is built)
    def _templates(self, length: int) -> npt.NDArray[np.bool_]:
        """Whether the run of `length` words from each position of the questions is a template."""
        end = int(self._lengths[: self._count].sum())
        hashes = window_hashes(self.words[:end], length)
        item_of = np.repeat(np.array(self._same_as, dtype=np.int64), self._lengths[: self._count])
        place = np.repeat(np.arange(self._count), self._lengths[: self._count])
        # Runs across two questions do not count; they all get the same hash.
        inside = place[: len(hashes)] == place[length - 1 :]
        hashes = np.where(inside, hashes, np.uint64(0))
        # Sorted by (hash, item), the distinct items of a hash are its distinct neighbours.
        order = np.lexsort((item_of[: len(hashes)], hashes))
        ordered, owner = hashes[order], item_of[order]
        new_hash = np.append(True, ordered[1:] != ordered[:-1])
        new_pair = new_hash | np.append(True, owner[1:] != owner[:-1])
        items_of_hash = np.add.reduceat(new_pair, np.flatnonzero(new_hash))
        templates = np.empty(len(hashes), dtype=np.bool_)
        templates[order] = (items_of_hash > self._template_items)[np.cumsum(new_hash) - 1]
        return templates
