"""A checkpoint in memory with its tokenizer, as the protocols use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from infra.stage import StageError
from tasks.documents.tokenize import ROLES, DocumentTokenizer, Tokens

UNSTATED_LENGTH = 10**9
"""Above this, a tokenizer's length is unstated: transformers then sets it to about 10**30."""

DEFAULT_MAX_LENGTH = 2048

_BY_LENGTH = ("dynamic", "longrope")
"""Rope types whose angles transformers computes from the longest row of the batch."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model of `transformers` in evaluation mode, and its tokenizer.

    `max_length`: context used, in tokens. `folder`: where the model was loaded from.
    """

    model: Any
    tokenizer: Any
    max_length: int
    folder: Path

    @property
    def bos(self) -> int:
        """Id that precedes a text: the tokenizer's bos token, else its eos token."""
        for id in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if id is not None:
                return int(id)
        raise StageError(
            f"the tokenizer in {self.folder} has neither a bos nor an eos token, and a text with "
            "nothing before it is scored after one; set one in its tokenizer_config.json"
        )

    @property
    def has_bos(self) -> bool:
        """Whether there is such a token."""
        ids = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id)
        return any(id is not None for id in ids)

    def require_bos(self) -> None:
        """Raise `StageError` if there is none."""
        _ = self.bos

    @property
    def vocabulary(self) -> int:
        """Width of the logits, which may exceed the number of tokens (a padded matrix)."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def one_length_at_a_time(self) -> bool:
        """Whether all rows of a batch must have one length, because longer ones change shorter."""
        return _rope_type(self.model) in _BY_LENGTH

    def batches(self, lengths: Sequence[int], rows: Callable[[int], int]) -> Iterator[slice]:
        """Cut falling `lengths` into batches of at most `rows(longest)` rows each."""
        low = 0
        while low < len(lengths):
            high = min(len(lengths), low + max(1, rows(lengths[low])))
            if self.one_length_at_a_time:
                shorter = (row for row in range(low, high) if lengths[row] != lengths[low])
                high = next(shorter, high)
            yield slice(low, high)
            low = high

    @cached_property
    def padding_rows(self) -> torch.Tensor:
        """Ids of the rows of the output matrix that have no token."""
        tokens = set(self.tokenizer.get_vocab().values())
        rows = [row for row in range(self.vocabulary) if row not in tokens]
        return torch.tensor(rows, dtype=torch.long, device=self.model.device)

    def mask_padding(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Set the logits of padding rows to minus infinity, in place.

        Args:
            logits: shape (..., V).

        Returns:
            The share of probability that they had, shape (...); None if there are no such rows.
        """
        if not len(self.padding_rows):
            return None
        taken = logits[..., self.padding_rows].logsumexp(-1)
        share: torch.Tensor = (taken - logits.logsumexp(-1)).exp()
        self.hide_padding(logits)
        return share

    def hide_padding(self, logits: torch.Tensor) -> None:
        """`mask_padding`, where nobody asks for the share."""
        if len(self.padding_rows):
            logits[..., self.padding_rows] = -torch.inf

    def encode_prompt(self, text: str, bos: str = "auto") -> list[int]:
        """Ids of a prompt, with bos `always`, `never`, or as the tokenizer's defaults have it
        (`auto`), as in the harness: a text that begins with it gets no second one.
        """
        begins = bos == "auto" and self.adds_bos and text.startswith(str(self.tokenizer.bos_token))
        ids: list[int] = self.tokenizer.encode(
            text, add_special_tokens=bos == "auto" and not begins
        )
        return [self.bos, *ids] if bos == "always" else ids

    @cached_property
    def adds_bos(self) -> bool:
        """Whether the tokenizer begins a text with bos by default."""
        ids: list[int] = self.tokenizer.encode("a")
        return bool(ids) and self.tokenizer.bos_token_id == ids[0]

    def encode_documents(self, documents: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """(ids, number of ids of the source) of (source, target) documents, as in the bins.

        Both are tokenized as one string, so that a tokenizer's dummy prefix is added once. A token
        that begins in the source and extends into the target belongs to the target. Special tokens
        are neither added nor recognised in the text.
        """
        return [self._text_of(tokens) for tokens in self._documents.encode(documents)]

    def encode_located(self, source: str, target: str) -> tuple[list[int], int, list[int]]:
        """`encode_documents` for one, and the end of each token of the target, in characters."""
        tokens, ends = self._documents.encode_located(source, target)
        return *self._text_of(tokens), ends

    def _text_of(self, tokens: Tokens) -> tuple[list[int], int]:
        begin, end = len(self._documents.begin), len(self._documents.end)
        return tokens.ids[begin : len(tokens.ids) - end].tolist(), tokens.prompt - begin

    @cached_property
    def _documents(self) -> DocumentTokenizer:
        """The tokenizer used for bins; transformers may tokenize differently from the same file."""
        return DocumentTokenizer(
            self.folder, {role: getattr(self.tokenizer, f"{role}_token", None) for role in ROLES}
        )

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, attention mask), both (B, T) on the model's device, padded on the right."""
        length = max(map(len, rows))
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        return ids.to(self.model.device), mask.to(self.model.device)


