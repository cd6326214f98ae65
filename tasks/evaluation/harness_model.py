"""The model that lm-evaluation-harness 0.4.13 scores in tasks of its own: its `HFLM`, with checks.

It counts truncated prompts, and raises a clear error on answers that cannot be scored.

A tokenizer that has neither a bos nor an eos token, at which the harness stops with a TypeError, is
used as it is; only text with nothing before it cannot be scored then.

One deviation, only if the output matrix has rows without a token: the harness includes them in the
softmax and in generation, so scores would depend on `pad_to_multiple_of`. Here their logits are
set to minus infinity first.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
from typing import Any

from infra.stage import StageError
from tasks.evaluation.likelihood import answer_problem, is_cut
from tasks.evaluation.model import LoadedModel


def harness_model(model: LoadedModel, batch_size: int) -> Any:
    """Wrap a model for the harness; `StageError` if the harness is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise StageError(
            "hub tasks need lm-evaluation-harness, which is not installed; run `pip install "
            "lm-eval==0.4.13`, or remove them from evaluation.hub"
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.models.huggingface import HFLM

    class Watched(HFLM):  # type: ignore[misc]
        """The harness's model; counts truncated prompts and raises a clear error on bad answers."""

        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.cut = 0

        def tok_encode(
            self,
            string: str,
            add_special_tokens: bool | None = None,
            left_truncate_len: int | None = None,
            **named: Any,
        ) -> list[int]:
            if self.prefix_token_id is not None:
                ids: list[int] = super().tok_encode(
                    string, add_special_tokens, left_truncate_len, **named
                )
                return ids
            return model.encode_prompt(string)[-(left_truncate_len or 0) :]

        def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any:
            if tokens is None:  # the end token, which there is none of
                return None
            return model.tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

        def loglikelihood(self, requests: Any, *arguments: Any, **named: Any) -> Any:
            if any(request.args[0] == "" for request in requests):
                model.require_bos()
            return super().loglikelihood(requests, *arguments, **named)

        def loglikelihood_rolling(self, *arguments: Any, **named: Any) -> Any:
            model.require_bos()
            return super().loglikelihood_rolling(*arguments, **named)

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
            model.hide_padding(logits)
            return logits

        def _model_generate(self, *arguments: Any, **named: Any) -> Any:
            return super()._model_generate(
                *arguments, suppress_tokens=model.padding_rows.tolist(), **named
            )

    kind = TokensOnly if len(model.padding_rows) else Watched
    batch_size = 1 if model.one_length_at_a_time else batch_size
    return kind(
        pretrained=model.model,
        tokenizer=_padding(model.tokenizer),
        batch_size=batch_size,
        max_length=model.max_length,
    )


def _padding(tokenizer: Any) -> Any:
    """The tokenizer with a token to pad with, which is masked; a copy if it had none.

    The harness would add one, for which the model has no row.
    """
    named = (tokenizer.pad_token, tokenizer.unk_token, tokenizer.eos_token)
    if any(name is not None for name in named):
        return tokenizer
    padding = copy.deepcopy(tokenizer)
    padding.pad_token = tokenizer.convert_ids_to_tokens(0)
    return padding
