"""Vectors of texts by a Hugging Face encoder: one thread, float32, batches of fixed shapes.

A text is tokenized once to count its tokens. One that the model cannot read at once is divided into
windows (`tasks.embeddings.windows`), each with the prefix; their unit vectors are averaged by their
numbers of tokens. Pooling is what the folder says (`tasks.embeddings.folder`).

Equal on any engine and for any number of workers: all run one thread and the same shapes. Another
kind of processor or another torch may round differently, by about 1e-6, which float16 mostly hides.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from infra.stage import StageError
from tasks.documents.vectors import Vectors
from tasks.embeddings.folder import EncoderFolder
from tasks.embeddings.windows import Shape, batches, spans

_GROUP_CHARACTERS = 1_000_000
"""Characters that are tokenized at once: a token's offsets and ids take about 100 bytes."""


class Window(NamedTuple):
    """Token ids of a window of document `row`, special tokens included; `weight`: its tokens."""

    row: int
    ids: list[int]
    weight: int


class Encoder:
    """A model in memory with its tokenizer."""

    def __init__(self, used: EncoderFolder, prefix: str, windows: int) -> None:
        """Load both; `StageError` where they are damaged, incomplete or of another kind."""
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()

        folder = str(used.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            model, loaded = AutoModel.from_pretrained(
                folder,
                dtype=torch.float32,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # each library has its own; tokenizers raises plain Exception
            raise StageError(
                f"the encoder in {folder} cannot be loaded: {error}; get it again, or name another"
            ) from error
        # A pooler's weights are often left out of a checkpoint, and nothing here uses them.
        if lost := sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler.")):
            raise StageError(
                f"the encoder in {folder} lacks {len(lost):,} tensors that its config.json "
                f"requires, first {lost[0]}; get it again"
            )
        if not tokenizer.is_fast:
            raise StageError(
                f"{folder} has no fast tokenizer (tokenizer.json), by which texts are divided into "
                "windows; add one, or name another model"
            )
        self._used, self._prefix, self._windows = used, prefix, windows
        self._tokenizer, self._model = tokenizer, model.eval()
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
        around = len(tokenizer("", add_special_tokens=True)["input_ids"])
        before = len(tokenizer(prefix, add_special_tokens=False)["input_ids"]) if prefix else 0
        self._room = used.max_tokens - around - before
        if self._room < 1:
            raise StageError(
                f"embeddings.max_tokens is {used.max_tokens}, which {around} special tokens and "
                f"the {before} of embeddings.prefix fill; set more tokens, or a shorter prefix"
            )

    @property
    def dimensions(self) -> int:
        """Length of a vector."""
        return int(self._model.config.hidden_size)

    def vectors(self, texts: Sequence[str]) -> tuple[Vectors, npt.NDArray[np.bool_]]:
        """(unit vectors of N texts, shape (N, dimensions); which have one).

        A text of white space has none. `StageError` where the model's numbers are not finite.
        """
        windows = list(self._divided(texts))
        sums = np.zeros((len(texts), self.dimensions), np.float64)
        for window, vector in zip(windows, self._read([w.ids for w in windows]), strict=True):
            sums[window.row] += window.weight * vector
        known = np.zeros(len(texts), np.bool_)
        known[[window.row for window in windows]] = True
        return unit(sums, known).astype(np.float32), known

    def _divided(self, texts: Sequence[str]) -> Iterator[Window]:
        for rows in _groups(texts):
            given = [self._prefix + self._cased(texts[row]) for row in rows]
            found = self._tokenizer(
                given, add_special_tokens=True, return_offsets_mapping=True, verbose=False
            )
            for row, text, ids, offsets in zip(
                rows, given, found["input_ids"], found["offset_mapping"], strict=True
            ):
                if len(ids) <= self._used.max_tokens:
                    yield Window(row, ids, len(ids))
                    continue
                # Special tokens and the prefix have no characters of the text.
                inside = [span for span in offsets if span[1] > max(span[0], len(self._prefix))]
                for start, end in spans(len(inside), self._room, self._windows):
                    low, high = max(inside[start][0], len(self._prefix)), inside[end - 1][1]
                    cut = self._tokenizer(
                        self._prefix + text[low:high],
                        truncation=True,
                        max_length=self._used.max_tokens,
                    )["input_ids"]
                    yield Window(row, cut, len(cut))

    def _cased(self, text: str) -> str:
        return text.lower() if self._used.lower else text

    def _read(self, windows: Sequence[list[int]]) -> npt.NDArray[np.float64]:
        """Unit vectors of windows, shape (len(windows), dimensions)."""
        found = np.zeros((len(windows), self.dimensions), np.float64)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the number decides how sums are rounded
        try:
            for shape, indices in batches([len(ids) for ids in windows]):
                pooled = self._forward([windows[index] for index in indices], shape)
                found[indices] = unit(pooled, np.ones(len(indices), np.bool_))
        finally:
            torch.set_num_threads(threads)
        return found

    @torch.inference_mode()
    def _forward(self, windows: Sequence[list[int]], shape: Shape) -> npt.NDArray[np.float64]:
        """Pooled vectors of a batch, shape (len(windows), dimensions)."""
        ids_BT = torch.full(shape, self._pad, dtype=torch.long)
        mask_BT = torch.zeros(shape, dtype=torch.long)
        for row, window in enumerate(windows):
            ids_BT[row, : len(window)] = torch.tensor(window)
            mask_BT[row, : len(window)] = 1
        mask_BT[len(windows) :, 0] = 1  # an empty row would be a softmax over nothing
        hidden_BTD = self._model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        pooled_BD = _pool(self._used.pooling, hidden_BTD, mask_BT)
        return pooled_BD[: len(windows)].double().numpy()


def _pool(pooling: str, hidden_BTD: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """(B, D): the mean or maximum of a row's tokens, or its first or last."""
    if pooling == "cls":
        return hidden_BTD[:, 0]
    if pooling == "lasttoken":
        return hidden_BTD[torch.arange(len(hidden_BTD)), mask_BT.sum(1) - 1]
    if pooling == "max":
        return hidden_BTD.masked_fill(mask_BT[:, :, None] == 0, -torch.inf).amax(1)
    sums_BD = (hidden_BTD * mask_BT[:, :, None]).sum(1)
    return sums_BD / mask_BT.sum(1, keepdim=True)


def unit(
    vectors: npt.NDArray[np.floating[Any]], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Vectors of length 1, shape (N, D), zero where not `known`; `StageError` where one has no
    direction.
    """
    found = vectors.astype(np.float64)
    lengths = np.sqrt(np.einsum("nd,nd->n", found, found))
    if (bad := known & ~(np.isfinite(lengths) & (lengths > 0))).any():
        raise StageError(
            f"the model gives a vector of length {lengths[bad][0]}, so that its documents cannot "
            "be compared; its weights are damaged or overflow: get it again, or name another"
        )
    found[known] /= lengths[known, None]
    found[~known] = 0
    return found


def _groups(texts: Sequence[str]) -> Iterator[list[int]]:
    """Rows of the texts that are not blank, in groups of about `_GROUP_CHARACTERS`."""
    group: list[int] = []
    size = 0
    for row, text in enumerate(texts):
        if not text.strip():
            continue
        if group and size + len(text) > _GROUP_CHARACTERS:
            yield group
            group, size = [], 0
        group.append(row)
        size += len(text)
    if group:
        yield group


@functools.lru_cache(maxsize=2)
def encoder(used: EncoderFolder, prefix: str, windows: int) -> Encoder:
    """The encoder of a folder, loaded once in each worker process."""
    return Encoder(used, prefix, windows)
