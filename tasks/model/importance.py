"""How much each layer of a base matters on a sample of text, with one layer of it in memory at a
time.

Block influence (ShortGPT, Men et al. 2024, arXiv:2403.03853): 1 - mean cosine similarity between
what goes into a layer and what comes out; a layer that hardly turns its input is cheap to drop.
Loss: how much the model's loss on the sample rises when that one layer is left out.

The layer is transformers' own, built once from the base's configuration and filled with each
layer's weights in turn, so rotary types and attention are the base's. Everything is float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import read_tokenizer, size_of
from tasks.model.checkpoint import read_tensors
from tasks.model.stage import Measure

SAMPLE_TEXTS = 16
"""Texts that are read: the first that have two tokens or more."""

SAMPLE_TOKENS = 256
"""Tokens of each text that are read. 16 x 256 tokens x 4,096 dimensions are 64 MiB of hidden states
in float32.
"""

SAMPLE_CHARACTERS = 32 * SAMPLE_TOKENS
"""No more of a text is given to the tokenizer."""

HEAD_ROWS = 8192
"""Rows of the output matrix in memory at a time."""

LLAMA_STYLE = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose body is embeddings, layers, norm and nothing beside (Gemma, say, scales its
embeddings).
"""


def rank_layers(base: Path, texts: Sequence[str], measure: Measure) -> list[float]:
    """One value for each layer of the checkpoint `base`, in order; the higher, the more the layer
    matters.

    Each text is a row of its own, cut at `SAMPLE_TOKENS`. Block influence reads and runs each of L
    layers once and holds one layer and the sample's hidden states. Loss (nats per token) reads each
    layer once too, but runs about L^2 / 2 of them and holds the hidden states of L + 1 models: 2
    GiB for 32 layers of 4,096 dimensions.

    Raises:
        StageError: no text with two tokens, a base that is not Llama-style, or tensors that its
        configuration lacks.
    """
    body = Body(base)
    rows = sample(base, texts)
    with torch.no_grad():
        states = body.embed(rows)
        if measure == "block-influence":
            return block_influences(body, states)
        return loss_changes(body, states, rows)


