"""What ingest is told: which files, how they are read, and which documents are too large or too
small.
"""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from infra.quantities import Count
from infra.stage import FilePaths, Output, Parameters, Stage


class JsonlFields(Parameters):
    """Names of the JSON fields a document is made of; `text` may be several, joined by blank lines.
    `prompt` is text that training does not learn from ("" for none). Dots lead into objects
    (`meta.url`) and lists (`pages.0.text` for one element, `pages.text` for all); a field whose own
    name has the dots comes first. A list of strings is joined by blank lines as text and prompt; as
    url and date its first one counts.
    """

    text: tuple[str, ...] = pydantic.Field(min_length=1)
    prompt: str = ""
    url: str = "url"
    date: str = "date"

    def named(self) -> list[tuple[str, str]]:
        """(parameter, field) of those that were given, not taken by default."""
        given = [("text", name) for name in self.text]
        for parameter in ("prompt", "url", "date"):
            if parameter in self.model_fields_set and getattr(self, parameter):
                given.append((parameter, getattr(self, parameter)))
        return given

    @pydantic.field_validator("text", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class IngestParameters(Parameters):
    """Parameters of `ingest/<source>`.

    Files may be compressed (gzip, Zstandard, bzip2, xz, LZ4) and are known by their content, not by
    their names; one that surely is of another format than `format` is refused by the plan. `limit`
    keeps the first N documents in (file, record) order; such an ingest reads its parts one after
    the other. `sample` keeps that share of the records, chosen by the hash of their id. `fields` is
    for jsonl only: unset, a line's text is its field "text", or else (Colossal's layout) "target"
    with "source" as the prompt. `split` is for text only: what makes a document. Sizes are limits
    on one record after decompression (`max_page_bytes`) and on one document's UTF-8
    (`max_text_bytes`); larger ones are dropped and counted. `min_characters` and `max_text_bytes`
    are of the whole record, prompt and text; a document whose text is empty is dropped as too short
    whatever its prompt.
    """

    format: Literal["warc", "wet", "jsonl", "text"]
    paths: FilePaths
    sample: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    limit: Annotated[Count, pydantic.Field(ge=1)] | None = None
    extractor: Literal["resiliparse"] = "resiliparse"
    min_characters: Annotated[int, pydantic.Field(ge=1)] = 1
    max_page_bytes: Annotated[int, pydantic.Field(ge=1_024)] = 4 * 1024 * 1024
    max_text_bytes: Annotated[int, pydantic.Field(ge=1_024)] = 4 * 1024 * 1024
    fields: JsonlFields | None = None
    split: Literal["file", "blank-line", "line"] = "file"

    @pydantic.model_validator(mode="after")
    def _fits_format(self) -> IngestParameters:
        if not self.paths:
            raise ValueError("paths names no file; give at least one")
        if self.fields is not None and self.format != "jsonl":
            raise ValueError(f"fields is for format jsonl, not {self.format}; remove it")
        if "split" in self.model_fields_set and self.format != "text":
            raise ValueError(f"split is for format text, not {self.format}; remove it")
        return self


STAGE = Stage(
    "ingest",
    version=3,
    parameters=IngestParameters,
    run="tasks.ingest.run:run",
    summary="reads web archives, JSONL and text files into documents",
    section="sources.*.ingest",
    outputs=(
        Output(
            "part-*.parquet",
            "one row a document",
            {
                "id": "string",
                "text": "string",
                "prompt": "string",
                "url": "string",
                "date": "string",
                "source": "string",
                "file": "string",
                "offset": "int64",
            },
        ),
    ),
)
