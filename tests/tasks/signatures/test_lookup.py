"""Signatures as datasketch objects and back, and lookups by text."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasketch import LeanMinHash, MinHash, MinHashLSH

from infra.context import Context
from infra.stage import EVERY_STAGE, Outcome, Parameters, Role, Stage, StageError
from infra.store import Artifact, Shard
from tasks.signatures.lookup import Lookup, sketch_text, to_lean_minhash, to_minhash, to_signature
from tasks.signatures.minhash import coefficients
from tasks.signatures.stage import STAGE, SignaturesParameters
from tasks.text.shingles import shingle
from tests.stage_harness import run_stage
from tests.tasks.dedup.corpus import document, edited, prose, tables

PARAMETERS = SignaturesParameters(bands=10, rows=5, seed=2**64 - 3)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = random.Random(8)
    originals = [prose(rng, 120) for _ in range(20)]
    return [
        " ".join(words)
        for words in [*originals, *(edited(rng, words, 2) for words in originals[:5]), []]
    ]


@pytest.fixture(scope="module")
def signed(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifact, Artifact]:
    folder = tmp_path_factory.mktemp("lookup")
    rows = [document(text, id=f"{number:02d}") for number, text in enumerate(texts)]
    documents = tables(
        "documents", "web", {"part-0.parquet": rows[:9], "part-1.parquet": rows[9:]}, folder
    )
    return documents, run_stage(STAGE, PARAMETERS, {"documents": documents}, "web", tmp_path=folder)


def signatures(artifact: Artifact) -> list[list[int] | None]:
    return [
        row
        for name in artifact.files()
        for row in pq.read_table(artifact.path(name))["signature"].to_pylist()
    ]


def test_conversion_to_datasketch_and_back_is_exact(
    signed: tuple[Artifact, Artifact],
) -> None:
    for row in filter(None, signatures(signed[1])):
        full, lean = to_minhash(row, PARAMETERS), to_lean_minhash(row, PARAMETERS)
        assert isinstance(full, MinHash) and isinstance(lean, LeanMinHash)
        assert (
            to_signature(full, PARAMETERS).tolist()
            == to_signature(lean, PARAMETERS).tolist()
            == row
        )
        assert LeanMinHash(full) == lean and full.jaccard(lean) == 1.0
        buffer = bytearray(lean.bytesize())
        lean.serialize(buffer)
        assert to_signature(LeanMinHash.deserialize(buffer), PARAMETERS).tolist() == row


def test_an_updated_sketch_equals_our_signature(
    texts: list[str], signed: tuple[Artifact, Artifact]
) -> None:
    rows = signatures(signed[1])
    for text, row in zip(texts[:3], rows, strict=False):
        hashes = shingle([text], PARAMETERS.shingle).hashes
        begun = MinHash(
            num_perm=50, scheme="affine64", permutations=coefficients(50, PARAMETERS.seed), seed=5,
            hashfunc=to_minhash(row or [], PARAMETERS).hashfunc,
        )  # fmt: skip
        begun.update_batch(hashes[:40])
        for value in hashes[40:]:
            begun.update(value)
        assert begun.hashvalues.tolist() == row == sketch_text(text, PARAMETERS).hashvalues.tolist()


def test_datasketch_finds_the_same_with_our_signatures_as_with_its_own(texts: list[str]) -> None:
    theirs, ours = (MinHashLSH(num_perm=50, params=(10, 5)) for _ in range(2))
    sketches: list[tuple[MinHash, MinHash]] = []
    for number, text in enumerate(texts[:-1]):
        peer = MinHash(num_perm=50, scheme="affine64")
        peer.update_batch(value.tobytes() for value in shingle([text], 5).hashes)
        sketches.append((peer, sketch_text(text, PARAMETERS)))
        theirs.insert(number, peer)
        ours.insert(number, sketches[-1][1])
    for number, (peer, own) in enumerate(sketches):
        pair = {number, number + 20 if number < 5 else number % 20}
        assert set(ours.query(own)) == set(theirs.query(peer)) == pair
    own, peer = (sketches[0][side].jaccard(sketches[20][side]) for side in (1, 0))
    assert own == pytest.approx(peer, abs=0.25) and own > 0.5


def test_lookup_finds_documents_similar_to_a_text(
    texts: list[str], signed: tuple[Artifact, Artifact]
) -> None:
    lookup = Lookup.of([signed])
    assert len(lookup.sketches) == len(texts) - 1  # the empty one has no signature
    assert lookup.query(texts[3].upper() + " !!")[0] == ("03", 1.0)
    assert [id_ for id_, _ in lookup.query(texts[3])] == ["03", "23"]
    assert lookup.query("nothing like it at all in here") == [] and lookup.query("...") == []
    assert lookup.index.query(sketch_text(texts[7], PARAMETERS)) == ["07"]


def write_index(context: Context) -> Outcome:
    """The index that select writes, of all documents."""
    documents, signed = context.input("documents"), context.input("signatures")

    def write(name: str, shard: Shard) -> dict[str, int]:
        ids, columns = (pq.read_table(artifact.path(name)) for artifact in (documents, signed))
        with shard.create(f"index/{name}") as path:
            pq.write_table(
                columns.select(["text_hash", "signature"]).add_column(0, "id", ids["id"]), path
            )
        return {}

    context.map(write, {name: name for name in signed.files()}, here=True)
    return Outcome({"index": {"signatures": signed.manifest.parameters}})


def test_survivors_are_found_in_the_index_of_select(
    texts: list[str], signed: tuple[Artifact, Artifact]
) -> None:
    stage = Stage(
        "select",
        1,
        Parameters,
        "tests.tasks.signatures.test_lookup:write_index",
        "an index",
        inputs=(Role(EVERY_STAGE, many=True, optional=True),),
    )
    store = Path(signed[1].home.url).parents[2]
    inputs = {"documents": signed[0], "signatures": signed[1]}
    lookup = Lookup.of_survivors(
        [run_stage(stage, Parameters(), inputs, "web", tmp_path=store.parent)]
    )
    assert lookup.query(texts[4]) == Lookup.of([signed]).query(texts[4])
    assert [id_ for id_, _ in lookup.query(texts[4])] == ["04", "24"]


def test_incompatible_values_are_errors(signed: tuple[Artifact, Artifact], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit 10 bands of 5 rows"):
        to_minhash([1, 2, 3], PARAMETERS)
    with pytest.raises(ValueError, match="scheme 'affine32'"):
        to_signature(MinHash(num_perm=50), PARAMETERS)
    with pytest.raises(ValueError, match="seed 7:"):
        to_signature(
            to_minhash(np.zeros(50, np.uint64), PARAMETERS),
            SignaturesParameters(bands=10, rows=5, seed=7),
        )
    other = SignaturesParameters(bands=5, rows=10)
    apart = run_stage(STAGE, other, {"documents": signed[0]}, "web", tmp_path=tmp_path)
    with pytest.raises(StageError, match="do not fit in one index"):
        Lookup.of([signed, (signed[0], apart)])
    with pytest.raises(StageError, match="has no index"):
        Lookup.of_survivors([signed[1]])


def test_records_with_a_prompt_are_looked_up_as_a_whole(tmp_path: Path) -> None:
    rng = random.Random(3)
    questions = [" ".join(prose(rng, 30)) for _ in range(6)]
    rows = [
        document("yes", id=f"{number:02d}") | {"prompt": question}
        for number, question in enumerate(questions)
    ]
    documents = tables("documents", "web", {"part-0.parquet": rows}, tmp_path)
    lookup = Lookup.of(
        [
            (
                documents,
                run_stage(STAGE, PARAMETERS, {"documents": documents}, "web", tmp_path=tmp_path),
            )
        ]
    )
    assert lookup.query("yes", questions[4]) == [("04", 1.0)]
    assert lookup.query("no", questions[4]) == lookup.query("yes") == []