def sample(base: Path, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of the first `SAMPLE_TEXTS` texts that have at least two, as the base's tokenizer
    begins a text.
    """
    tokenizer = read_tokenizer(base)
    tokenizer.encode_special_tokens = True  # "</s>" in a page is text
    rows: list[list[int]] = []
    for text in texts:
        ids = tokenizer.encode(text[:SAMPLE_CHARACTERS]).ids[:SAMPLE_TOKENS]
        if text and len(ids) >= 2:
            rows.append(ids)
        if len(rows) == SAMPLE_TEXTS:
            break
    if not rows:
        raise StageError(
            f"layers cannot be ranked: none of {len(texts)} texts has two tokens; name sources "
            "with text, or give a list of layers"
        )
    return rows


def block_influences(body: Body, states: list[torch.Tensor]) -> list[float]:
    """1 - cosine similarity of every layer's input and output, mean over all tokens; `states` (1,
    T, D) a text.
    """
    found = []
    for layer in body.each_layer():
        similarity = []
        for index, before_1TD in enumerate(states):
            states[index] = layer(before_1TD)
            similarity.append(
                torch.cosine_similarity(
                    before_1TD.double(), states[index].double(), dim=-1
                ).flatten()
            )
        found.append(1 - float(torch.cat(similarity).mean()))
    return found


def loss_changes(
    body: Body, states: list[torch.Tensor], rows: Sequence[Sequence[int]]
) -> list[float]:
    """Loss without each layer minus the whole model's, in nats per token.

    `variants[k]` are the states of the model that leaves layer k out; until layer k they are the
    whole model's own.
    """
    variants: list[list[torch.Tensor]] = []
    for layer in body.each_layer():
        for variant in variants:
            variant[:] = [layer(state_1TD) for state_1TD in variant]
        variants.append(list(states))
        states[:] = [layer(state_1TD) for state_1TD in states]
    whole, *without = body.losses([states, *variants], rows)
    return [loss - whole for loss in without]


class Body:
    """A Llama-style checkpoint, read piece by piece."""

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
        self._files = {name: place.path for name, place in read_tensors(base).items()}
        inputs = [key for key in self._files if key.endswith("embed_tokens.weight")]
        if len(inputs) != 1:
            raise StageError(f"{base} has the input matrices {inputs}; one is needed")
        self._input = inputs[0]
        self._prefix = self._input.removesuffix("embed_tokens.weight")
        self._output = self._input if config.tie_word_embeddings else "lm_head.weight"
        self._size = size_of(read_tokenizer(base))
        config.num_hidden_layers, config.vocab_size, config.pad_token_id, config.dtype = (
            1,
            1,
            None,
            torch.float32,
        )
        if getattr(config, "layer_types", None):
            config.layer_types = ["full_attention"]  # the sample is shorter than any window
        # Every weight is filled in later; drawing a large layer at random would take seconds for
        # nothing.
        with torch.device("meta"):
            self._model = AutoModel.from_config(config, dtype=torch.float32).eval()
        self._model.to_empty(device="cpu")
        self._model.rotary_emb = type(self._model.rotary_emb)(config=config)
        self._norm, self._model.norm = self._model.norm, torch.nn.Identity()

    def embed(self, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Embeddings (1, T, D) of each row of ids."""
        with self._open(self._input) as tensors:
            matrix_VD = tensors.get_slice(self._input)
            count = matrix_VD.get_shape()[0]
            ids = sorted({id for row in rows for id in row})
            if ids[-1] >= count:
                raise StageError(
                    f"{self._base}: its tokenizer gives id {ids[-1]:,}, its input matrix has "
                    f"{count:,} rows: they do not belong together"
                )
            place = {id: index for index, id in enumerate(ids)}
            used_UD = torch.cat([matrix_VD[id : id + 1] for id in ids]).float()
        return [used_UD[[place[id] for id in row]][None] for row in rows]

    def each_layer(self) -> Iterator[Any]:
        """Each layer as a function from states (1, T, D) to states, the same module with other
        weights every time.
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
        """The last layer's states (1, T, D) as the head reads them."""
        self._fill(self._norm, f"{self._prefix}norm.")
        return [self._norm(state_1TD) for state_1TD in states]

    def losses(
        self, models: Sequence[list[torch.Tensor]], rows: Sequence[Sequence[int]]
    ) -> list[float]:
        """Nats per token from the last layer's states of each model; rows of the head that no token
        has do not count.

        The head goes by in blocks of `HEAD_ROWS`; logits of one block and one model are all that is
        held.
        """
        targets_N = torch.tensor([id for row in rows for id in row[1:]])
        hidden = [
            torch.cat([state_1TD[0, :-1] for state_1TD in self.normed(states)]) for states in models
        ]
        log_sums = [torch.full(targets_N.shape, -torch.inf) for _ in models]
        chosen = [torch.empty(targets_N.shape) for _ in models]
        with self._open(self._output) as tensors:
            matrix_VD = tensors.get_slice(self._output)
            end = min(self._size, matrix_VD.get_shape()[0])
            for low in range(0, end, HEAD_ROWS):
                block_CD = matrix_VD[low : min(low + HEAD_ROWS, end)].float()
                inside = ((targets_N >= low) & (targets_N < low + len(block_CD))).nonzero()[:, 0]
                for index, hidden_ND in enumerate(hidden):
                    logits_NC = hidden_ND @ block_CD.T
                    log_sums[index] = torch.logaddexp(log_sums[index], logits_NC.logsumexp(1))
                    chosen[index][inside] = logits_NC[inside, targets_N[inside] - low]
        return [
            float((total - own).double().mean())
            for total, own in zip(log_sums, chosen, strict=True)
        ]

    def _fill(self, module: torch.nn.Module, prefix: str) -> None:
        """Copy the tensors below `prefix` into the module, which must have exactly these."""
        parameters = dict(module.named_parameters())
        found = {key.removeprefix(prefix) for key in self._files if key.startswith(prefix)}
        found = {
            name for name in found if not name.endswith("rotary_emb.inv_freq")
        }  # early Llamas saved this buffer
        if found != set(parameters):
            raise StageError(
                f"{self._base}: {prefix}* has other tensors than its configuration says "
                f"({', '.join(sorted(found ^ set(parameters))[:4])}); quantised checkpoints cannot "
                "be ranked"
            )
        for name, parameter in parameters.items():
            with self._open(prefix + name) as tensors:
                tensor = tensors.get_tensor(prefix + name)
                if tensor.shape != parameter.shape:
                    raise StageError(
                        f"{self._base}: {prefix}{name} is {tuple(tensor.shape)}, its configuration "
                        f"says {tuple(parameter.shape)}"
                    )
                parameter.copy_(tensor)

    def _open(self, key: str) -> Any:
        if key not in self._files:
            raise StageError(f"{self._base} has no tensor {key}: the checkpoint is not complete")
        return safe_open(self._files[key], framework="pt")
