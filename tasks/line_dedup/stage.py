"""Stage line_dedup: edits that remove the lines or paragraphs that a source repeats.

Menus, footers and notices are on thousands of pages. As in CCNet
(https://arxiv.org/abs/1911.00359, section 3.1), lines are compared in a normal form by a 64-bit
hash, and repeated ones are removed. CCNet counts within 50 shards of a crawl and removes every
copy; here copies are counted over the whole source, and which are removed is a choice:

    keep: first   one copy stays: the first one in the document with the smallest id, whatever the
                  order of files. A page that a source holds twice thus keeps one copy of its text
                  (removing the other page is deduplication's task).
    keep: none    every copy is removed, as in CCNet; so is the text of pages that a source holds
                  twice.

When a line is removed, so is its line feed; of the blank lines around it the longest run stays, and
none at the ends of the text. Blank lines, and units whose normal form is shorter than
`minimum_characters`, are neither counted nor removed; nor is anything in documents with a prompt,
where a line "yes" is an answer rather than a menu, however often it is repeated. The statistics
count these documents (`documents_with_prompt`).

Input role: documents. Output: data/part-*.parquet, row-aligned with the documents, columns
    edits    see `tasks.documents.edits`; reason "line_dedup.line" or "line_dedup.paragraph"
    emptied  bool: nothing but white space is left (cut drops such documents with the reason
             "line_dedup.empty")
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS_TYPE


class LineDedupParameters(Parameters):
    """What is compared, how, and which copies are removed.

    `unit`: a line, or a paragraph, that is, the lines between blank lines, joined by spaces (so
    that wrapping makes no difference). `normalise`: `ccnet` compares in lower case, with digits as
    0 and without Unicode punctuation and control characters, as CCNet's code does (ASCII
    punctuation and accents are kept); `none` compares as written, except for white space at the
    ends. A unit is repeated when the source holds it `minimum_copies` times or more (Llama 3: 7 in
    30 million documents).
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
