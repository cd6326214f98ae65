"""Signatures as datasketch objects, and queries: which documents of a crawl resemble this text?

    from infra.store import Store
    from tasks.signatures.lookup import Lookup

    store = Store.at("artifacts")
    # before selection:
    lookup = Lookup.of([(store.open("ingest/web"), store.open("signatures/web"))])
    # what survived:
    lookup = Lookup.of_survivors([store.open("select/web")])
    lookup.query("some text")  # [(document id, estimated Jaccard similarity)], most similar first
    lookup.index               # a datasketch.MinHashLSH whose keys are document ids

Our family of hash functions is datasketch's scheme "affine64" with coefficients of our own, which
are passed along in `MinHash.permutations`: values are the same bit for bit either way, and a
`MinHash` made here can be extended by `update`, whose argument is one shingle's 64-bit hash
(`tasks.text.shingles.shingle`). Everything is held in memory: 10 kB a document.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from datasketch import LeanMinHash, MinHash, MinHashLSH

from infra.stage import StageError
from infra.store import Artifact
from tasks.signatures.minhash import EMPTY, coefficients
from tasks.signatures.run import sign
from tasks.signatures.stage import SignaturesParameters

SCHEME = "affine64"
_MASK = (1 << 64) - 1
_SEED_MASK = (1 << 63) - 1  # LeanMinHash stores seeds as signed
_COMPARED = ("shingle", "bands", "rows", "seed", "text_cap")

Values = npt.NDArray[np.uint64]


def to_minhash(signature: Sequence[int] | Values, parameters: SignaturesParameters) -> MinHash:
    """The `datasketch.MinHash` of a row of column `signature`; it can be updated."""
    return MinHash(
        seed=parameters.seed & _SEED_MASK,
        hashfunc=_unmixed,
        hashvalues=_values(signature, parameters),
        permutations=coefficients(parameters.bands * parameters.rows, parameters.seed),
        scheme=SCHEME,
    )


def to_lean_minhash(
    signature: Sequence[int] | Values, parameters: SignaturesParameters
) -> LeanMinHash:
    """The `datasketch.LeanMinHash` of a row of column `signature`."""
    return LeanMinHash(
        seed=parameters.seed & _SEED_MASK, hashvalues=_values(signature, parameters), scheme=SCHEME
    )


def to_signature(sketch: MinHash, parameters: SignaturesParameters) -> Values:
    """The values of a `MinHash` or `LeanMinHash` made with our functions, shape (bands * rows,).

    ValueError for another scheme, size or seed, whose values cannot be compared.
    """
    if sketch.scheme != SCHEME or sketch.seed != parameters.seed & _SEED_MASK:
        raise ValueError(
            f"a sketch of scheme {sketch.scheme!r} and seed {sketch.seed} is not comparable with "
            f"signatures of seed {parameters.seed}: make it with to_minhash or sketch_text"
        )
    return _values(sketch.hashvalues, parameters).copy()


def sketch_text(text: str, parameters: SignaturesParameters, prompt: str = "") -> MinHash:
    """The `MinHash` of a text, or of a record with its prompt, as the signatures stage computes it.

    With a prompt it is not the sketch of a single set (see `tasks.signatures.run`): compare it, but
    do not `update` it.
    """
    signature = sign(parameters, pa.table({"text": [text], "prompt": [prompt]}))["signature"][
        0
    ].as_py()
    return to_minhash(signature or [int(EMPTY)] * (parameters.bands * parameters.rows), parameters)


def _values(signature: Sequence[int] | Values, parameters: SignaturesParameters) -> Values:
    values = np.asarray(signature, dtype=np.uint64)
    if values.shape != (parameters.bands * parameters.rows,):
        raise ValueError(
            f"a signature of shape {values.shape} does not fit {parameters.bands} bands of "
            f"{parameters.rows} rows; take the parameters from the artifact the row comes from"
        )
    return values


def _unmixed(shingle_hash: int) -> int:
    """Undo MurmurHash3's finaliser, which our hashes have been through already.

    datasketch applies it to whatever its `hashfunc` returns.
    """
    word = int(shingle_hash)
    word ^= word >> 33
    word = word * pow(0xC4CEB9FE1A85EC53, -1, 1 << 64) & _MASK
    word ^= word >> 33
    word = word * pow(0xFF51AFD7ED558CCD, -1, 1 << 64) & _MASK
    return word ^ word >> 33


@dataclass(frozen=True)
class Lookup:
    """A `MinHashLSH` with the bands and rows of the signatures; see the module's docstring."""

    parameters: SignaturesParameters
    index: MinHashLSH
    sketches: dict[str, LeanMinHash] = field(repr=False)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Artifact, Artifact]]) -> Lookup:
        """From (documents, signatures) artifacts.

        A text without a word has no signature and is never returned.
        """
        artifacts = list(pairs)
        return cls._filled(
            [signatures.manifest.parameters for _, signatures in artifacts], _signed(artifacts)
        )

    @classmethod
    def of_survivors(cls, selected: Iterable[Artifact]) -> Lookup:
        """From the indexes in select artifacts; StageError where one has no index."""
        artifacts = list(selected)
        for artifact in artifacts:
            if not artifact.files("index/"):
                raise StageError(
                    f"{artifact.identity} has no index: set select.index to true and run it again"
                )
        return cls._filled(
            [artifact.statistics["index"]["signatures"] for artifact in artifacts],
            _indexed(artifacts),
        )

    @classmethod
    def _filled(
        cls, made_with: Sequence[dict[str, Any]], rows: Iterator[tuple[str, Values]]
    ) -> Lookup:
        values = [{name: made[name] for name in _COMPARED} for made in made_with]
        if not values or any(made != values[0] for made in values):
            raise StageError(
                f"signatures made with {values or 'nothing'} do not fit in one index; name "
                "artifacts of one recipe"
            )
        parameters = SignaturesParameters(**values[0])
        size = (parameters.bands, parameters.rows)
        index = MinHashLSH(num_perm=parameters.bands * parameters.rows, params=size)
        sketches = {}
        with index.insertion_session() as session:
            for id_, signature in rows:
                if id_ not in sketches:
                    sketches[id_] = to_lean_minhash(signature, parameters)
                    session.insert(id_, sketches[id_], check_duplication=False)
        return cls(parameters, index, sketches)

    def query(self, text: str, prompt: str = "") -> list[tuple[str, float]]:
        """(document id, estimated Jaccard similarity) of a record's candidates, most similar first.

        Ties are in the order of ids. For documents with a prompt the estimate gives the text more
        weight than its share of the shingles.
        """
        sketch = sketch_text(text, self.parameters, prompt)
        if sketch.is_empty():
            return []
        similarities = [
            (id_, float(sketch.jaccard(self.sketches[id_]))) for id_ in self.index.query(sketch)
        ]
        return sorted(similarities, key=lambda pair: (-pair[1], pair[0]))


def _signed(pairs: Sequence[tuple[Artifact, Artifact]]) -> Iterator[tuple[str, Values]]:
    for documents, signatures in pairs:
        for name in signatures.files("part-"):
            texts, signed = (
                pq.ParquetFile(documents.path(name)),
                pq.ParquetFile(signatures.path(name)),
            )
            for group in range(signed.num_row_groups):
                ids = texts.read_row_group(group, columns=["id"])["id"]
                yield from _rows(
                    ids, signed.read_row_group(group, columns=["signature"])["signature"]
                )


def _indexed(selected: Sequence[Artifact]) -> Iterator[tuple[str, Values]]:
    for artifact in selected:
        for name in artifact.files("index/"):
            reader = pq.ParquetFile(artifact.path(name))
            for group in range(reader.num_row_groups):
                table = reader.read_row_group(group, columns=["id", "signature"])
                yield from _rows(table["id"], table["signature"])


def _rows(ids: Any, signatures: Any) -> Iterator[tuple[str, Values]]:
    """(id, values) of the rows that have a signature."""
    column = signatures.combine_chunks()
    values = column.flatten().to_numpy().reshape(-1, column.type.list_size)
    yield from zip(ids.filter(signatures.is_valid()).to_pylist(), values, strict=True)
