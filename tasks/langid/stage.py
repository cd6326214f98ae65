"""Stage langid: columns `language` (string) and `language_score` (float32) beside the documents.

Any fastText classifier whose labels are languages. The text goes through one fixed preprocessing,
because scores of differently prepared text are not comparable: the first MAX_CHARACTERS characters,
newlines to spaces, outer whitespace stripped, case kept. A change of it bumps the stage's version.
The text is the whole record: where there is a prompt, it comes first and counts too, since "yes" is
of no language. Input role: documents. Pin: model.
"""

from __future__ import annotations

from infra.stage import FilePath, Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS

MAX_CHARACTERS = 10_000
"""Characters of a document that the model sees: far beyond what moves a label, and a bound on time
for giant pages.
"""


class LangidParameters(Parameters):
    """`model`: path of a fastText model, or "lid.176" (the file `tasks.langid.model.locate_model`
    finds).
    """

    model: FilePath = "lid.176"


STAGE = Stage(
    "langid",
    version=2,
    parameters=LangidParameters,
    run="tasks.langid.run:run",
    summary="language and its score",
    section="sources.*.langid",
    inputs=(DOCUMENTS, EDITS),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents",
            {"language": "string", "language_score": "float"},
        ),
    ),
)
