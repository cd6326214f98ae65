"""Stage ingest: which files are read, how, and the size limits of documents."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic

from infra.quantities import Count
from infra.stage import FilePaths, Output, Parameters, Stage


class JsonlFields(Parameters):
    """Names of the JSON fields that make up a document.

    `text`: one or several fields, joined by blank lines. `prompt`: text that training reads but
    does not learn from ("" for none). A dotted name is a path into objects (`meta.url`) and lists
    (`pages.0.text` for one element, `pages.text` for all), unless a field has exactly that name.
    Lists of strings are joined by blank lines for text and prompt; url and date use the first one.
    """

    text: tuple[str, ...] = pydantic.Field(min_length=1)
    prompt: str = ""
    url: str = "url"
    date: str = "date"

    def named(self) -> list[tuple[str, str]]:
        """(parameter, field name) of the fields that the recipe names, without defaults."""
        fields = [("text", name) for name in self.text]
        for parameter in ("prompt", "url", "date"):
            if parameter in self.model_fields_set and getattr(self, parameter):
                fields.append((parameter, getattr(self, parameter)))
        return fields

    @pydantic.field_validator("text", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class IngestParameters(Parameters):
    """Parameters of `ingest/<source>`.

    Files may be compressed (gzip, Zstandard, bzip2, xz, LZ4), which is recognised by content, not
    by name. Planning refuses a file that is certainly not of `format`.

    `limit`: keep the first N documents in (file, record) order; parts are then read one after the
    other. `sample`: keep this share of the records, chosen by the hash of their id.
    `fields` (jsonl only): by default, a line's text is its field "text", or else (ColossalAI's
    layout) "target" with "source" as the prompt. `split` (text only): what makes a document.
    `max_page_bytes`: limit on a record after decompression. `max_text_bytes`: limit on a document's
    UTF-8. Larger ones are dropped and counted. `min_characters` and `max_text_bytes` apply to the
    whole record, prompt and text; a document with an empty text is always dropped as too short.
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
            raise ValueError("paths is empty; list at least one file")
        if self.fields is not None and self.format != "jsonl":
            raise ValueError(f"fields applies to format jsonl, not {self.format}; remove it")
        if "split" in self.model_fields_set and self.format != "text":
            raise ValueError(f"split applies to format text, not {self.format}; remove it")
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
