"""Stage signatures: the exact hash of each normalised record, and a MinHash of its shingles."""

from __future__ import annotations

from pydantic import Field

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS


class SignaturesParameters(Parameters):
    """Parameters of signatures.

    The recipe's section `dedup` feeds both this stage and dedup, which must agree on `shingle`,
    `bands` and `rows`.
    """

    shingle: int = Field(default=5, ge=1, le=100, description="words of a shingle")
    bands: int = Field(
        default=14, ge=1, le=1_000, description="bands of the locality-sensitive hash"
    )
    rows: int = Field(default=8, ge=1, le=1_000, description="MinHash values in a band")
    seed: int = Field(default=1, ge=0, lt=2**64, description="chooses the family of hash functions")
    text_cap: int = Field(
        default=500_000,
        ge=1,
        description="characters of normalised text whose shingles enter the signature (the exact "
        "hash and the set of shingles that verification compares are of the whole text)",
    )


STAGE = Stage(
    "signatures",
    version=3,
    parameters=SignaturesParameters,
    run="tasks.signatures.run:run",
    summary="exact hash and MinHash signature of every document",
    section="dedup",
    inputs=(DOCUMENTS, EDITS),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents; `signature` has bands x rows values",
            {
                "text_hash": "fixed_size_binary[16]",
                "signature": "fixed_size_list<element: uint64>[*]",
                "shingle_set": "list<element: uint32>",
                "length": "int64",
            },
        ),
    ),
    compiles=("tasks.text.shingle_kernel", "tasks.signatures.minhash"),
)
