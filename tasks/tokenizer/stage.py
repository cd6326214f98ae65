"""Parameters of stage tokenizer."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal, Self

import pydantic

from infra.stage import FILE, NOT_IDENTITY, Parameters, Stage
from tasks.tokenizer.scripts import KNOWN_SCRIPTS


class Expand(Parameters):
    """Grow the base's vocabulary: by learned merges (`continue-bpe`) or by a given list (`pieces`)."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    method: Literal["continue-bpe", "pieces"] = "continue-bpe"
    size: Annotated[int, pydantic.Field(gt=256)] | Literal["knee"] | None = None
    """`continue-bpe`: tokens in the end, special ones included; `knee` stops where more would save little."""
    maximum: int = pydantic.Field(default=100_000, gt=0)
    """New tokens among which `size: knee` looks."""
    pieces: Annotated[str | None, FILE] = None
    """`pieces`: a JSONL file of `{"piece": "..."}`, or a sentencepiece `.model`."""
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    """Characters."""
    scripts: tuple[str, ...] = ()
    """`continue-bpe`: Unicode scripts that new pieces are written in, such as `[Han]` (Hiragana and Katakana count as
    Han); none means any. With `[Han]` English keeps its segmentation even where the training text quotes English."""
    from_: Annotated[tuple[str, ...], NOT_IDENTITY] = pydantic.Field(default=(), alias="from")
    """Sources or categories to learn from; none means all. The plan turns them into inputs and `categories`."""

    @pydantic.field_validator("scripts")
    @classmethod
    def _known_scripts(cls, scripts: tuple[str, ...]) -> tuple[str, ...]:
        for name in scripts:
            if name not in KNOWN_SCRIPTS:
                near = difflib.get_close_matches(name.capitalize(), KNOWN_SCRIPTS, n=1, cutoff=0.8)
                known = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(KNOWN_SCRIPTS[:12])} and more"
                raise ValueError(f"{name!r} is no Unicode script (Chinese is Han, Korean is Hangul); {known}")
        return scripts

    @pydantic.model_validator(mode="after")
    def _one_method(self) -> Self:
        if self.method == "pieces":
            if self.pieces is None:
                raise ValueError("method `pieces` needs `pieces: FILE` (JSONL or a sentencepiece .model)")
            not_its_own = ("size", "maximum", "scripts", "from_")
            stated = [f"`{name.rstrip('_')}`" for name in not_its_own if name in self.model_fields_set]
            if stated:
                raise ValueError(f"method `pieces` takes the pieces of its file; drop {' and '.join(stated)}")
        else:
            if self.size is None:
                raise ValueError("method `continue-bpe` needs a `size`: a number of tokens, or `knee`")
            if self.size != "knee" and "maximum" in self.model_fields_set:
                raise ValueError(f"`maximum` bounds `size: knee`, and size is {self.size}; drop one")
            if self.pieces is not None:
                raise ValueError("`pieces` is read by `method: pieces` only; state that method or drop the file")
        return self


class Train(Parameters):
    """Train a byte-level BPE from nothing, `size` tokens with its three special ones."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    size: int = pydantic.Field(gt=260)
    longest_piece: int = pydantic.Field(default=16, ge=2, le=64)
    from_: Annotated[tuple[str, ...], NOT_IDENTITY] = pydantic.Field(default=(), alias="from")


class TokenizerParameters(Parameters):
    """Either a `base` (kept as it is, or grown by `expand`) or `train`."""

    base: Annotated[str | None, FILE] = None
    """Folder of a Hugging Face checkpoint or tokenizer, of llama2.c's files, or with one `*.model`; or an artifact."""
    expand: Expand | None = None
    train: Train | None = None
    sample_bytes: int = pydantic.Field(default=200_000_000, gt=0)
    """At most so much of the training text is read, evenly over all documents."""

    categories: tuple[str, ...] = ()
    """Set by the plan from `from`: the categories of the inputs to learn from; none means all. All are measured."""

    @property
    def learns(self) -> bool:
        """Whether pieces are learned from text."""
        return self.train is not None or (self.expand is not None and self.expand.method == "continue-bpe")

    def learn_from(self) -> tuple[str, ...]:
        """What `from` names."""
        learning = self.expand or self.train
        return learning.from_ if learning is not None else ()

    @pydantic.model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.train is not None and (self.base is not None or self.expand is not None):
            raise ValueError("tokenizer: `train` starts from nothing; drop `base` and `expand`, or drop `train`")
        if self.train is None and self.base is None:
            raise ValueError("tokenizer: state a `base` (with or without `expand`), or `train: {size: ...}`")
        return self


STAGE = Stage(
    "tokenizer",
    version=2,
    parameters=TokenizerParameters,
    run="tasks.tokenizer.run:run",
    summary="the base's tokenizer as it is, grown by further merges or pieces, or trained from bytes",
)
