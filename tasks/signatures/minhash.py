"""MinHash over 64-bit shingle hashes.

1. n hash functions h_k(x) = a_k x + b_k modulo 2**64, with a_k odd (`coefficients`).
2. Value k of a document's signature is the minimum of h_k over its shingle hashes.
3. Two documents agree in a value with the probability of their Jaccard similarity J, since a random
   order of the union of their shingles begins with a common one with probability J. The share of
   equal values estimates J, with the variance J (1 - J) / n.

Example, with single digits for hashes: A = {3, 7, 9} and B = {3, 7, 8}, J = 2/4. An h that maps 3,
7, 8, 9 to 5, 2, 4, 8 gives both the value 2: they agree. One that maps them to 5, 6, 1, 8 gives A
the value 5 and B the value 1.

On 64-bit words the wrap IS the modulus, so each h is a bijection: no two shingles share a value,
none is favoured. (The usual `(a x + b) % (2**61 - 1)` in uint64 arithmetic loses the product's
upper half before the modulus, so it is not that family at all.) A linear family behaves minwise
only on inputs without structure; shingle hashes come out of MurmurHash3's mixer.
tests/tasks/signatures measures bias and variance.

It is the family of datasketch's scheme "affine64" (2.0.0): `MinHash(permutations=coefficients(...),
scheme="affine64", hashvalues=row)` is the same signature there. MinHash: Broder, "On the
resemblance and containment of documents", 1997.

Importing this module compiles the loop or loads what was compiled, with the widest integer vectors
the CPU has; the result is the same on any CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from tasks.text.compiled import compiled

_MASK = (1 << 64) - 1
EMPTY = np.uint64(_MASK)
"""All values of a signature without shingles: the minimum of nothing."""


def coefficients(count: int, seed: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(a, b) of `count` hash functions, shape (count,) each, all a odd.

    Drawn by SplitMix64 from `seed`, so that they do not depend on the version of NumPy.
    """
    state = seed
    drawn = np.empty(2 * count, dtype=np.uint64)
    for index in range(2 * count):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
        drawn[index] = word ^ (word >> 31)
    return drawn[:count] | np.uint64(1), drawn[count:].copy()


def minhash(
    hashes: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    a: npt.NDArray[np.uint64],
    b: npt.NDArray[np.uint64],
    sizes: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.uint64]:
    """Signatures, shape (documents, len(a)).

    Document i's shingles are `hashes[offsets[i]:offsets[i + 1]]`, or the first `sizes[i]` of them.
    """
    signatures = np.empty((len(offsets) - 1, len(a)), dtype=np.uint64)
    _minhash_loop(hashes, offsets, np.diff(offsets) if sizes is None else sizes, a, b, signatures)
    return signatures


_INTS, _HASHES = types.int64[::1], types.uint64[::1]


@compiled(types.void(_HASHES, _INTS, _INTS, _HASHES, _HASHES, types.uint64[:, ::1]))
def _minhash_loop(hashes: Any, offsets: Any, sizes: Any, a: Any, b: Any, signatures: Any) -> None:
    """Lower each value of each signature to the minimum over the document's shingles.

    Each pass over the functions takes eight shingles, so that loads and stores do not outweigh the
    arithmetic (2.7 times as fast as one shingle a pass). The last pass repeats the last shingle,
    which changes no minimum.
    """
    for document in range(sizes.shape[0]):
        signature = signatures[document]
        signature[:] = EMPTY
        last = offsets[document] + sizes[document] - 1
        for index in range(offsets[document], last + 1, 8):
            value0, value1 = hashes[index], hashes[min(index + 1, last)]
            value2, value3 = hashes[min(index + 2, last)], hashes[min(index + 3, last)]
            value4, value5 = hashes[min(index + 4, last)], hashes[min(index + 5, last)]
            value6, value7 = hashes[min(index + 6, last)], hashes[min(index + 7, last)]
            for function in range(a.shape[0]):
                x, y = a[function], b[function]
                least = min(signature[function], x * value0 + y)
                least = min(least, x * value1 + y)
                least = min(least, x * value2 + y)
                least = min(least, x * value3 + y)
                least = min(least, x * value4 + y)
                least = min(least, x * value5 + y)
                least = min(least, x * value6 + y)
                signature[function] = min(least, x * value7 + y)
