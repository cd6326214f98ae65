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
"""Counts times weights stay far from the end of 64 bits, and no mixture of text needs more."""


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
                f"{MAXIMUM_WEIGHT:,} (for a fraction raise the others' weights, for nothing of a "
                "source leave it out)"
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
"""Sources or categories to learn from, a list or name -> weight; none means all, each text once.

Weights are relative: text of weight 4 beside text of weight 1 counts as though it were there four
times, and weights that are all equal are those of a list. `sample_bytes` cuts before weights count.
A source means its own text, also where others feed its category. The plan turns names into inputs,
`categories` and `weights`.
"""


class Expand(Parameters):
    """Grow the base's vocabulary: by learned merges (`continue-bpe`) or by a given list
    (`pieces`).
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Literal["continue-bpe", "pieces"] = "continue-bpe"
    size: Annotated[Count, pydantic.Field(gt=256)] | Literal["knee"] | None = None
    """`continue-bpe`: tokens in the end, special ones included; `knee` stops where more would save
    little.
    """
    maximum: Count = pydantic.Field(default=100_000, gt=0)
    """New tokens among which `size: knee` looks."""
    pieces: Annotated[str | None, FILE] = None
    """`pieces`: a JSONL file of `{"piece": "..."}`, or a sentencepiece `.model`."""
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    """Characters."""
    scripts: tuple[str, ...] = ()
    """`continue-bpe`: Unicode scripts that new pieces are written in, such as `[Han]` (Hiragana and
    Katakana count as Han); none means any. With `[Han]` English keeps its segmentation even where
    the training text quotes English.
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
                    f"{name!r} is no Unicode script (Chinese is Han, Korean is Hangul); {known}"
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
                    f"method `pieces` takes the pieces of its file; drop {' and '.join(stated)}"
                )
        else:
            if self.size is None:
                raise ValueError(
                    "method `continue-bpe` needs a `size`: a number of tokens, or `knee`"
                )
            if self.size != "knee" and "maximum" in self.model_fields_set:
                raise ValueError(
                    f"`maximum` bounds `size: knee`, and size is {self.size}; drop one"
                )
            if self.pieces is not None:
                raise ValueError(
                    "`pieces` is read by `method: pieces` only; state that method or drop the file"
                )
        return self


def require_growth(size: int, base: int) -> None:
    """`StageError` where a base of `base` tokens has the `size` asked for already."""
    if size <= base:
        raise StageError(
            f"the size asked for is {size:,}, the base has {base:,} tokens already; ask for more"
        )


class Train(Parameters):
    """Train a byte-level BPE from nothing, `size` tokens with its three special ones."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    size: Count = pydantic.Field(gt=260)
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    from_: From = pydantic.Field(default_factory=dict, alias="from")


class TokenizerParameters(Parameters):
    """Either a `base` (kept as it is, or grown by `expand`) or `train`."""

    base: Annotated[str | None, FILE] = None
    """Folder of a Hugging Face checkpoint or tokenizer, of llama2.c's files, or with one `*.model`;
    or an artifact.
    """
    expand: Expand | None = None
    train: Train | None = None
    sample_bytes: Bytes = pydantic.Field(default=200_000_000, gt=0)
    """At most so much of the training text is read, evenly over all documents."""

    categories: tuple[str, ...] = ()
    """Set by the plan from `from`: the categories of the inputs to learn from; none means all. All
    are measured.
    """
    weights: dict[str, dict[str, int]] = pydantic.Field(default_factory=dict)
    """Set by the plan from `from`: source -> category -> weight; none where all text of
    `categories` counts once.
    """

    @property
    def learns(self) -> bool:
        """Whether pieces are learned from text."""
        return self.train is not None or (
            self.expand is not None and self.expand.method == "continue-bpe"
        )

    def learn_from(self) -> dict[str, int]:
        """What `from` names, with weights."""
        learning = self.expand or self.train
        return learning.from_ if learning is not None else {}

    def shares(self, feeds: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
        """Source -> category -> weight of its text, in the order of `feeds` (source -> its
        categories).

        A name that is a source's and a category's means the source. Weights come out without a
        common divisor. `ValueError` where two names give one text different weights.
        """
        named = self.learn_from()
        found: dict[str, dict[str, int]] = {}
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
                    found.setdefault(source, {})[category] = weight
        divisor = math.gcd(*(weight for weights in found.values() for weight in weights.values()))
        return {
            s: {category: weight // divisor for category, weight in ws.items()}
            for s, ws in found.items()
        }

    def learning_from(self, feeds: Mapping[str, Sequence[str]]) -> Self:
        """With `categories` and `weights` as `from` says of `feeds`."""
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
        """As ever where no weights are stated, so that such a recipe keeps its version."""
        found = super().identity()
        return (
            found
            if self.weights
            else {name: value for name, value in found.items() if name != "weights"}
        )

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.train is not None and (self.base is not None or self.expand is not None):
            raise ValueError(
                "tokenizer: `train` starts from nothing; drop `base` and `expand`, or drop `train`"
            )
        if self.train is None and self.base is None:
            raise ValueError(
                "tokenizer: state a `base` (with or without `expand`), or `train: {size: ...}`"
            )
        return self


STAGE = Stage(
    "tokenizer",
    version=3,
    parameters=TokenizerParameters,
    run="tasks.tokenizer.run:run",
    summary="the base's tokenizer as it is, grown by further merges or pieces, or trained from bytes",
    section="tokenizer",
    inputs=(
        Role("select", ("select",), many=True, optional=True),
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
            "the pieces that the base lacks, and the base's own pieces each of them stands for",
        ),
        Output("report.json", "compression before and after"),
    ),
)
