"""Stage langid: columns `language` (string), `language_score` (float32) and `script` (string), one
row per document.

Works with any fastText classifier whose labels are languages; `tasks.langid.codes` says what labels
become. Scores of differently prepared text are not comparable, so the preprocessing is fixed: the
first MAX_CHARACTERS characters, newlines replaced by spaces, outer whitespace stripped, case kept.
Changing it requires a new stage version.

The whole record is classified, prompt first: an answer such as "yes" alone has no clear language.
Pin: `model`, the model file.
"""

from __future__ import annotations

from infra.stage import FilePath, Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS

MAX_CHARACTERS = 10_000
"""Characters of a document that the model sees.

Far more than it takes to settle a label; bounds the time spent on giant pages.
"""


class LangidParameters(Parameters):
    """`model`: path of a fastText model, or "lid.176" (see `tasks.langid.model.locate_model`)."""

    model: FilePath = "lid.176"


STAGE = Stage(
    "langid",
    version=3,
    parameters=LangidParameters,
    run="tasks.langid.run:run",
    summary="language, its score, and its script where the model names it",
    section="sources.*.langid",
    inputs=(DOCUMENTS, EDITS),
    outputs=(
        Output(
            "part-*.parquet",
            "row-aligned with the documents",
            {"language": "string", "language_score": "float", "script": "string"},
        ),
    ),
)
