"""How a recipe names a benchmark: light (pydantic only), because plans read it.

Decontamination depends only on which questions there are (`BenchmarkFiles`); evaluation also on how
they are asked (`Benchmark`). The two are apart so that a changed prompt or number of shots never
annotates a corpus again.
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
"""`multiple-choice` is ours, see `tasks.benchmarks.read`; the others are the publishers' own files.
"""

Scoring = Literal["texts", "letters"]
"""`texts`: the likelihood of each answer's words; `letters`: answers are listed and their letters
compared.
"""

QUESTIONS_ONLY: frozenset[str] = frozenset({"gsm8k", "truthfulqa", "winogrande"})
"""Formats without a choice that follows the question: for decontamination, not for evaluation."""


class Style(Parameters):
    """How one question is asked.

    `question` is a template with `{question}` and, for letters, `{options}` (lines "A. ...");
    `delimiter` stands between it and the answer; `description` opens the prompt (`{subject}` is the
    item's group, underscores as blanks).
    """

    question: str
    delimiter: str
    score: Scoring
    description: str = ""

    @pydantic.model_validator(mode="after")
    def _has_fields(self) -> Self:
        if "{question}" not in self.question:
            raise ValueError(
                f"prompt {self.question!r} lacks {{question}}; write, say, 'Question: {{question}}'"
            )
        if self.score == "letters" and "{options}" not in self.question:
            raise ValueError(
                f"prompt {self.question!r} lacks {{options}}, which score: letters needs"
            )
        return self


_ENGLISH_TEXTS = Style(question="Question: {question}\nAnswer:", delimiter=" ", score="texts")
_ENGLISH_LETTERS = Style(question="{question}\n{options}\nAnswer:", delimiter=" ", score="letters")
# A blank before the answer, as the harness has: without one a tokenizer may join the colon and the
# answer in one token, which leaves nothing of the answer to score.
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

AGIEval's are ours: the harness takes the prompts that stand in the hub's own data set and scores
the options' words.
"""


class BenchmarkFiles(Parameters):
    """The questions of a benchmark: `paths` in a publisher's `format`.

    `language` decides the wording of default prompts and is shown in the table; `split` chooses a
    folder inside a publisher's zip archive (C-Eval: val, dev, test; only val has answers).
    """

    format: Format
    paths: FilePaths
    language: str = ""
    split: str = "val"

    def resolved_language(self) -> str:
        """The language as stated, else that of the format."""
        return self.language or ("zh" if self.format in ("agieval", "ceval", "cmmlu") else "en")


class Benchmark(BenchmarkFiles):
    """A benchmark as evaluation asks it.

    `limit`: the first N items; `dev` and `shots`: the publisher's worked examples and how many of
    them (of the same group where items have groups) open every prompt; `style` replaces the prompt
    of the format.
    """

    limit: int | None = pydantic.Field(None, gt=0)
    dev: FilePaths = ()
    shots: int = pydantic.Field(0, ge=0)
    style: Style | None = None

    @pydantic.model_validator(mode="after")
    def _has_examples(self) -> Self:
        if self.shots and not self.dev:
            raise ValueError(
                f"shots: {self.shots} needs worked examples; name their files under dev"
            )
        return self

    def files(self) -> BenchmarkFiles:
        """The part that decontamination depends on."""
        return BenchmarkFiles(**{name: getattr(self, name) for name in BenchmarkFiles.model_fields})

    def resolved_style(self) -> Style:
        """The prompt as stated, else the harness's for this format, else a plain one in the
        benchmark's language.
        """
        if stated := self.style or _HARNESS_STYLES.get(self.format):
            return stated
        texts = _CHINESE_TEXTS if self.resolved_language() == "zh" else _ENGLISH_TEXTS
        return self._letters() if self.format == "agieval" else texts

    def letters_style(self) -> Style:
        """The prompt of the first-token protocol: options are listed, their letters compared."""
        style = self.resolved_style()
        if style.score == "letters":
            return style
        return self._letters().model_copy(update={"description": style.description})

    def _letters(self) -> Style:
        return _CHINESE_LETTERS if self.resolved_language() == "zh" else _ENGLISH_LETTERS
