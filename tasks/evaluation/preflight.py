"""What a model's tokenizer and context say against the questions, before any weights are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark, QuestionProtocol
from tasks.evaluation.first_token import letter_ids
from tasks.evaluation.items import Question
from tasks.evaluation.model import LoadedModel
from tasks.evaluation.stage import EvaluationParameters

Questions = Mapping[str, Mapping[QuestionProtocol, Sequence[Question]]]
"""Task -> protocol -> its questions."""


def require_beginning(
    parameters: EvaluationParameters, model: LoadedModel, *, held_out: bool = True
) -> None:
    """Raise `StageError` if something is scored after a bos token, and the tokenizer has none.

    `held_out`: whether there is held-out text.
    """
    if model.has_bos:
        return
    for name, benchmark in parameters.local_tasks().items():
        if benchmark.bos == "always":
            raise StageError(
                f"{name}: bos is always, and the tokenizer in {model.folder} has neither a bos nor "
                "an eos token; write bos: auto, or set one in its tokenizer_config.json"
            )
    texts = {
        "bits per byte": "bits-per-byte" in parameters.protocols,
        "long text": parameters.long_text is not None,
    }
    for what, asked in texts.items():
        if asked and held_out:
            raise StageError(
                f"{what}: held-out text is scored after a bos token, and the tokenizer in "
                f"{model.folder} has neither a bos nor an eos token; set one in its "
                f"tokenizer_config.json, or leave {what} out"
            )


def require_askable(
    benchmarks: Mapping[str, Benchmark], asked: Questions, model: LoadedModel
) -> Iterator[str]:
    """Yield a sentence for each task some of whose prompts are longer than the context.

    Only the longest and shortest prompts (in characters) are encoded. `model` needs no weights.

    Raises:
        StageError: an option's letter is no single token, every prompt of a task is longer than the
            context, or generated answers leave no room for one.
    """
    for task, by_protocol in asked.items():
        for protocol, questions in by_protocol.items():
            given = [question for question in questions if not question.problem]
            room = model.max_length
            if protocol == "exact-match":
                room -= benchmarks[task].resolved_generation().tokens
                if room < 1:
                    raise StageError(
                        f"{task} (exact-match): generation.tokens "
                        f"{benchmarks[task].resolved_generation().tokens:,} leaves no room for a "
                        f"prompt in the context of {model.max_length:,} tokens; lower it"
                    )
            if not given:
                continue
            if protocol == "first-token":
                _require_letters(task, given, model)
            shortest, longest = (
                len(model.encode_prompt(choose(given, key=lambda q: len(q.prompt)).prompt))
                for choose in (min, max)
            )
            if shortest > room:
                raise StageError(
                    f"{task} ({protocol}): every prompt is longer than the {room:,} tokens that "
                    f"the model's context leaves for it (the shortest has {shortest:,}); lower "
                    "shots, or leave the task out"
                )
            if longest > room:
                yield (
                    f"{task} ({protocol}): the longest prompt has {longest:,} tokens, and the "
                    f"model's context leaves {room:,} for it; such prompts lose their beginning, "
                    "and are counted as cut. Lower shots to avoid it"
                )


def _require_letters(task: str, questions: Sequence[Question], model: LoadedModel) -> None:
    endings = {
        (question.prompt.rpartition("\n")[2], letter)
        for question in questions
        for letter in question.answers
    }
    for ending, letter in sorted(endings):
        try:
            letter_ids(model, ending, letter)
        except StageError as error:
            raise StageError(f"{task} (first-token): {error}") from None
