"""The compiled loop behind `tasks.quality.repetition`: from (n - 1)-grams to n-grams.

`next_n_grams`, for the n-grams of a document in order:

1. The pair (number of the first n - 1 words, last word) is looked up in a table with open
   addressing; a new pair gets the next number. Equal numbers thus mean equal words.
2. Occurrences are counted by number, and the place of the first one is kept.
3. A second walk adds up the characters of repeats: where an n-gram was seen before, its characters
   count and the walk goes on n words later, else one word later.

Words are numbers below 2**32, and so are n-grams, so that a pair is one uint64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from tasks.text.compiled import compiled

_INTS = types.int64[::1]
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads pairs over the table


@compiled(
    types.Tuple((_INTS, types.int64, types.int64))(_INTS, _INTS, _INTS, types.int64, types.int64)
)
def next_n_grams(shorter: Any, words: Any, ends: Any, n: int, spaces: int) -> Any:
    """Numbers of the n-grams, characters of the top one in all occurrences, and of repeats.

    `shorter`: the numbers of the (n - 1)-grams; `ends`: characters of the words before each word,
    W + 1 of them; `spaces`: characters between the words of an n-gram, for the top one only.
    """
    count = max(0, len(words) - n + 1)
    numbers = np.empty(count, np.int64)
    if count == 0:
        return numbers, 0, 0
    bits = 4
    while (1 << bits) < 2 * count:
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    table = np.full(1 << bits, -1, np.int64)
    pairs = np.empty(count, np.uint64)
    occurrences = np.zeros(count, np.int64)
    first = np.empty(count, np.int64)
    found = 0
    for start in range(count):
        pair = (np.uint64(shorter[start]) << np.uint64(32)) | np.uint64(words[start + n - 1])
        slot = np.int64((pair * _MULTIPLIER) >> shift)
        while table[slot] >= 0 and pairs[table[slot]] != pair:
            slot = (slot + 1) & mask
        number = table[slot]
        if number < 0:
            number = found
            found += 1
            table[slot] = number
            pairs[number] = pair
            first[number] = start
        numbers[start] = number
        occurrences[number] += 1
    most = 0
    for number in range(1, found):  # numbers ascend with first occurrences
        if occurrences[number] > occurrences[most]:
            most = number
    top = 0
    if occurrences[most] > 1:
        begin = first[most]
        top = (ends[begin + n] - ends[begin] + spaces) * occurrences[most]
    seen = np.zeros(found, np.bool_)
    repeated = 0
    start = 0
    while start < count:
        if seen[numbers[start]]:
            repeated += ends[start + n] - ends[start]
            start += n
        else:
            seen[numbers[start]] = True
            start += 1
    return numbers, top, repeated
