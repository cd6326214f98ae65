"""Stage line_dedup: the lines or paragraphs that a source repeats, written as edits beside its
documents.

Menus, footers and notices stand on thousands of pages; as CCNet does
(https://arxiv.org/abs/1911.00359, section 3.1), their lines are compared in a normal form by a
64-bit hash, and repeated ones go. CCNet counts within 50 shards of a crawl and removes every copy;
here copies are counted over the whole source, and which go is a choice:

    keep: first   one copy stays: in the document with the smallest id, and there the first,
                  whatever the order of files. A page that stands in a source twice so keeps one
                  copy of its text (deduplication's matter).
    keep: none    every copy goes, as CCNet has it; so does text of pages that stand in a source
    twice.

When a line goes, its line feed goes too; of the blank lines around it the longest run stays, and
none at the ends. Blank lines, and units whose normal form is shorter than `minimum_characters`, are
neither counted nor removed; nor is anything of documents with a prompt, in which "yes" on a line of
its own is an answer and no menu, whatever other questions it answers. The statistics count these
documents (`documents_with_prompt`).

Input role: documents. Output: data/part-*.parquet, row-aligned with the documents, columns
    edits    see `tasks.documents.edits`; reason "line_dedup.line" or "line_dedup.paragraph" emptied
    bool: nothing but white space is left (cut drops such documents with the reason
    "line_dedup.empty")
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS_TYPE


class LineDedupParameters(Parameters):
    """`unit`: a line, or what stands between blank lines (lines joined by spaces: wrapping makes no
    difference).

    `normalise`: `ccnet` compares in lower case, digits as 0, Unicode punctuation and control
    characters removed, as CCNet's code does (ASCII punctuation and accents stay); `none` compares
    as written but for white space at the ends. A unit is repeated when it stands in the source
    `minimum_copies` times or more (Llama 3: 7 in 30 million documents).
    """

    unit: Literal["line", "paragraph"] = "line"
    keep: Literal["first", "none"] = "first"
    normalise: Literal["ccnet", "none"] = "ccnet"
    minimum_characters: int = pydantic.Field(1, ge=1)
    minimum_copies: int = pydantic.Field(2, ge=2)


STAGE = Stage(
    "line_dedup",
    version=2,
    parameters=LineDedupParameters,
    run="tasks.line_dedup.run:run",
    summary="edits that remove lines or paragraphs repeated in a source",
    section="sources.*.line_dedup",
    inputs=(DOCUMENTS,),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents",
            {"edits": EDITS_TYPE, "emptied": "bool"},
        ),
    ),
    compiles=("tasks.line_dedup.kernel", "tasks.text.shingle_kernel"),
)
