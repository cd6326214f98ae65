"""Locate the tensors of a Hugging Face checkpoint; refuse inconsistencies before work begins."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from tasks.checkpoints.families import family_of
from tasks.checkpoints.text_files import read_json
from tasks.model.safetensors_file import Stored, read_header, same_bytes

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
INPUT = "embed_tokens.weight"
OUTPUT = "lm_head.weight"
LAYER = re.compile(r"^((?:.*\.)?layers\.)(\d+)(\..+)$")
"""A layer's tensor: the part before its number, the number, the part after."""
_PART = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
_COMPUTED = ".rotary_emb.inv_freq"
"""Old Llama checkpoints hold this table; transformers computes it from the configuration and
ignores the tensor.
"""


@dataclass(frozen=True)
class Layout:
    """A checkpoint: its configuration, its tensors, and which are the embeddings.

    `output` is None where it is tied to the input matrix. `rows`: of both matrices.
    """

    folder: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Stored]
    input: str
    output: str | None

    @property
    def tied(self) -> bool:
        """Whether one matrix serves both ends."""
        return self.output is None

    @property
    def rows(self) -> int:
        """Rows of the embedding matrices."""
        return self.tensors[self.input].shape[0]

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return int(self.config["num_hidden_layers"])

    @classmethod
    def read(cls, folder: Path) -> Layout:
        """`StageError` when config and tensors disagree, or the matrices have other names."""
        config = _read_config(folder)
        tied = _is_tied(config)
        tensors = {
            name: found
            for name, found in read_tensors(folder).items()
            if not name.endswith(_COMPUTED)
        }
        inputs = [name for name in tensors if name.endswith(INPUT)]
        outputs = [name for name in tensors if name.endswith(OUTPUT)]
        if len(inputs) != 1 or len(outputs) > 1 or (not outputs and not tied):
            raise StageError(
                f"{folder} has input matrices {inputs} and output matrices {outputs} with "
                f"tie_word_embeddings {tied}; one *{INPUT} and, when not tied, one *{OUTPUT} are "
                "needed"
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
                f"{folder}: config.json says vocab_size {config['vocab_size']}, the matrices have "
                f"{wrong} rows"
            )
        require_agreement(folder, config, {name: tensor.shape for name, tensor in tensors.items()})
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
            f"{path} lacks {', '.join(lacking)}; surgery is for Llama-style language models (of a "
            "model with images or speech, save the language model alone)"
        )
    for key, kind in needed.items():
        if type(config[key]) is not kind or config[key] in (0, ""):
            raise StageError(f"{path}: {key} is {config[key]!r}; download it again")
    return config


def _is_tied(config: Mapping[str, Any]) -> bool:
    if "tie_word_embeddings" in config:
        return bool(config["tie_word_embeddings"])
    family = family_of(config)
    return bool(
        family is not None and family().tie_word_embeddings
    )  # Llama is untied by default, Gemma tied


def read_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors by name. One file wins over an index, as in transformers.

    Files that the index does not name are passed over (Mistral's folders hold the weights a second
    time, as `consolidated.safetensors`), unless they are called as its own parts are.
    """
    if (folder / SINGLE).is_file():
        return read_header(folder / SINGLE)
    if not (folder / INDEX).is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        if pickles:
            raise StageError(
                f"{folder} holds its weights as pickles ({pickles[0]}), which can run code when "
                "they are read. Convert them where you trust them: "
                "`AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW)`"
            )
        raise StageError(f"{folder} has neither {SINGLE} nor {INDEX}; it has {_names(folder)}")
    weights = read_json(folder / INDEX).get("weight_map")
    if (
        not isinstance(weights, dict)
        or not weights
        or any(Path(str(file)).name != file for file in weights.values())
    ):
        raise StageError(
            f"{folder}/{INDEX} is not an index of weights (its weight_map must name a file of this "
            "folder for each tensor); download it again"
        )
    files = sorted(set(weights.values()))
    absent = [name for name in files if not (folder / name).is_file()]
    if absent:
        raise StageError(
            f"{folder} lacks {absent[0]}, which {INDEX} names ({len(absent)} of {len(files)} files "
            "are absent): the download is not complete"
        )
    parts = {path.name for path in folder.iterdir() if _PART.fullmatch(path.name)}
    if strays := sorted(parts - set(files)):
        raise StageError(
            f"{folder} holds {strays[0]}, which {INDEX} does not name ({', '.join(files[:3])}): "
            "parts of two downloads, or of two splits of the weights; remove those that do not "
            "belong, or download all again"
        )
    tensors: dict[str, Stored] = {}
    for file in files:
        found = read_header(folder / file)
        named = {name for name, place in weights.items() if place == file}
        if lost := sorted(named - set(found)):
            raise StageError(
                f"{folder}/{file} lacks {lost[0]}, which {INDEX} says it holds; download both again"
            )
        if extra := sorted(name for name in set(found) - named if not name.endswith(_COMPUTED)):
            place = f"says lies in {weights[extra[0]]}" if extra[0] in weights else "does not name"
            raise StageError(
                f"{folder}/{file} holds {extra[0]}, which {INDEX} {place}; download both again"
            )
        tensors |= found
    return tensors


def _names(folder: Path) -> list[str]:
    return [path.name for path in sorted(folder.iterdir())][:12]


def require_agreement(
    folder: Path | str, config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """`StageError` unless the tensors are those of the model that `config` describes.

    The model is built by transformers without memory. Only numbers of layers are compared for
    families it does not build as they are stored (mixtures of experts, quantised weights).
    """
    count = int(config["num_hidden_layers"])
    numbers = {int(match[2]) for name in shapes if (match := LAYER.match(name))}
    if numbers != set(range(count)):
        raise StageError(
            f"{folder}: config.json says num_hidden_layers {count}, the tensors have "
            f"{_ranges(numbers)}; one of the two is of another model, or the download is not "
            "complete"
        )
    if config.get("quantization_config") or any("expert" in key and config[key] for key in config):
        return
    expected = expected_shapes(folder, config)
    if expected is None:
        return
    if not any(name.startswith("model.") for name in shapes):  # a body saved without its head
        expected = {name.removeprefix("model."): shape for name, shape in expected.items()}
    lost = sorted(set(expected) - set(shapes))
    if lost:
        raise StageError(
            f"{folder} lacks {len(lost):,} tensors that config.json asks for, first {lost[0]}; the "
            "download is not complete, or config.json is of another model"
        )
    for name, shape in sorted(expected.items()):
        if shapes[name] != shape:
            raise StageError(
                f"{folder}: {name} has shape {list(shapes[name])}, config.json makes it "
                f"{list(shape)}; one of the two is of another model"
            )


def expected_shapes(
    folder: Path | str, config: Mapping[str, Any]
) -> dict[str, tuple[int, ...]] | None:
    """Name -> shape of what transformers would load; None for a model type it does not know.

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
    gaps = sorted(set(range(max(numbers) + 1)) - numbers)
    return f"layers 0 to {max(numbers)}" + (f" without {gaps[:8]}" if gaps else "")
