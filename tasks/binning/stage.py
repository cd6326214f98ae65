"""Stage binning: the selected documents of one category as packed rows of tokens.

    data/bin-00/ ... data/bin-<B-1>/     Arrow files, read by `tasks.documents.rows.Rows` and by
                                         `datasets.load_from_disk`

Input roles: select (every source that feeds the category), tokenizer.

A document with `repeats` is in the bins as often, its copies as far from each other as the bins
allow, so that an epoch reads it so many times.

Statistics: documents, copies (of documents, in the bins), repeats (copies of a document ->
documents), tokens (of all copies, with begin and end tokens), text_tokens (without, of each
document once), characters, bytes (of text, UTF-8, once), tokens_per_character, tokens_per_byte,
rows, row_tokens (rows x sequence_length), padding, fill (tokens / row_tokens), loss_tokens
(positions with a target), split_documents (copies in more than one row), sequence_length, bins:
[{name, documents (copies), tokens, rows, fill}], tokenize: {backend, compared (documents whose ids
were compared with the reference), reason (why not gigatoken), example (a text with other ids)}.
"""

from __future__ import annotations

from typing import Literal

import pydantic

from infra.stage import Output, Parameters, Role, Stage

Packing = Literal["best-fit", "concat", "document"]


class BinningParameters(Parameters):
    """How the selected documents of a category become rows."""

    sequence_length: int = pydantic.Field(ge=8, le=1_048_576)
    """Tokens of a row."""

    bins: int = pydantic.Field(default=10, ge=1, le=100)
    """Equal shares, by hash of document id, that a category is dealt into, in train order."""

    packing: Packing = "best-fit"
    """`best-fit`: documents longer than a row are cut into whole rows and a rest; documents and
    rests are then placed, longest first, each into the fullest row that still has room.
    `concat`: documents one after the other, cut where a row ends. `document`: every document begins
    its own row, which is then padded; longer ones go on in rows of their own. None loses a token.
    """

    loss_on_source: bool = False
    """Train on the prompt as well."""

    tokenize: Literal["auto", "gigatoken", "tokenizers"] = "auto"
    """What encodes the text. `tokenizers` is the reference. `auto` takes gigatoken, which is many
    times as fast, where a probe shows equal ids for this tokenizer and a sample of these documents,
    and else the reference; the statistics say which, and why. `gigatoken` refuses to run where the
    probe shows a difference.
    """


STAGE = Stage(
    "binning",
    version=2,
    parameters=BinningParameters,
    run="tasks.binning.run:run",
    summary="tokenizes documents and packs them into rows of fixed length",
    section="binning",
    inputs=(
        Role(
            "select",
            ("select",),
            many=True,
            check="tasks.binning.category:refuse_nothing",
            content=True,
        ),
        Role("tokenizer", ("tokenizer",), content=True),
    ),
    compiles=("tasks.binning.kernels",),
    outputs=(Output("bin-*/*", "a data set a bin, which `datasets.load_from_disk` reads"),),
)
