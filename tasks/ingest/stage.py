"""Stage ingest: which files are read, how, and the size limits of documents."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, Literal, cast

import pydantic

from infra.quantities import Count
from infra.stage import NOT_IDENTITY, FilePaths, Output, Parameters, Stage
from tasks.ingest.commoncrawl.languages import three_letters

OPTIONAL_FIELDS = (
    *("prompt", "url", "date", "license", "title", "author", "language", "dump"),
    "category",
)
"""What `JsonlFields` names beside the text."""


class JsonlFields(Parameters):
    """Names of the JSON fields that make up a document.

    `text`: one or several fields, joined by blank lines; where it is not stated, text, prompt and
    date are found as without `fields`. `prompt`: text that training reads but does not learn from
    ("" for none). `category`: set by the plan from a source's `category: {field: ...}`. A dotted
    name is a path into objects (`meta.url`) and lists (`pages.0.text` for one element, `pages.text`
    for all), unless a field has exactly that name. Lists of strings are joined by blank lines for
    text and prompt and by commas for license and author; the others use the first one.
    """

    text: tuple[str, ...] = pydantic.Field(default=(), min_length=1)
    prompt: str = ""
    url: str = "url"
    date: str = "date"
    license: str = "license"
    title: str = "title"
    author: str = "author"
    language: str = "language"
    dump: str = "dump"
    category: str = ""

    def named(self) -> list[tuple[str, str]]:
        """(parameter, field name) of the fields that the recipe names, without defaults."""
        fields = [("text", name) for name in self.text]
        for parameter in OPTIONAL_FIELDS:
            if parameter in self.model_fields_set and getattr(self, parameter):
                fields.append((parameter, getattr(self, parameter)))
        return fields

    @pydantic.field_validator("text", mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value


class IndexSelect(Parameters):
    """Which records of a crawl are fetched, by its columnar index; all that is stated must hold.

    `languages`: ISO 639-1 or 639-3 codes, of which a page must have one (the index names up to
    three a page, since CC-MAIN-2018-39). `domains`: hosts, with all that is below them. `tlds`:
    top-level domains. `mime`: media types, as detected.
    """

    languages: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    tlds: tuple[str, ...] = ()
    mime: tuple[str, ...] = ()

    @pydantic.field_validator("languages", "domains", "tlds", "mime", mode="before")
    @classmethod
    def _one_value(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @pydantic.field_validator("languages")
    @classmethod
    def _codes(cls, codes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({three_letters(code) for code in codes}))

    @pydantic.field_validator("domains", "tlds")
    @classmethod
    def _hosts(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({_host(name) for name in names}))

    @pydantic.field_validator("mime")
    @classmethod
    def _types(cls, types: tuple[str, ...]) -> tuple[str, ...]:
        for type_ in types:
            if type_.count("/") != 1:
                raise ValueError(f"{type_!r} is no media type, such as text/html")
        return tuple(sorted({type_.lower() for type_ in types}))

    @pydantic.model_validator(mode="after")
    def _selects(self) -> IndexSelect:
        if not (self.languages or self.domains or self.tlds or self.mime):
            raise ValueError("select is empty; state languages, domains, tlds or mime")
        return self


_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


def _host(name: str) -> str:
    found = name.strip().lower().strip(".")
    if not found.isascii():
        found = found.encode("idna").decode()
    if not _HOST.fullmatch(found):
        raise ValueError(f"{name!r} is no host name, such as example.org (or org, under tlds)")
    return found


WITH_FIELDS = ("jsonl", "parquet", "hf")
"""Formats whose records have named fields."""

TEXT_SPLITS = ("file", "blank-line", "line")

_KEYS: dict[str, tuple[str, ...]] = {
    "paths": ("warc", "wet", "jsonl", "text", "parquet"),
    "fields": WITH_FIELDS,
    "split": ("text", "hf"),
    "dataset": ("hf",),
    "name": ("hf",),
    "revision": ("hf",),
    "data_files": ("hf",),
    "crawl": ("commoncrawl",),
    "kind": ("commoncrawl",),
    "files": ("commoncrawl",),
    "select": ("commoncrawl",),
    "host": ("commoncrawl",),
    "index_host": ("commoncrawl",),
    "missing_share": ("commoncrawl",),
}
"""Parameter -> the formats that it applies to; those that are not here apply to all."""


class IngestParameters(Parameters):
    """Parameters of `ingest/<source>`.

    Files may be compressed (gzip, Zstandard, bzip2, xz, LZ4), which is recognised by content, not
    by name. Planning refuses a file that is certainly not of `format`.

    `format: hf` reads a data set of the Hugging Face hub: `dataset` (ORG/NAME), `name` of its
    configuration, `split` ("train" by default), `revision` (branch, tag or commit), or files chosen
    by `data_files`, patterns of paths in it. Planning pins it to a commit. Of Parquet, only the row
    groups and columns that are needed are downloaded; JSONL, text and whatever else `datasets`
    loads are downloaded file by file. A data set's own code is never run.

    `format: commoncrawl` reads crawls by their ids: `crawl` is one (CC-MAIN-2024-22), a list, or
    `latest`, those listed after the newest that this source has read (the newest listed, where it
    has read none). `kind`: whole pages (warc) or Common Crawl's text of them (wet). `files` or
    `sample` take so many archives of each crawl, or that share of all, chosen by the hash of their
    path, so that a larger choice has all of a smaller one. `select` looks records up in the
    columnar index, and fetches these alone. `host` is where the data is, s3://commoncrawl/ on
    Amazon's network; `index_host` has the list of crawls. `missing_share`: of the archives, how
    many may be listed and not there (counted as `gone`); of the records, how many may not be where
    the index says (`index`).

    `extractor`: what finds the main content of pages, ours (puna; its earlier name resiliparse
    still works) or trafilatura, which is ten times as slow (pip install 'puna[trafilatura]').

    `limit`: keep the first N documents in (file, record) order; parts are then read one after the
    other. `sample`: keep this share of the records, chosen by the hash of their id (of
    `commoncrawl`: this share of the archives).
    `fields` (jsonl, parquet, hf): by default, a record's text is its field "text", or else
    (ColossalAI's layout) "target" with "source" as the prompt. `split` (text): what makes a
    document: file, blank-line or line. `max_page_bytes`: limit on a record after decompression.
    `max_text_bytes`: limit on a document's UTF-8. Larger ones are dropped and counted.
    `min_characters` and `max_text_bytes` apply to the whole record, prompt and text; a document
    with an empty text is always dropped as too short.
    """

    format: Literal["warc", "wet", "jsonl", "text", "parquet", "hf", "commoncrawl"]
    paths: FilePaths = ()
    dataset: Annotated[str, NOT_IDENTITY] = ""
    name: Annotated[str, NOT_IDENTITY] = ""
    revision: Annotated[str, NOT_IDENTITY] = ""
    data_files: Annotated[tuple[str, ...], NOT_IDENTITY] = ()
    crawl: Annotated[tuple[str, ...], NOT_IDENTITY] = ()
    kind: Literal["warc", "wet"] = "warc"
    files: Annotated[Count | None, pydantic.Field(ge=1), NOT_IDENTITY] = None
    select: IndexSelect | None = None
    host: Annotated[str, NOT_IDENTITY] = "https://data.commoncrawl.org/"
    index_host: Annotated[str, NOT_IDENTITY] = "https://index.commoncrawl.org/"
    missing_share: Annotated[float, pydantic.Field(ge=0, le=1), NOT_IDENTITY] = 0.01
    sample: Annotated[float, pydantic.Field(gt=0, le=1)] = 1.0
    limit: Annotated[Count, pydantic.Field(ge=1)] | None = None
    extractor: Literal["puna", "trafilatura", "resiliparse"] = "puna"
    min_characters: Annotated[int, pydantic.Field(ge=1)] = 1
    max_page_bytes: Annotated[int, pydantic.Field(ge=1_024)] = 4 * 1024 * 1024
    max_text_bytes: Annotated[int, pydantic.Field(ge=1_024)] = 4 * 1024 * 1024
    fields: JsonlFields | None = None
    split: str | None = None

    @property
    def text_split(self) -> Literal["file", "blank-line", "line"]:
        """What makes a document of a text file: of the hub's, a line, as for `datasets`."""
        if self.format == "hf":
            return "line"
        return cast(Literal["file", "blank-line", "line"], self.split or "file")

    @pydantic.field_validator("extractor")
    @classmethod
    def _new_name(cls, value: str) -> str:
        return "puna" if value == "resiliparse" else value

    @pydantic.field_validator("data_files", "crawl", mode="before")
    @classmethod
    def _one_pattern(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @pydantic.model_validator(mode="after")
    def _fits_format(self) -> IngestParameters:
        for key, formats in _KEYS.items():
            if self.format not in formats and getattr(self, key) != _default(key):
                known = " and ".join(formats)
                raise ValueError(f"{key} applies to format {known}, not {self.format}; remove it")
        if self.format == "hf" and not self.dataset:
            raise ValueError(
                "dataset is missing; name one of the hub, such as HuggingFaceFW/fineweb"
            )
        if self.format == "commoncrawl":
            self._fits_common_crawl()
        elif self.format != "hf" and not self.paths:
            raise ValueError("paths is empty; list at least one file")
        if self.format == "text" and self.split not in (None, *TEXT_SPLITS):
            close = difflib.get_close_matches(str(self.split), TEXT_SPLITS, n=1)
            near = f" (did you mean {close[0]!r}?)" if close else ""
            raise ValueError(
                f"split is {self.split!r}{near}; of format text it is {', '.join(TEXT_SPLITS)}"
            )
        return self

    def _fits_common_crawl(self) -> None:
        if not self.crawl:
            raise ValueError("crawl is missing; name one, such as CC-MAIN-2024-22, or latest")
        if self.select and self.kind == "wet":
            raise ValueError(
                "select applies to kind warc: the index has no places of WET records. Remove "
                "select and use langid, or read kind warc"
            )
        if self.files is not None and self.sample < 1:
            raise ValueError("state files or sample, not both")
        for key, schemes in (("host", ("http", "https", "s3")), ("index_host", ("http", "https"))):
            if getattr(self, key).partition("://")[0] not in schemes:
                known = " or ".join(f"{scheme}://" for scheme in schemes)
                raise ValueError(f"{key} is {getattr(self, key)!r}; it begins with {known}")


def _default(key: str) -> object:
    return IngestParameters.model_fields[key].default


STAGE = Stage(
    "ingest",
    version=7,
    parameters=IngestParameters,
    run="tasks.ingest.run:run",
    summary="reads web archives, JSONL, Parquet, text and data sets of the hub into documents",
    section="sources.*.ingest",
    pins="tasks.ingest.pinning:pins",
    check="tasks.ingest.check:faults",
    compiles=(
        "tasks.ingest.clean_kernel",
        "tasks.ingest.id_kernel",
        "tasks.ingest.extract.content",
    ),
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
                "license": "string",
                "title": "string",
                "author": "string",
                "published": "string",
                "declared_language": "string",
                "dump": "string",
                "category": "string",
            },
        ),
        Output(
            "index-*.parquet",
            "of a crawl with select: where the wanted records lie, in the index's order",
            {
                "warc_filename": "string",
                "warc_record_offset": "int64",
                "warc_record_length": "int64",
                "content_languages": "string",
                "content_truncated": "string",
            },
        ),
    ),
)
