"""Parameters of stage tokenizer."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import pydantic

from infra.quantities import Bytes, Count
from infra.stage import FILE, JSON, NOT_IDENTITY, Output, Parameters, Role, Stage, StageError
from tasks.tokenizer.scripts import KNOWN_SCRIPTS

MAXIMUM_WEIGHT = 1_000_000
"""Keeps counts times weights far below 64 bits; no mixture of text needs more."""


def _weights(given: Any) -> dict[str, int]:
    """Name -> weight; each name of a list has 1."""
    named = isinstance(given, (list, tuple, Mapping)) and all(
        isinstance(name, str) for name in given
    )
    if not named:
        raise ValueError(
            "write names of sources or categories, such as [zh-web, books], or each with its "
            "weight, such as {zh-web: 4, books: 1}"
        )
    weights = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given, 1)
    for name, weight in weights.items():
        if (
            not isinstance(weight, int)
            or isinstance(weight, bool)
            or not 1 <= weight <= MAXIMUM_WEIGHT
        ):
            raise ValueError(
                f"the weight of {name} is {weight!r}; a weight is a whole number from 1 to "
                f"{MAXIMUM_WEIGHT:,} (instead of a fraction, raise the other weights; instead of "
                "0, leave the source out)"
            )
    return weights


_NAMES = {"type": "array", "items": {"type": "string"}}
_WEIGHED = {
    "type": "object",
    "additionalProperties": {"type": "integer", "minimum": 1, "maximum": MAXIMUM_WEIGHT},
}
From = Annotated[
    dict[str, int],
    pydantic.BeforeValidator(_weights),
    pydantic.WithJsonSchema({"anyOf": [_NAMES, _WEIGHED]}),
    NOT_IDENTITY,
]
"""Sources or categories to learn from, as a list or as name -> weight; none means all, unweighted.

Weights are relative: text of weight 4 counts four times as much as text of weight 1, and equal
weights mean the same as a list. `sample_bytes` limits the text before weights apply. A source means
its own text only, even where other sources feed its category. The plan turns names into inputs,
`categories` and `weights`.
"""


class Expand(Parameters):
    """Grow the base's vocabulary by learned merges (`continue-bpe`) or a given list (`pieces`)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Literal["continue-bpe", "pieces"] = "continue-bpe"
    size: Annotated[Count, pydantic.Field(gt=256)] | Literal["knee"] | None = None
    """`continue-bpe`: final number of tokens, special ones included; or `knee`: stop where more
    tokens would save little.
    """
    maximum: Count = pydantic.Field(default=100_000, gt=0)
    """New tokens that `size: knee` considers at most."""
    pieces: Annotated[str | None, FILE] = None
    """`pieces`: a JSONL file of `{"piece": "..."}`, or a sentencepiece `.model`."""
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    """Characters of a new piece, at most."""
    scripts: tuple[str, ...] = ()
    """`continue-bpe`: Unicode scripts that new pieces are written in, such as `[Han]` (Hiragana and
    Katakana count as Han); none means any. With `[Han]`, English keeps its segmentation even if the
    training text contains some.
    """
    from_: From = pydantic.Field(default_factory=dict, alias="from")

    @pydantic.field_validator("scripts")
    @classmethod
    def _known_scripts(cls, scripts: tuple[str, ...]) -> tuple[str, ...]:
        for name in scripts:
            if name not in KNOWN_SCRIPTS:
                near = difflib.get_close_matches(name.capitalize(), KNOWN_SCRIPTS, n=1, cutoff=0.8)
                known = (
                    f"did you mean {near[0]!r}?"
                    if near
                    else f"known are {', '.join(KNOWN_SCRIPTS[:12])} and more"
                )
                raise ValueError(
                    f"{name!r} is not a Unicode script (Chinese is Han, Korean is Hangul); {known}"
                )
        return scripts

    @pydantic.model_validator(mode="after")
    def _one_method(self) -> Self:
        if self.method == "pieces":
            if self.pieces is None:
                raise ValueError(
                    "method `pieces` needs `pieces: FILE` (JSONL or a sentencepiece .model)"
                )
            not_its_own = ("size", "maximum", "scripts", "from_")
            stated = [
                f"`{name.rstrip('_')}`" for name in not_its_own if name in self.model_fields_set
            ]
            if stated:
                raise ValueError(
                    f"method `pieces` takes its pieces from a file; drop {' and '.join(stated)}"
                )
        else:
            if self.size is None:
                raise ValueError(
                    "method `continue-bpe` needs a `size`: a number of tokens, or `knee`"
                )
            if self.size != "knee" and "maximum" in self.model_fields_set:
                raise ValueError(
                    f"`maximum` applies to `size: knee` only, and size is {self.size}; drop one"
                )
            if self.pieces is not None:
                raise ValueError(
                    "`pieces` is read by `method: pieces` only; set that method or drop the file"
                )
        return self


