"""Stage select: the surviving documents of one source as JSONL by category, some held out.

    data/<category>/part-*.jsonl          for training
    data/heldout/<category>/part-*.jsonl  for evaluation; never tokenizers, language models, bins
    data/index/part-*.parquet             both, for deduplication of later crawls, see
                                          `tasks.select.index`

One object per line, UTF-8, with fields in this order (the first three are Colossal-LLaMA's
contract; training puts no loss on `source`):

    {"source": <prompt>, "target": <text>, "category": ..., "id": ..., "url": ...,
     "language": ..., "file": ..., "offset": ...}

and last, where the source gives them, "license" and "dump", and "repeats" where an epoch of
training reads the document more than once (never of held-out text).

    data/index/vectors/part-*.parquet     their vectors, for semantic deduplication of later crawls

Input roles: documents, cut, dedup (without it no document is dropped as a duplicate, and none may
be held out, because only dedup keeps their near duplicates, in any source, out of training);
semantic, whose fates count after dedup's; line_dedup, decontaminate and pii, whose edits are
applied to the written text in this order (decontaminate is an input only if passages are removed).
"""

from __future__ import annotations

import pydantic

from infra.stage import Output, Parameters, Role, Stage
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of


class HeldOut(Parameters):
    """Hold out a `fraction` of each category's documents, chosen by a hash of the id.

    At most `max_documents` of a source and category: those with the smallest hashes, so that a
    larger crawl moves few documents from one side to the other.
    """

    fraction: float = pydantic.Field(default=0.001, gt=0.0, lt=1.0)
    max_documents: int = pydantic.Field(default=2_000, ge=1)


class SelectParameters(Parameters):
    """What to hold out (`heldout: null`: nothing), and whether to write an index."""

    heldout: HeldOut | None = HeldOut()
    index: bool = pydantic.Field(
        default=True,
        description="write the index that dedup.history of later recipes reads "
        "(about a text's own size)",
    )


STAGE = Stage(
    "select",
    version=3,
    parameters=SelectParameters,
    run="tasks.select.run:run",
    summary="writes the surviving documents as JSONL",
    section="select",
    inputs=(
        DOCUMENTS,
        EDITS,
        Role("cut", ("cut",)),
        Role("dedup", ("dedup",), optional=True),
        columns_of("decontaminate"),
        columns_of("pii"),
        columns_of("signatures"),
        Role("semantic", ("semantic",), optional=True),
        columns_of("embeddings"),
    ),
    outputs=(
        Output(
            "*/part-*.jsonl",
            "one folder per category: source, target, category, id and provenance of each document",
        ),
        Output("heldout/*/part-*.jsonl", "the same for documents that only evaluation reads"),
        Output(
            "index/part-*.parquet",
            "what later recipes compare their documents with",
            {
                "id": "string",
                "text_hash": "fixed_size_binary[16]",
                "signature": "fixed_size_list<element: uint64>[*]",
                "shingle_set": "list<element: uint32>",
            },
        ),
        Output(
            "index/vectors/part-*.parquet",
            "row-aligned with the index, where the recipe has a section semantic",
            {"vector": "fixed_size_list<element: halffloat>[*]"},
        ),
    ),
)
