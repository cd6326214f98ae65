"""The model that lm-evaluation-harness 0.4.13 scores: its own `HFLM`, with checks.

It counts truncated prompts, and raises a clear error on answers that cannot be scored.

One deviation, only if the output matrix has rows without a token: the harness includes them in the
softmax and in generation, so scores would depend on `pad_to_multiple_of`. Here their logits are
set to minus infinity first.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

from infra.stage import StageError
from tasks.evaluation.model import LoadedModel


class EncodedPair(NamedTuple):
    """Token ids of a prompt and of an answer after it.

    `spans`: the prompt's tokens change when the answer follows, because a token spans the two.
    """

    prompt: list[int]
    answer: list[int]
    spans: bool


def harness_model(model: LoadedModel, batch_size: int) -> Any:
    """Wrap a model for the harness; `StageError` if the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise StageError(
            "protocol harness needs lm-evaluation-harness, which is not installed; run `pip "
            "install lm-eval==0.4.13`, or remove harness from protocols"
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):  # type: ignore[misc]
        """The harness's model; counts truncated prompts and raises a clear error on bad answers."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.encoded: dict[tuple[str, str], EncodedPair] = {}
            self.cut = 0

        def pairs(self, prompt: str, answers: Sequence[str]) -> list[EncodedPair]:
            """Encode each answer after `prompt` as the harness does; `_encode_pair` reuses it."""
            # The harness moves trailing spaces of the prompt to the answer.
            prompt_ids = self.tok_encode(prompt.rstrip())
            pairs = []
            for answer in answers:
                ids = self.tok_encode(prompt + answer)
                spans = ids[: len(prompt_ids)] != prompt_ids
                pair = EncodedPair(prompt_ids, ids[len(prompt_ids) :], spans)
                self.encoded[prompt, answer] = pair
                pairs.append(pair)
            return pairs

        def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
            if pair := self.encoded.pop((context, continuation), None):
                return pair.prompt, pair.answer
            encoded: tuple[list[int], list[int]] = super()._encode_pair(context, continuation)
            return encoded

        def _loglikelihood_tokens(self, requests: Any, *arguments: Any, **named: Any) -> Any:
            for texts, prompt_ids, answer_ids in requests:
                if problem := answer_problem(answer_ids, self.max_length):
                    raise StageError(f"{problem}: {str(texts and texts[1])[:80]!r}")
                self.cut += is_cut(prompt_ids, answer_ids, self.max_length)
            return super()._loglikelihood_tokens(requests, *arguments, **named)

        def tok_batch_encode(self, strings: Any, *arguments: Any, **named: Any) -> Any:
            if limit := named.get("left_truncate_len"):
                self.cut += sum(len(self.tok_encode(string)) > limit for string in strings)
            return super().tok_batch_encode(strings, *arguments, **named)

    class TokensOnly(Watched):
        """Like Watched, with the padding rows of the output matrix masked."""

        def _model_call(self, *arguments: Any, **named: Any) -> Any:
            logits = super()._model_call(*arguments, **named)
            model.mask_padding(logits)
            return logits

        def _model_generate(self, *arguments: Any, **named: Any) -> Any:
            return super()._model_generate(
                *arguments, suppress_tokens=model.padding_rows.tolist(), **named
            )

    kind = TokensOnly if len(model.padding_rows) else Watched
    batch_size = 1 if model.one_length_at_a_time else batch_size
    return kind(
        pretrained=model.model,
        tokenizer=model.tokenizer,
        batch_size=batch_size,
        max_length=model.max_length,
    )


def answer_problem(answer: Sequence[int], max_length: int) -> str:
    """Why the harness cannot score an answer with these token ids; "" if it can."""
    if not answer:
        return "an answer with no token of its own after the prompt (a token spans the two)"
    return "an answer longer than the context" if len(answer) > max_length else ""


def is_cut(prompt: Sequence[int], answer: Sequence[int], max_length: int) -> bool:
    """Whether the harness cuts off the beginning of the prompt."""
    return len(prompt) + len(answer) > max_length + 1
