"""Signatures as datasketch objects, and a query interface: which documents of a crawl are like this
text?

    from infra.store import Store
    from tasks.signatures.lookup import Lookup

    store = Store.at("artifacts") lookup = Lookup.of([(store.open("ingest/web"),
    store.open("signatures/web"))])     # before selection lookup =
    Lookup.of_survivors([store.open("select/web")])                           # what stayed
    lookup.query("some text")            # [(document id, estimated Jaccard similarity)], most
    similar first lookup.index                         # a datasketch.MinHashLSH whose keys are
    document ids

Our family of hash functions is datasketch's scheme "affine64" with coefficients of our own, which
go along in `MinHash.permutations`: values are the same bit for bit both ways, and a `MinHash` made
here goes on with `update`, whose argument is one shingle's 64-bit hash
(`tasks.text.shingles.shingle`). All is held in memory: 10 kB a document.
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
    """The `datasketch.MinHash` of a row of column `signature`, with our functions, so that it can
    be updated.
    """
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
    """The values of a `MinHash` or `LeanMinHash` that was made with our functions, shape (bands *
    rows,).

    ValueError for one of another scheme, size or seed: its values mean something else.
    """
    if sketch.scheme != SCHEME or sketch.seed != parameters.seed & _SEED_MASK:
        raise ValueError(
            f"a sketch of scheme {sketch.scheme!r} and seed {sketch.seed} is no signature of seed "
            f"{parameters.seed}: make it with to_minhash or sketch_text"
        )
    return _values(sketch.hashvalues, parameters).copy()


def sketch_text(text: str, parameters: SignaturesParameters, prompt: str = "") -> MinHash:
    """The `MinHash` of a text, or of a record with its prompt, as the signatures stage would
    compute it.

    One with a prompt is no sketch of one set (see `tasks.signatures.run`): compare it, but do not
    `update` it.
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
            f"{parameters.rows} rows; take the parameters from the artifact the row is of"
        )
    return values


def _unmixed(shingle_hash: int) -> int:
    """Undo MurmurHash3's finaliser, which datasketch applies to what its `hashfunc` returns; our
    hashes have it.
    """
    word = int(shingle_hash)
    word ^= word >> 33
    word = word * pow(0xC4CEB9FE1A85EC53, -1, 1 << 64) & _MASK
    word ^= word >> 33
    word = word * pow(0xFF51AFD7ED558CCD, -1, 1 << 64) & _MASK
    return word ^ word >> 33


@dataclass(frozen=True)
class Lookup:
    """A `MinHashLSH` over documents with the bands and rows of their signatures; see the module's
    docstring.
    """

    parameters: SignaturesParameters
    index: MinHashLSH
    sketches: dict[str, LeanMinHash] = field(repr=False)

    @classmethod
    def of(cls, pairs: Iterable[tuple[Artifact, Artifact]]) -> Lookup:
        """Of (documents, signatures) artifacts; a text without a word has no signature and is not
        found.
        """
        given = list(pairs)
        return cls._filled(
            [signatures.manifest.parameters for _, signatures in given], _signed(given)
        )

    @classmethod
    def of_survivors(cls, selected: Iterable[Artifact]) -> Lookup:
        """Of the indexes in select artifacts; StageError where one was written without."""
        given = list(selected)
        for artifact in given:
            if not artifact.files("index/"):
                raise StageError(
                    f"{artifact.identity} has no index: set select.index to true and run it again"
                )
        return cls._filled(
            [artifact.statistics["index"]["signatures"] for artifact in given], _indexed(given)
        )

    @classmethod
    def _filled(
        cls, made_with: Sequence[dict[str, Any]], rows: Iterator[tuple[str, Values]]
    ) -> Lookup:
        values = [{name: one[name] for name in _COMPARED} for one in made_with]
        if not values or any(one != values[0] for one in values):
            raise StageError(
                f"signatures made with {values or 'nothing'} do not make one index; name artifacts "
                "of one recipe"
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
        """(document id, estimated Jaccard similarity) of the candidates for a record, most similar
        first, then by id.

        Of documents with a prompt the estimate weighs the text more than its share of the shingles.
        """
        sketch = sketch_text(text, self.parameters, prompt)
        if sketch.is_empty():
            return []
        found = [
            (id_, float(sketch.jaccard(self.sketches[id_]))) for id_ in self.index.query(sketch)
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


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
