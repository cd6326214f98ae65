"""Stage labels: one node per rubric, asked of a chat model over a sample of documents.

    data/labels.parquet     a row for each document: its score, and what the model answered

1. The sample: of each source the documents with the smallest hashes (`tasks.documents.sampling`),
   in the stated languages, after line_dedup's edits, cut to `max_characters`.
2. Each is asked once, and `repeat` of them twice, to see whether the model agrees with itself.
3. The score is the last match of `score.pattern` in the answer. A malformed answer, without a
   number from `low` to `high`, is asked again up to `again` times: the model sees its answer and is
   told what is wrong. What stays malformed has no score.

Every answer is kept in the store's folder `answers`, by a hash of the model, its settings and the
messages. So a killed run asks nothing again that was answered, and neither does another recipe, or
one in which only the pattern changed.

Numeric, not bitwise: a served model answers differently from one time to the next. The version says
what was asked, not what was answered; the first artifact of a version stays.

Statistics: documents, scored, malformed (answers that were, examples of documents that stayed so),
requests (asked now, cached, again), scores by source, agreement, tokens, dollars, answers_per_s.
Pin: `model`, the files of a model that runs here.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import pydantic

from infra.quantities import Count
from infra.secrets import is_secret_name
from infra.stage import FILE, JSON, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.documents.roles import ALL_EDITS, columns_of

TEXT = "{text}"
"""Stands for the document in a prompt."""

PATTERN = (
    r"(?i)score\s*(?:\([^)]*\))?(?:\s+(?:is|of))?\W{0,8}?((?:(?<![a-z])[-\u2212])?\d+(?:[.,]\d+)?)"
)
"""`Educational score: 3`, `**Score** (0-5): 3`, `score is 3`; -1 too, but `score-3` is 3."""


class ScoreReading(Parameters):
    """How an answer becomes a number."""

    pattern: str = pydantic.Field(
        default=PATTERN,
        description="regular expression whose first group, in its last match, is the score; by "
        "default what follows the word score",
    )
    low: float = pydantic.Field(default=0.0, description="the least possible score")
    high: float = pydantic.Field(default=5.0, description="the largest")

    @pydantic.model_validator(mode="after")
    def _sensible(self) -> Self:
        try:
            groups = re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(f"pattern is no regular expression: {error}") from None
        if groups < 1:
            raise ValueError(
                f"pattern {self.pattern!r} has no group, so it names no number; put the number in "
                r"parentheses, as in 'score: (\d)'"
            )
        if self.low >= self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}; low must be the lower")
        return self


class Price(Parameters):
    """Dollars for a million tokens."""

    input: float = pydantic.Field(ge=0)
    output: float = pydantic.Field(ge=0)


_OURS = {
    "model": "is set as endpoint.model",
    "messages": "are made of `prompt` and `system`",
    "max_tokens": "is set beside `prompt`",
    "temperature": "is set beside `prompt`",
    "seed": "is set beside `prompt`",
    "stream": "answers are read whole",
}
"""Fields of a request that the stage itself states, and why."""


class Endpoint(Parameters):
    """A server with OpenAI's interface for chat, such as vLLM. Its address is no part of the
    version: the model's name says what answers.
    """

    url: Annotated[str, NOT_IDENTITY] = pydantic.Field(
        description="its address up to the version, such as http://localhost:8000/v1"
    )
    model: str = pydantic.Field(min_length=1, description="the model's name there")
    key: Annotated[str | None, NOT_IDENTITY] = pydantic.Field(
        default=None,
        description="the environment variable that holds the key, such as OPENAI_API_KEY; never "
        "the key itself",
    )
    concurrency: Annotated[int, NOT_IDENTITY] = pydantic.Field(
        default=8, ge=1, le=1_000, description="requests under way at a time"
    )
    requests_per_second: Annotated[float | None, NOT_IDENTITY] = pydantic.Field(
        default=None, gt=0, description="at most so many are sent"
    )
    timeout_s: Annotated[float, NOT_IDENTITY] = pydantic.Field(
        default=120.0, gt=0, description="an answer that takes longer is asked for again"
    )
    patience_s: Annotated[float, NOT_IDENTITY] = pydantic.Field(
        default=600.0,
        gt=0,
        description="how long a request is tried where the server is away, busy or throttles",
    )
    price: Annotated[Price | None, NOT_IDENTITY] = pydantic.Field(
        default=None, description="dollars for a million tokens, so that the plan can tell the cost"
    )
    extra: dict[str, Any] = pydantic.Field(
        default_factory=dict, description="further fields of every request"
    )

    @pydantic.field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"{url!r} is no address of a server; write it as in http://localhost:8000/v1"
            )
        return url.rstrip("/").removesuffix("/chat/completions")

    @pydantic.field_validator("extra")
    @classmethod
    def _beside_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted(_OURS.keys() & extra.keys()):
            raise ValueError(f"{', '.join(ours)}: {_OURS[ours[0]]}; leave it out of `extra`")
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"cannot be sent as JSON ({error}); write numbers, texts, lists and maps"
            ) from None
        return extra

    @pydantic.field_validator("key")
    @classmethod
    def _variable(cls, key: str | None) -> str | None:
        if key is not None and not (re.fullmatch(r"[A-Za-z_]\w*", key) and is_secret_name(key)):
            raise ValueError(
                "is to name an environment variable that holds the key, such as OPENAI_API_KEY, "
                "and never the key itself; the name ends in _KEY, _TOKEN or _SECRET"
            )
        return key


class LabelsParameters(Parameters):
    """What is asked, of which model, over which sample."""

    prompt: str = pydantic.Field(
        description="what the model is asked; {text} stands for the document"
    )
    system: str = pydantic.Field(default="", description="a message of role system before it")
    score: ScoreReading = ScoreReading()
    endpoint: Endpoint | None = None
    model: Annotated[str | None, FILE] = pydantic.Field(
        default=None,
        description="instead of an endpoint, the folder or hub name of a chat model that runs here",
    )
    sample: Count = pydantic.Field(default=1_000, gt=0, description="documents of each source")
    seed: int = pydantic.Field(default=0, ge=0)
    languages: tuple[str, ...] | None = pydantic.Field(
        default=None, description="only documents in these languages, where langid tells"
    )
    max_characters: int = pydantic.Field(
        default=4_000, ge=1, description="characters of a document that are shown"
    )
    max_tokens: int = pydantic.Field(default=256, ge=1, description="tokens of an answer, at most")
    temperature: float = pydantic.Field(default=0.0, ge=0, le=2)
    repeat: float = pydantic.Field(
        default=0.05, ge=0, le=1, description="share of the documents that are asked twice"
    )
    again: int = pydantic.Field(
        default=2, ge=0, le=10, description="times that a malformed answer is asked again"
    )
    reminder: str = pydantic.Field(
        default="Your answer did not state the score in the form asked for. Answer again, and end "
        "with it in exactly that form.",
        description="what the model is told after a malformed answer",
    )
    most_malformed: float = pydantic.Field(
        default=0.2, ge=0, le=1, description="share of documents that may stay without a score"
    )

    @pydantic.field_validator("prompt")
    @classmethod
    def _with_text(cls, prompt: str) -> str:
        if prompt.count(TEXT) != 1:
            raise ValueError(
                f"has {prompt.count(TEXT)} times {TEXT}; put it once where the document goes"
            )
        return prompt

    @pydantic.field_validator("languages")
    @classmethod
    def _sorted(cls, languages: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return languages if languages is None else tuple(sorted(set(languages)))

    @pydantic.model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.endpoint is None) == (self.model is None):
            raise ValueError(
                "state one of `endpoint` (a server) and `model` (a model that runs here)"
            )
        return self

    def identity(self) -> dict[str, JSON]:
        """`endpoint` only where there is one."""
        found = super().identity()
        return {key: value for key, value in found.items() if value is not None}


STAGE = Stage(
    "labels",
    version=1,
    parameters=LabelsParameters,
    run="tasks.labels.run:run",
    summary="scores of a sample of documents by a rubric, asked of a chat model",
    section="labels.*",
    bitwise=False,
    inputs=(
        Role("documents", ("ingest",), many=True, optional=True),
        ALL_EDITS,
        columns_of("langid", many=True),
    ),
    outputs=(
        Output(
            "labels.parquet",
            "a row for each document of the sample; `score` is null where no answer has one",
            {
                "id": "string",
                "source": "string",
                "language": "string",
                "score": "double",
                "repeated": "double",
                "answer": "string",
                "asked": "int32",
            },
        ),
        Output(
            "sample/*/part-*.parquet",
            "the documents that were asked about",
            {
                "id": "string",
                "source": "string",
                "language": "string",
                "url": "string",
                "text": "string",
            },
        ),
    ),
    check="tasks.labels.check:faults",
)
