"""Runs a Llama-style checkpoint with one layer, or one block of the head's rows, in memory.

The layer is transformers' own, built once from the base's configuration and filled with each
layer's weights in turn, so rotary embedding and attention are the base's. Everything is float32.

Suffixes of names: T tokens of a text, N target tokens of all texts, D hidden size, V vocabulary,
U distinct ids of the texts, C rows of the head in one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of
from tasks.checkpoints.weights import read_tensors

HEAD_ROWS = 8192
"""Rows of the output matrix in memory at a time."""

LLAMA_STYLE = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that consist of embeddings, layers, norm and head only (Gemma scales its
embeddings).
"""


class StreamedModel:
    """A Llama-style checkpoint, read one layer or block of rows at a time."""

    def __init__(self, base: Path) -> None:
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.from_pretrained(base, local_files_only=True)
        if config.model_type not in LLAMA_STYLE:
            raise StageError(
                f"{base}: layers of a {config.model_type!r} model cannot be ranked (only of "
                f"{', '.join(LLAMA_STYLE)}); give a list of layers"
            )
        self._layers = int(config.num_hidden_layers)
        self._base = base
        self._files = {name: tensor.path for name, tensor in read_tensors(base).items()}
        inputs = [key for key in self._files if key.endswith("embed_tokens.weight")]
        if len(inputs) != 1:
            raise StageError(
                f"{base} has the input matrices {inputs}, but exactly one is needed; give a list "
                "of layers"
            )
        self._input = inputs[0]
        self._prefix = self._input.removesuffix("embed_tokens.weight")
        self._output = self._input if config.tie_word_embeddings else "lm_head.weight"
        self._size = size_of(read_tokenizer(base))
        # A model of one layer, whose weights are replaced; embeddings and head are read separately.
        config.num_hidden_layers = 1
        config.vocab_size = 1
        config.pad_token_id = None
        config.dtype = torch.float32
        if getattr(config, "layer_types", None):
            config.layer_types = ["full_attention"]  # samples are shorter than any window
        # On `meta`, as weights are filled in later, and initialising a large layer takes seconds.
        with torch.device("meta"):
            self._model = AutoModel.from_config(config, dtype=torch.float32).eval()
        self._model.to_empty(device="cpu")
        # The table of rotary frequencies is computed, not stored, so it needs a real device.
        self._model.rotary_emb = type(self._model.rotary_emb)(config=config)
        # Without its norm the model of one layer is just that layer; the norm is applied at the
        # end (`normed`).
        self._norm, self._model.norm = self._model.norm, torch.nn.Identity()

    def embed(self, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Embeddings (1, T, D) of each row of ids."""
        with self._open(self._input) as tensors:
            matrix_VD = tensors.get_slice(self._input)
            count = matrix_VD.get_shape()[0]
            ids = sorted({id for row in rows for id in row})
            if ids[-1] >= count:
                raise StageError(
                    f"{self._base}: its tokenizer gives id {ids[-1]:,}, but its input matrix has "
                    f"{count:,} rows; tokenizer and weights belong to different models"
                )
            # Only the rows of ids that occur are read.
            used_UD = torch.cat([matrix_VD[id : id + 1] for id in ids]).float()
        row_of_id = {id: index for index, id in enumerate(ids)}
        return [used_UD[[row_of_id[id] for id in row]][None] for row in rows]

    def each_layer(self) -> Iterator[Any]:
        """Each layer in turn, as a function from states (1, T, D) to states.

        All functions share one module whose weights are replaced, so each is valid only until the
        next is taken.
        """
        for number in range(self._layers):
            self._fill(self._model.layers[0], f"{self._prefix}layers.{number}.")

            def layer(state_1TD: torch.Tensor) -> torch.Tensor:
                out_1TD: torch.Tensor = self._model(
                    inputs_embeds=state_1TD, use_cache=False
                ).last_hidden_state
                return out_1TD

            yield layer

    def normed(self, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The last layer's states (1, T, D) after the final norm, as the head reads them."""
        self._fill(self._norm, f"{self._prefix}norm.")
        return [self._norm(state_1TD) for state_1TD in states]

    def losses(
        self, models: Sequence[list[torch.Tensor]], rows: Sequence[Sequence[int]]
    ) -> list[float]:
        """Nats per token of each model, given its last layer's states.

        The head is read in blocks of `HEAD_ROWS` rows; only the logits of one block and one model
        are in memory. Padding rows, which belong to no token, are left out of the softmax.
        """
        targets_N = torch.tensor([id for row in rows for id in row[1:]])
        hidden = [
            torch.cat([state_1TD[0, :-1] for state_1TD in self.normed(states)]) for states in models
        ]
        # Running logsumexp over the blocks read so far, and the logit of each target.
        log_sums = [torch.full(targets_N.shape, -torch.inf) for _ in models]
        target_logits = [torch.empty(targets_N.shape) for _ in models]
        with self._open(self._output) as tensors:
            matrix_VD = tensors.get_slice(self._output)
            end = min(self._size, matrix_VD.get_shape()[0])
            for low in range(0, end, HEAD_ROWS):
                block_CD = matrix_VD[low : min(low + HEAD_ROWS, end)].float()
                inside = ((targets_N >= low) & (targets_N < low + len(block_CD))).nonzero()[:, 0]
                for index, hidden_ND in enumerate(hidden):
                    logits_NC = hidden_ND @ block_CD.T
                    log_sums[index] = torch.logaddexp(log_sums[index], logits_NC.logsumexp(1))
                    target_logits[index][inside] = logits_NC[inside, targets_N[inside] - low]
        return [
            float((log_sum_N - logit_N).double().mean())
            for log_sum_N, logit_N in zip(log_sums, target_logits, strict=True)
        ]

    def _fill(self, module: torch.nn.Module, prefix: str) -> None:
        """Copy the tensors below `prefix` into the module, which must have exactly these."""
        parameters = dict(module.named_parameters())
        stored = {key.removeprefix(prefix) for key in self._files if key.startswith(prefix)}
        # Early Llamas saved the buffer of rotary frequencies.
        stored = {name for name in stored if not name.endswith("rotary_emb.inv_freq")}
        if stored != set(parameters):
            raise StageError(
                f"{self._base}: the tensors {prefix}* are not those that its configuration calls "
                f"for (difference: {', '.join(sorted(stored ^ set(parameters))[:4])}); quantised "
                "checkpoints cannot be ranked"
            )
        for name, parameter in parameters.items():
            with self._open(prefix + name) as tensors:
                tensor = tensors.get_tensor(prefix + name)
                if tensor.shape != parameter.shape:
                    raise StageError(
                        f"{self._base}: {prefix}{name} has shape {tuple(tensor.shape)}, but its "
                        f"configuration calls for {tuple(parameter.shape)}; download it again"
                    )
                parameter.copy_(tensor)

    def _open(self, key: str) -> Any:
        if key not in self._files:
            raise StageError(
                f"{self._base} has no tensor {key}: the checkpoint is incomplete; download it again"
            )
        return safe_open(self._files[key], framework="pt")
