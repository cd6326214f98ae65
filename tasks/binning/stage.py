"""Stage binning: the selected documents of one category as packed rows of tokens.

    data/bin-00/ ... data/bin-<B-1>/     Arrow files, read by `tasks.documents.rows.Rows` and by
                                         `datasets.load_from_disk`

Input roles: select (every source that feeds the category), tokenizer.

Statistics: documents, tokens (with begin and end tokens), text_tokens (without), characters, bytes
(of text, UTF-8), tokens_per_character, tokens_per_byte, rows, row_tokens (rows x sequence_length),
padding, fill (tokens / row_tokens), loss_tokens (positions with a target), split_documents
(documents in more than one row), sequence_length, bins: [{name, documents, tokens, rows, fill}].
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Role, Stage


class BinningParameters(Parameters):
    """`bins`: equal shares, by hash of document id, that a category is dealt into, in train order.

    `packing: best-fit`: documents longer than a row are cut into whole rows and a rest; documents
    and rests are then placed, longest first, each into the fullest row that still has room.
    `loss_on_source` trains on the prompt as well.
    """

    sequence_length: int = pydantic.Field(ge=8, le=1_048_576)
    bins: int = pydantic.Field(default=10, ge=1, le=100)
    packing: Literal["best-fit"] = "best-fit"
    loss_on_source: bool = False


STAGE = Stage(
    "binning",
    version=2,
    parameters=BinningParameters,
    run="tasks.binning.run:run",
    summary="tokenizes documents and packs them into rows of fixed length",
    section="binning",
    inputs=(
        Role("select", ("select",), many=True),
        Role("tokenizer", ("tokenizer",)),
    ),
    outputs=(Output("bin-*/*", "a data set a bin, which `datasets.load_from_disk` reads"),),
)
