"""Locates the tensors of a Hugging Face checkpoint, and refuses inconsistent checkpoints early."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.families import family_of
from tasks.checkpoints.shapes import KINDS, ModelShape, ShapeError
from tasks.checkpoints.text_files import read_json
from tasks.checkpoints.weights import COMPUTED, StoredTensor, read_tensors
from tasks.model.safetensors_file import same_bytes

INPUT = "embed_tokens.weight"
OUTPUT = "lm_head.weight"
LAYER = re.compile(r"^((?:.*\.)?layers\.)(\d+)(\..+)$")
"""Name of a layer's tensor: prefix, number of the layer, suffix."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's configuration and tensors by name.

    `input`, `output`: names of the embedding matrices; `output` is None if it is tied to the input.
    """

    folder: str
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    input: str
    output: str | None

    @property
    def tied(self) -> bool:
        """Whether one matrix serves as input and output."""
        return self.output is None

    @property
    def rows(self) -> int:
        """Rows of the embedding matrices."""
        return self.tensors[self.input].shape[0]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.config["num_hidden_layers"])

    @classmethod
    def read(cls, folder: Path, *, quickly: bool = False) -> Checkpoint:
        """Read headers and configuration; `StageError` if they disagree, or if the embedding
        matrices cannot be identified.

        `quickly`: compare shapes without transformers, whose import takes seconds.
        """
        config = _read_config(folder)
        tied = _is_tied(config)
        tensors = {
            name: tensor
            for name, tensor in read_tensors(folder).items()
            if not name.endswith(COMPUTED)
        }
        inputs = [name for name in tensors if name.endswith(INPUT)]
        outputs = [name for name in tensors if name.endswith(OUTPUT)]
        if len(inputs) != 1 or len(outputs) > 1 or (not outputs and not tied):
            raise StageError(
                f"{folder} has input matrices {inputs} and output matrices {outputs} with "
                f"tie_word_embeddings {tied}; one *{INPUT} is needed, and, when not tied, one "
                f"*{OUTPUT}. Give another base, or correct tie_word_embeddings in config.json"
            )
        if tied and outputs:
            if not same_bytes(tensors[inputs[0]], tensors[outputs[0]]):
                raise StageError(
                    f"{folder}: config.json says tie_word_embeddings, but {outputs[0]} differs "
                    f"from {inputs[0]}; set tie_word_embeddings to false if both are meant, or "
                    "delete the output matrix"
                )
            del tensors[outputs[0]]
        wrong = {name: tensors[name].shape[0] for name in (*inputs, *outputs) if name in tensors}
        wrong = {name: rows for name, rows in wrong.items() if rows != config["vocab_size"]}
        if wrong:
            raise StageError(
                f"{folder}: config.json says vocab_size {config['vocab_size']}, but the matrices "
                f"have {wrong} rows; one of the two belongs to another model"
            )
        shapes = {name: tensor.shape for name, tensor in tensors.items()}
        require_agreement(folder, config, shapes, quickly=quickly)
        return cls(str(folder), config, tensors, inputs[0], None if tied else outputs[0])


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise StageError(
            f"{folder} has no config.json; name the folder of a Hugging Face checkpoint"
        )
    config = read_json(path)
    needed = {"vocab_size": int, "num_hidden_layers": int, "hidden_size": int, "model_type": str}
    if lacking := [key for key in needed if key not in config]:
        raise StageError(
            f"{path} lacks {', '.join(lacking)}; a base must be a Llama-style language model (of "
            "a model for images or speech, save the language model separately)"
        )
    for key, kind in needed.items():
        if type(config[key]) is not kind or config[key] in (0, ""):
            raise StageError(f"{path}: {key} is {config[key]!r}; download it again")
    return config


def _is_tied(config: Mapping[str, Any]) -> bool:
    if "tie_word_embeddings" in config:
        return bool(config["tie_word_embeddings"])
    if config["model_type"] in KINDS:  # known without transformers, whose import takes seconds
        return False
    family = family_of(config)
    # Gemma is tied by default.
    return bool(family is not None and family().tie_word_embeddings)


def require_agreement(
    folder: Path | str,
    config: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    quickly: bool = False,
) -> None:
    """`StageError` unless the tensors are those of the model that `config` describes.

    The expected shapes come from transformers, which builds the model without allocating memory. If
    it builds a family in another form than the stored one (mixtures of experts, quantised weights),
    only the numbers of layers are compared. `quickly`: shapes come from the configuration's sizes,
    for Llama-style families only.
    """
    count = int(config["num_hidden_layers"])
    numbers = {int(match[2]) for name in shapes if (match := LAYER.match(name))}
    if len(numbers) != count or max(numbers, default=-1) != count - 1:
        raise StageError(
            f"{folder}: config.json says num_hidden_layers {count}, but the tensors have "
            f"{_ranges(numbers)}; one of the two belongs to another model, or the download is not "
            "complete"
        )
    if config.get("quantization_config") or any("expert" in key and config[key] for key in config):
        return
    expected = _quick_shapes(config) if quickly else expected_shapes(folder, config)
    if expected is None:
        return
    if not any(name.startswith("model.") for name in shapes):  # saved from `AutoModel`, headless
        expected = {name.removeprefix("model."): shape for name, shape in expected.items()}
    lost = sorted(set(expected) - set(shapes))
    if lost:
        raise StageError(
            f"{folder} lacks {len(lost):,} tensors that config.json calls for, first {lost[0]}; "
            "the download is not complete, or config.json belongs to another model"
        )
    for name, shape in sorted(expected.items()):
        if shapes[name] != shape:
            raise StageError(
                f"{folder}: {name} has shape {list(shapes[name])}, but config.json calls for "
                f"{list(shape)}; one of the two belongs to another model"
            )


def _quick_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]] | None:
    try:
        return ModelShape.from_config(config).tensors()
    except ShapeError:
        return None  # another family, or sizes that transformers refuses in words of its own


def expected_shapes(
    folder: Path | str, config: Mapping[str, Any]
) -> dict[str, tuple[int, ...]] | None:
    """Shapes of the tensors that transformers would load, by name; None for an unknown model type.

    Raises:
        StageError: transformers refuses the configuration.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoModelForCausalLM

    if (family := family_of(config)) is None:
        return None
    try:
        with torch.device("meta"):
            built = family.from_dict(json.loads(json.dumps(dict(config))))
            model = AutoModelForCausalLM.from_config(built)
    except (
        StrictDataclassError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RuntimeError,
    ) as error:
        raise StageError(
            f"{folder}: transformers cannot build the model of config.json: "
            f"{error.__cause__ or error}"
        ) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if _is_tied(config):
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith(OUTPUT)}
    return shapes


def _ranges(numbers: set[int]) -> str:
    if not numbers:
        return "no layers"
    missing = (number for number in range(max(numbers)) if number not in numbers)
    gaps = list(itertools.islice(missing, 8))  # a name may state any number
    return f"layers 0 to {max(numbers)}" + (f" without {gaps}" if gaps else "")
