"""Stage langid: columns `language` (string), `language_score` (float32) and `script` (string), one
row per document.

Works with any fastText classifier whose labels are languages; `tasks.langid.codes` says what labels
become, `tasks.langid.prepare` what the model sees of a text.

The whole record is classified, prompt first: an answer such as "yes" alone has no clear language.
Thresholds are applied later, by stage `cut`. Pin: `model`, the model file.
"""

from __future__ import annotations

from typing import Literal

from infra.stage import FilePath, Output, Parameters, Stage
from tasks.documents.roles import DOCUMENTS, EDITS


class LangidParameters(Parameters):
    """`model`: path of a fastText model, a name on the hub (`org/name`, `org/name@revision`), or
    "lid.176" (see `tasks.langid.model.locate_model`).

    `preprocessing`: what the model was trained on, text as it is or `openlid`'s.
    """

    model: FilePath = "lid.176"
    preprocessing: Literal["none", "openlid"] = "none"


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