def load(folder: Path, *, dtype: str, device: str, max_length: int | None) -> LoadedModel:
    """Load a checkpoint with its tokenizer.

    Args:
        dtype: "auto" for the checkpoint's own type.
        device: "auto" for a GPU if there is one.
        max_length: tokens; by default the model's context, which it may not exceed.

    Raises:
        StageError: files are damaged, or weights are missing (transformers would initialise them at
            random).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    number_type = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model, loading_info = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=number_type, output_loading_info=True
        )
    # Each library has its own exceptions; tokenizers raises plain Exception.
    except Exception as error:
        if "allocate memory" in str(error):
            raise  # the files are whole, and whoever tells of it knows what to lower
        raise StageError(
            f"the model in {folder} cannot be loaded: {error}; download it again, or repair it"
        ) from error
    if missing := sorted(loading_info["missing_keys"]):
        raise StageError(
            f"the model in {folder} lacks {len(missing):,} tensors that its config.json requires, "
            f"first {missing[0]}; complete the download, or use the config.json of this model"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    if _rope_type(model) == "dynamic":
        for module in model.modules():
            if hasattr(module, "max_seq_len_cached"):
                module.register_forward_pre_hook(_forget_longest)
    return LoadedModel(model, tokenizer, _length(model.config, tokenizer, max_length), folder)


def load_tokenizer(folder: Path, max_length: int | None) -> LoadedModel:
    """A checkpoint without its weights (`model` is None): what can be said of prompts."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        config = AutoConfig.from_pretrained(str(folder))
    except Exception as error:  # each library has its own
        raise StageError(
            f"the tokenizer in {folder} cannot be loaded: {error}; download it again, or repair it"
        ) from error
    return LoadedModel(None, tokenizer, _length(config, tokenizer, max_length), folder)


def _length(config: Any, tokenizer: Any, max_length: int | None) -> int:
    """The tokens to use: those asked for, else all that the model can read."""
    context = int(getattr(config, "max_position_embeddings", None) or DEFAULT_MAX_LENGTH)
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "dynamic" and tokenizer.model_max_length < UNSTATED_LENGTH:
        # The config states the base's positions, which dynamic scaling extends.
        context = max(context, tokenizer.model_max_length)
    if max_length is not None and max_length > context:
        raise StageError(
            f"max_length {max_length} exceeds the model's context of {context} tokens; lower it"
        )
    return max_length or context


def _rope_type(model: Any) -> str | None:
    rope = getattr(model.config, "rope_parameters", None) or {}
    return rope.get("rope_type")


def _forget_longest(rotary: Any, _: Any) -> None:
    """Hook before each pass: forget the longest text so far.

    transformers would use its angles for shorter texts that follow.
    """
    rotary.max_seq_len_cached = rotary.original_max_seq_len
    rotary.register_buffer(
        "inv_freq", rotary.original_inv_freq.to(rotary.inv_freq.device), persistent=False
    )
