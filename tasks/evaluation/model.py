"""A checkpoint in memory, as the protocols use it."""

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
"""transformers gives a tokenizer without a stated length some 10**30."""

DEFAULT_MAX_LENGTH = 2048

_BY_LENGTH = ("dynamic", "longrope")
"""Rope types whose angles transformers takes from the longest row that it reads at once."""


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model of `transformers` in evaluation mode, its tokenizer, and the context
    it is given.

    `folder`: where it was loaded from.
    """

    model: Any
    tokenizer: Any
    max_length: int
    folder: Path

    @property
    def bos(self) -> int:
        """What stands before the first token of a text: the beginning of sequence, else the end of
        one.
        """
        for id in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id):
            if id is not None:
                return int(id)
        raise StageError(
            "the tokenizer has neither a bos nor an eos token; set one in its tokenizer_config.json"
        )

    @property
    def vocabulary(self) -> int:
        """Width of the logits (the matrix, which may be wider than the tokenizer)."""
        return int(self.model.get_output_embeddings().weight.shape[0])

    @property
    def one_length_at_a_time(self) -> bool:
        """Whether a row reads otherwise beside a longer one, so that only rows of one length may be
        read together.
        """
        return _rope_type(self.model) in _BY_LENGTH

    def batches(self, lengths: Sequence[int], rows: Callable[[int], int]) -> Iterator[slice]:
        """Cut falling `lengths` into batches of at most `rows(longest)` rows."""
        low = 0
        while low < len(lengths):
            high = min(len(lengths), low + max(1, rows(lengths[low])))
            if self.one_length_at_a_time:
                high = next((at for at in range(low, high) if lengths[at] != lengths[low]), high)
            yield slice(low, high)
            low = high

    @cached_property
    def padding_rows(self) -> torch.Tensor:
        """Rows of the matrix that no token of the tokenizer has (int64, on the model's device);
        mostly none.
        """
        tokens = set(self.tokenizer.get_vocab().values())
        rows = [row for row in range(self.vocabulary) if row not in tokens]
        return torch.tensor(rows, dtype=torch.long, device=self.model.device)

    def mask_padding(self, logits: torch.Tensor) -> torch.Tensor | None:
        """Set the logits (..., V) of padding rows to minus infinity, in place, so that they take no
        probability.

        Returns:
            The share of probability that they took, (...); None where the matrix has no such rows.
        """
        if not len(self.padding_rows):
            return None
        taken = logits[..., self.padding_rows].logsumexp(-1)
        share: torch.Tensor = (taken - logits.logsumexp(-1)).exp()
        logits[..., self.padding_rows] = -torch.inf
        return share

    def encode_prompt(self, text: str) -> list[int]:
        """Ids as the tokenizer's own defaults make them (with its bos where it adds one), as the
        harness does.
        """
        ids: list[int] = self.tokenizer.encode(text)
        return ids

    def encode_documents(self, documents: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
        """Ids of documents given as (source, target), and how many of them are the source's: as the
        bins have them.

        Both are tokenized as one string, so a tokenizer that begins a text with a blank does so
        once. A token that begins in the source and reaches into the target is the target's. No
        special token is added, and none is recognised in the text.
        """
        return [self._text_of(tokens) for tokens in self._documents.encode(documents)]

    def encode_located(self, source: str, target: str) -> tuple[list[int], int, list[int]]:
        """`encode_documents` of one, and at which character of the target each of the target's
        tokens ends.
        """
        tokens, ends = self._documents.encode_located(source, target)
        return *self._text_of(tokens), ends

    def _text_of(self, tokens: Tokens) -> tuple[list[int], int]:
        begin, end = len(self._documents.begin), len(self._documents.end)
        return tokens.ids[begin : len(tokens.ids) - end].tolist(), tokens.prompt - begin

    @cached_property
    def _documents(self) -> DocumentTokenizer:
        """Of the same file as the bins', which the libraries' own classes may read in another
        way.
        """
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
    """Load a checkpoint with its tokenizer; `device: auto` takes an accelerator where there is one.

    `max_length` (tokens) defaults to the model's own context and may not exceed it.

    Raises:
        StageError: files are damaged, or weights are missing (which transformers would draw at
        random).
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    number_type = dtype if dtype == "auto" else getattr(torch, dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model, found = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=number_type, output_loading_info=True
        )
    except (
        Exception
    ) as error:  # each of the libraries has its own; tokenizers raises plain Exception
        raise StageError(
            f"the model in {folder} cannot be loaded: {error}; download it again, or mend it"
        ) from error
    if missing := sorted(found["missing_keys"]):
        raise StageError(
            f"the model in {folder} lacks {len(missing):,} tensors that its config.json asks for, "
            f"first {missing[0]}; the download is not complete, or config.json is of another model"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device).eval()
    own = int(getattr(model.config, "max_position_embeddings", None) or DEFAULT_MAX_LENGTH)
    if _rope_type(model) == "dynamic":
        for module in model.modules():
            if hasattr(module, "max_seq_len_cached"):
                module.register_forward_pre_hook(_forget_longest)
        if tokenizer.model_max_length < UNSTATED_LENGTH:
            own = max(
                own, tokenizer.model_max_length
            )  # the config keeps the base's positions, which are stretched
    if max_length is not None and max_length > own:
        raise StageError(
            f"max_length {max_length} is more than the model's context of {own} tokens; lower it"
        )
    return LoadedModel(model, tokenizer, max_length or own, folder)


def _rope_type(model: Any) -> str | None:
    rope = getattr(model.config, "rope_parameters", None) or {}
    return rope.get("rope_type")


def _forget_longest(rotary: Any, _: Any) -> None:
    """Before each pass: transformers keeps the angles of the longest text so far for shorter ones
    that follow.
    """
    rotary.max_seq_len_cached = rotary.original_max_seq_len
    rotary.register_buffer(
        "inv_freq", rotary.original_inv_freq.to(rotary.inv_freq.device), persistent=False
    )
