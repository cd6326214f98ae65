"""A benchmark in a recipe. Imports pydantic only, because planning reads this module.

Decontamination depends only on the questions (`BenchmarkFiles`), evaluation also on how they are
asked (`Benchmark`). They are separate so that changing a prompt or the number of shots does not
make decontamination run again. How is in `tasks.benchmarks.styles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import pydantic

from infra.stage import FilePaths, Parameters
from tasks.benchmarks.styles import Generation, Style, generation_of, letters_of, style_of

Format = Literal[
    "multiple-choice",
    "agieval",
    "arc",
    "boolq",
    "ceval",
    "cmmlu",
    "commonsenseqa",
    "gaokao",
    "gsm8k",
    "hellaswag",
    "math",
    "mmlu",
    "natural-questions",
    "openbookqa",
    "piqa",
    "race",
    "siqa",
    "triviaqa",
    "truthfulqa",
    "truthfulqa-mc1",
    "truthfulqa-mc2",
    "winogrande",
]
"""`multiple-choice` is Puna's own, see `tasks.benchmarks.read`; the others are published files."""

Metric = Literal["acc", "acc_norm", "mc2", "first_token_acc", "exact_match", "exact_match_last"]
"""A metric of rows of results, see `tasks.benchmarks.scores`."""

QuestionProtocol = Literal["harness", "first-token", "exact-match"]
"""How a question is asked: see `tasks.evaluation`."""

_OPEN: frozenset[str] = frozenset({"gsm8k", "math", "natural-questions", "triviaqa"})
_TEXTS_ONLY: frozenset[str] = frozenset({"truthfulqa-mc1", "truthfulqa-mc2", "winogrande"})


def protocols_of(format: Format) -> tuple[QuestionProtocol, ...]:
    """The protocols that can ask questions of a format; none for questions without any answer."""
    if format == "truthfulqa":  # two answers stand for a list that these files do not have in order
        return ()
    if format in _OPEN:
        return ("exact-match",)
    return ("harness",) if format in _TEXTS_ONLY else ("harness", "first-token", "exact-match")


class AnyOf(Parameters):
    """A metric: an item is right if it is by any of these protocols."""

    any: tuple[QuestionProtocol, ...] = pydantic.Field(min_length=2)

    @pydantic.model_validator(mode="after")
    def _differ(self) -> Self:
        if len(set(self.any)) < len(self.any):
            raise ValueError(f"any: {list(self.any)} names a protocol twice; remove one")
        return self


class BenchmarkFiles(Parameters):
    """The questions of a benchmark: `paths` in a publisher's `format`.

    `language`: decides the wording of default prompts and is shown in tables. `split`: folder in a
    publisher's zip archive (C-Eval: val, dev, test; only val has answers).
    """

    format: Format
    paths: FilePaths
    language: str = ""
    split: str = "val"

    def resolved_language(self) -> str:
        """The language stated, else that of the format."""
        return self.language or ("zh" if self.format in ("agieval", "ceval", "cmmlu") else "en")


class Benchmark(BenchmarkFiles):
    """A benchmark as evaluated.

    `limit`: use the first N items. `dev`: files of worked examples. `shots`: how many of them begin
    every prompt, from the item's own group if items have groups. `style`: replaces the format's
    prompt. `protocols`: how it is asked, instead of by the evaluation's. `metric`: the one that
    counts for this benchmark; `{any: [exact-match, first-token]}` takes an item as right if any of
    these protocols does. `generation`: how answers are generated for exact-match. `bos`: whether
    prompts begin with the beginning-of-text token; `auto`: where the tokenizer's settings say so,
    as in lm-evaluation-harness. `suite`: the suite that it is of.
    """

    limit: int | None = pydantic.Field(None, gt=0)
    dev: FilePaths = ()
    shots: int = pydantic.Field(0, ge=0)
    style: Style | None = None
    protocols: tuple[QuestionProtocol, ...] = ()
    metric: Metric | AnyOf | None = None
    generation: Generation | None = None
    bos: Literal["auto", "always", "never"] = "auto"
    suite: str = ""

    @pydantic.model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if self.shots and not self.dev:
            raise ValueError(
                f"shots: {self.shots} needs worked examples; list their files under dev, or set "
                "shots: 0"
            )
        possible = protocols_of(self.format)
        if wrong := [name for name in self.protocols if name not in possible]:
            raise ValueError(
                f"protocols: {wrong[0]} cannot ask questions of format {self.format}; possible: "
                f"{', '.join(possible) or 'none (for decontaminate.against only)'}"
            )
        needed = self.metric.any if isinstance(self.metric, AnyOf) else ()
        if missing := [name for name in needed if name not in self.protocols]:
            raise ValueError(
                f"metric: any of {', '.join(needed)} needs the protocol {missing[0]}; write "
                f"protocols: [{', '.join(dict.fromkeys((*self.protocols, *needed)))}]"
            )
        return self

    def files(self) -> BenchmarkFiles:
        """The fields that decontamination depends on."""
        return BenchmarkFiles(**{name: getattr(self, name) for name in BenchmarkFiles.model_fields})

    def asked_by(self, default: Sequence[str]) -> tuple[QuestionProtocol, ...]:
        """The protocols that ask it: its own, else those of `default` that can."""
        if self.protocols:
            return self.protocols
        return tuple(name for name in protocols_of(self.format) if name in default)

    def resolved_metric(self) -> str:
        """The name of the metric that counts, as rows have it; "" where none is named."""
        return "any" if isinstance(self.metric, AnyOf) else self.metric or ""

    def resolved_style(self) -> Style:
        """The style stated, else that of the format."""
        return self.style or style_of(self.format, self.resolved_language())

    def letters_style(self) -> Style:
        """The prompt of the first-token protocol, which lists options and compares letters."""
        style = self.resolved_style()
        if style.score in ("letters", "listed"):
            return style
        return letters_of(self.resolved_language()).model_copy(
            update={"description": style.description, "separator": style.separator}
        )

    def resolved_generation(self) -> Generation:
        """The generation stated, else that of the format."""
        return self.generation or generation_of(self.format)

    def style_for(self, protocol: QuestionProtocol) -> Style:
        """The prompt of a protocol."""
        if protocol == "first-token":
            return self.letters_style()
        return self.generation_style() if protocol == "exact-match" else self.resolved_style()

    def generation_style(self) -> Style:
        """The prompt of the exact-match protocol, which lists options if it asks for a letter."""
        asks_letter = self.resolved_generation().extract == "letter"
        return self.letters_style() if asks_letter else self.resolved_style()
