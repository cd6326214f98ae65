"""A benchmark in a recipe. Imports pydantic only, because planning reads this module.

Decontamination depends only on the questions (`BenchmarkFiles`), evaluation also on how they are
asked (`Benchmark`). They are separate so that changing a prompt or the number of shots does not
make decontamination run again.
"""

from __future__ import annotations

from typing import Literal, Self

import pydantic

from infra.stage import FilePaths, Parameters

Format = Literal[
    "multiple-choice",
    "agieval",
    "arc",
    "boolq",
    "ceval",
    "cmmlu",
    "gsm8k",
    "mmlu",
    "openbookqa",
    "piqa",
    "truthfulqa",
    "winogrande",
]
"""`multiple-choice` is Puna's own, see `tasks.benchmarks.read`; the others are published files."""

Scoring = Literal["texts", "letters"]
"""What likelihoods are compared: `texts`, of each answer's text; `letters`, of option letters."""

QUESTIONS_ONLY: frozenset[str] = frozenset({"gsm8k", "truthfulqa", "winogrande"})
"""Formats whose questions have no choices: for decontamination only."""


class Style(Parameters):
    """How one question is asked.

    `question`: template with `{question}` and, for letters, `{options}` (lines "A. ...").
    `delimiter`: text between question and answer. `description`: beginning of the prompt, in which
    `{subject}` is the item's group with underscores replaced by spaces.
    """

    question: str
    delimiter: str
    score: Scoring
    description: str = ""

    @pydantic.model_validator(mode="after")
    def _has_fields(self) -> Self:
        if "{question}" not in self.question:
            raise ValueError(
                f"prompt {self.question!r} lacks {{question}}; write e.g. 'Question: {{question}}'"
            )
        if self.score == "letters" and "{options}" not in self.question:
            raise ValueError(
                f"prompt {self.question!r} lacks {{options}}, which `score: letters` needs; add "
                "it, or set `score: texts`"
            )
        return self


_ENGLISH_TEXTS = Style(question="Question: {question}\nAnswer:", delimiter=" ", score="texts")
_ENGLISH_LETTERS = Style(question="{question}\n{options}\nAnswer:", delimiter=" ", score="letters")
# A space before the answer, as in the harness: without it, a tokenizer may merge the colon and the
# answer into one token, so that no token of the answer is left to score.
_CHINESE_TEXTS = Style(question="问题：{question}\n答案：", delimiter=" ", score="texts")
_CHINESE_LETTERS = Style(question="{question}\n{options}\n答案：", delimiter=" ", score="letters")

_HARNESS_STYLES: dict[str, Style] = {
    "arc": _ENGLISH_TEXTS,
    "boolq": Style(question="{question}?\nAnswer:", delimiter=" ", score="texts"),
    "ceval": _CHINESE_LETTERS,
    "cmmlu": _CHINESE_LETTERS,
    "mmlu": _ENGLISH_LETTERS,
    "openbookqa": Style(question="{question}", delimiter=" ", score="texts"),
    "piqa": _ENGLISH_TEXTS,
}
"""The prompts of lm-evaluation-harness 0.4.13 (cmmlu, ceval and mmlu without its descriptions).

AGIEval's prompts are Puna's own: the harness uses those in the hub's data set and scores the text
of the options.
"""


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
    prompt.
    """

    limit: int | None = pydantic.Field(None, gt=0)
    dev: FilePaths = ()
    shots: int = pydantic.Field(0, ge=0)
    style: Style | None = None

    @pydantic.model_validator(mode="after")
    def _has_examples(self) -> Self:
        if self.shots and not self.dev:
            raise ValueError(
                f"shots: {self.shots} needs worked examples; list their files under dev, or set "
                "shots: 0"
            )
        return self

    def files(self) -> BenchmarkFiles:
        """The fields that decontamination depends on."""
        return BenchmarkFiles(**{name: getattr(self, name) for name in BenchmarkFiles.model_fields})

    def resolved_style(self) -> Style:
        """The style stated, else the harness's for the format, else a plain one in its language."""
        if stated := self.style or _HARNESS_STYLES.get(self.format):
            return stated
        texts = _CHINESE_TEXTS if self.resolved_language() == "zh" else _ENGLISH_TEXTS
        return self._letters() if self.format == "agieval" else texts

    def letters_style(self) -> Style:
        """The prompt of the first-token protocol, which lists options and compares letters."""
        style = self.resolved_style()
        if style.score == "letters":
            return style
        return self._letters().model_copy(update={"description": style.description})

    def _letters(self) -> Style:
        return _CHINESE_LETTERS if self.resolved_language() == "zh" else _ENGLISH_LETTERS