def require_growth(size: int, base: int) -> None:
    """`StageError` where a base of `base` tokens is at least as large as `size` already."""
    if size <= base:
        raise StageError(
            f"the size asked for is {size:,}, but the base already has {base:,} tokens; ask for "
            "more"
        )


class Train(Parameters):
    """Train a byte-level BPE from scratch; `size` tokens, its three special ones included."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    size: Count = pydantic.Field(gt=260)
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    from_: From = pydantic.Field(default_factory=dict, alias="from")


class TokenizerParameters(Parameters):
    """Either a `base` (kept as it is, or grown by `expand`) or `train`."""

    base: Annotated[str | None, FILE] = None
    """Folder with a Hugging Face checkpoint or tokenizer, Meta's or llama2.c's files or one
    `*.model`; or an artifact.
    """
    expand: Expand | None = None
    train: Train | None = None
    sample_bytes: Bytes = pydantic.Field(default=200_000_000, gt=0)
    """Limit of training text read, sampled evenly over all documents."""

    categories: tuple[str, ...] = ()
    """Set by the plan from `from`: categories to learn from; none means all. All are measured."""
    weights: dict[str, dict[str, int]] = pydantic.Field(default_factory=dict)
    """Set by the plan from `from`: source -> category -> weight; empty where all text of
    `categories` has weight 1.
    """

    @property
    def learns(self) -> bool:
        """Whether pieces are learned from text."""
        return self.train is not None or (
            self.expand is not None and self.expand.method == "continue-bpe"
        )

    def learn_from(self) -> dict[str, int]:
        """The names in `from`, with their weights."""
        learning = self.expand or self.train
        return learning.from_ if learning is not None else {}

    def shares(self, feeds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
        """Source -> category -> weight of its text, in the order of `feeds`.

        `feeds`: source -> its categories. A name of both a source and a category means the source.
        Weights are divided by their greatest common divisor. `ValueError` where two names give the
        same text different weights.
        """
        named = self.learn_from()
        shares: dict[str, dict[str, int]] = {}
        for source, categories in feeds.items():
            for category in categories:
                names = [
                    n for n in (source, category) if n in named and (n == source or n not in feeds)
                ]
                weights = {named[name] for name in names} if named else {1}
                if len(weights) > 1:
                    raise ValueError(
                        f"text of source {source!r} in category {category!r} has two weights, "
                        f"{named[names[0]]} by the source's name and {named[names[1]]} by the "
                        "category's; name the sources only"
                    )
                for weight in weights:
                    shares.setdefault(source, {})[category] = weight
        divisor = math.gcd(*(weight for weights in shares.values() for weight in weights.values()))
        return {
            s: {category: weight // divisor for category, weight in ws.items()}
            for s, ws in shares.items()
        }

    def with_shares(self, feeds: Mapping[str, Sequence[str]]) -> Self:
        """A copy with `categories` and `weights` set from `from`, given `feeds` (see `shares`)."""
        shares = self.shares(feeds)
        categories = sorted({category for weights in shares.values() for category in weights})
        every = {
            s: {category: 1 for category in feeds[s] if category in categories} for s in shares
        }
        weights = (
            {} if shares == every else {s: dict(sorted(shares[s].items())) for s in sorted(shares)}
        )
        return self.model_copy(update={"categories": tuple(categories), "weights": weights})

    def identity(self) -> dict[str, JSON]:
        """Leaves `weights` out where there are none: recipes written before keep their version."""
        values = super().identity()
        return (
            values
            if self.weights
            else {name: value for name, value in values.items() if name != "weights"}
        )

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.train is not None and (self.base is not None or self.expand is not None):
            raise ValueError(
                "tokenizer: `train` starts from scratch; drop `base` and `expand`, or drop `train`"
            )
        if self.train is None and self.base is None:
            raise ValueError(
                "tokenizer: give a `base` (with or without `expand`), or `train: {size: ...}`"
            )
        return self


STAGE = Stage(
    "tokenizer",
    version=3,
    parameters=TokenizerParameters,
    run="tasks.tokenizer.run:run",
    check="tasks.tokenizer.check:faults",
    summary="the base's tokenizer unchanged or extended, or a new one trained from bytes",
    section="tokenizer",
    inputs=(
        Role("select", ("select",), many=True, optional=True, content=True),
        Role("base", ("tokenizer", "model", "training"), optional=True),
    ),
    outputs=(
        Output(
            "tokenizer/*",
            "files that `AutoTokenizer.from_pretrained` reads, and the `.model` of a base that has "
            "one",
        ),
        Output(
            "new_tokens.json",
            "the pieces that the base lacks, each with the base ids that it replaces",
        ),
        Output("report.json", "compression before and after"),
    ),
)
