"""A minimal stage, all that a contributor writes in a new folder of `tasks`: counts letters."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from infra.context import Context
from infra.stage import Outcome, Output, Parameters, Stage
from tasks.documents.annotate import annotate, ledger_of
from tasks.documents.roles import DOCUMENTS, EDITS, columns_of


class LettersParameters(Parameters):
    """`letter`: what to count."""

    letter: str = "e"


STAGE = Stage(
    "letters",
    version=1,
    parameters=LettersParameters,
    run="tests.flows.planning.letters:run",
    summary="how often a letter stands in every document",
    section="sources.*.letters",
    inputs=(DOCUMENTS, EDITS, columns_of("langid")),
    outputs=(Output("part-*.parquet", "row-aligned with the documents", {"letters": "int32"}),),
)


def run(context: Context) -> Outcome:
    """Count."""
    letter = context.parameters.letter

    def count(table: pa.Table) -> pa.Table:
        return pa.table({"letters": pc.count_substring(table["text"], letter).cast(pa.int32())})

    return Outcome({}, ledger_of(annotate(context, count)))
