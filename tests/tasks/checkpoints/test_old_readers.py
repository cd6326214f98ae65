"""transformers 4 and 5 load the same model from every checkpoint we write: angles, logits, types,
tokens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.checkpoints.base import open_base
from tasks.checkpoints.config_keys import for_all_readers, rope_of
from tasks.checkpoints.context import ContextLength
from tasks.checkpoints.rope import extended
from tasks.checkpoints.tokenizer_files import read_tokenizer, write_tokenizer
from tasks.model.stage import STAGE as MODEL
from tasks.model.stage import ModelParameters
from tasks.training.loop import Phase
from tests.stage_harness import run_stage
from tests.tasks.checkpoints.samples import write_llama2c
from tests.tasks.model.bases import added_tokenizer, base, change_config
from tests.tasks.training.toys import parameters, save_bins, save_model, spec

ROOT = Path(__file__).resolve().parents[3]
OLD = ROOT / "build" / "old-transformers" / "bin" / "python"
SCRIPT = Path(__file__).with_name("reads_checkpoint.py")
TRAINED = 512
PAIRS = 4

LAYOUTS: dict[str, dict[str, Any]] = {
    "default": {"theta": 500_000},
    "linear": {"type": "linear", "theta": 20_000},
    "dynamic": {"type": "dynamic", "theta": 500_000},
    "yarn": {"type": "yarn", "theta": 500_000, "beta_fast": 16},
    "yarn-stated": {"type": "yarn", "factor": 8, "attention_factor": 1.5, "truncate": False},
    "llama3": {"type": "llama3", "theta": 500_000, "low_freq_factor": 1.5},
    "longrope": {
        "type": "longrope",
        "theta": 500_000,
        "short_factor": [1.25] * PAIRS,
        "long_factor": [2, 3, 4, 5],
    },
    "longrope-stated": {
        "type": "longrope",
        "factor": 9,
        "short_factor": [1] * PAIRS,
        "long_factor": [2] * PAIRS,
    },
}
"""`model.context.rope` of every type."""

OLD_BASES: dict[str, dict[str, Any]] = {
    "old-default": {"rope_theta": 500_000.0, "rope_scaling": None},
    "old-linear": {"rope_theta": 30_000.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    "old-dynamic": {"rope_theta": 30_000.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}},
    "new-yarn": {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 5e5,
            "factor": 4.0,
            "original_max_position_embeddings": 128,
        }
    },
}
"""Configurations of bases that training starts from."""


def with_config(folder: Path, model: Path, **changes: Any) -> Path:
    """A copy of a model with `changes` to its config.json, which replace all its rope keys."""
    folder.mkdir(parents=True)
    for file in model.iterdir():
        os.link(file, folder / file.name)
    config = json.loads((model / "config.json").read_text())
    config = {key: value for key, value in config.items() if not key.startswith("rope_")} | changes
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def reads(python: Path | str, folders: list[Path]) -> dict[str, Any]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [str(python), str(SCRIPT), *map(str, folders)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Unrecognized keys" not in done.stderr
    printed = json.loads(done.stdout)
    assert printed["transformers"].startswith("4." if python == OLD else "5.")
    return {Path(folder).name: values for folder, values in printed["read"].items()}


def written(tmp_path: Path) -> list[Path]:
    """One checkpoint of every kind that the stages write."""
    toy = save_model(tmp_path / "toy", tied=True, initializer_range=0.5)
    plain = json.loads((toy / "config.json").read_text())
    folders = []
    for name, rope in LAYOUTS.items():
        made = extended(
            plain, ContextLength.model_validate({"positions": 4 * TRAINED, "rope": rope})
        )
        made = for_all_readers(made)
        rope_keys = {
            key: value for key, value in made.items() if key not in plain or plain[key] != value
        }
        folders.append(with_config(tmp_path / "contexts" / name, toy, **made | rope_keys))
    folders.append(open_base(write_llama2c(tmp_path / "llama2c"), tmp_path))
    source = base(tmp_path / "surgery", tied=False, dtype="bfloat16")
    change_config(
        source, rope_parameters=None, torch_dtype="bfloat16", dtype=None, rope_theta=7000.0
    )
    for name, values in {
        "grown": {},
        "longer": {"context": {"positions": 256, "rope": {"type": "yarn"}}},
    }.items():
        grown = ModelParameters.model_validate(
            {"base": str(source), "pad_to_multiple_of": 64, **values}
        )
        inputs = {"tokenizer": added_tokenizer(source, 40, tmp_path / name)}
        made = run_stage(MODEL, grown, inputs, name=name, tmp_path=tmp_path / name)
        folders.append((tmp_path / f"model-{name}").resolve())
        folders[-1].symlink_to(made.folder("checkpoint"))
    tokenizer = read_tokenizer(toy)
    for name, extra in {"list": ["w5"], "names": {"image_token": "w6"}}.items():
        folders.append(with_config(tmp_path / f"special-{name}", toy))
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            (folders[-1] / file).unlink()
        write_tokenizer(tokenizer, folders[-1], {"unk_token": "w0", "extra_special_tokens": extra})
    bins = save_bins(tmp_path / "bins", {"a": [8]})
    for name, changes in OLD_BASES.items():
        previous = with_config(tmp_path / "bases" / name, toy, **changes)
        Phase(spec(tmp_path / name, previous, bins, parameters(tokens="8 rows"))).train()
        folders.append(tmp_path / f"trained-{name}")
        folders[-1].symlink_to(tmp_path / name / "output" / "checkpoint")
    return folders


@pytest.mark.skipif(
    not OLD.exists(), reason="no build/old-transformers; `make old-transformers` makes it"
)
def test_old_and_new_transformers_read_the_same_models(tmp_path: Path) -> None:
    folders = written(tmp_path)
    new, old = reads(sys.executable, folders), reads(OLD, folders)
    assert len(new) == len(folders) == len(LAYOUTS) + len(OLD_BASES) + 5
    for name, expected in new.items():
        for key, value in expected.items():
            old_value = old[name][key]
            if isinstance(value, list) and value and isinstance(value[0], float):
                assert torch.allclose(
                    torch.tensor(old_value), torch.tensor(value), rtol=1e-4, atol=1e-4
                ), (name, key)
            elif isinstance(value, float):
                assert old_value == pytest.approx(value), (name, key)
            else:
                assert old_value == value, (name, key)
    assert new["special-list"]["more_special"] == ["w0", "w5"] and new["special-names"][
        "more_special"
    ] == ["w0", "w6"]
    assert (
        new["model-grown"]["dtype"] == "torch.bfloat16"
        and new["trained-old-linear"]["dtype"] == "torch.float32"
    )


def test_configurations_have_the_keys_of_old_and_new_readers() -> None:
    plain = {
        "model_type": "llama",
        "max_position_embeddings": 64,
        "hidden_size": 16,
        "num_attention_heads": 2,
    }
    rope = {"rope_type": "default", "rope_theta": 5e5}
    made = for_all_readers(plain | {"rope_parameters": rope, "dtype": "bfloat16"})
    assert (
        made["rope_theta"] == 5e5 and "rope_scaling" not in made and made["rope_parameters"] == rope
    )
    assert made["torch_dtype"] == made["dtype"] == "bfloat16"
    linear = for_all_readers(
        plain | {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    )
    assert linear["rope_scaling"] == {"rope_type": "linear", "factor": 2.0}
    assert linear["rope_parameters"] == {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    for config in (made, linear):
        assert for_all_readers(config) == config
        assert rope_of(config) == config["rope_parameters"]
    part = for_all_readers(plain | {"rope_parameters": rope | {"partial_rotary_factor": 0.5}})
    assert part["partial_rotary_factor"] == 0.5 and "rope_scaling" not in part
    nested = {"rope_parameters": {"full_attention": rope}}
    assert for_all_readers(plain | nested) == plain | nested
    assert for_all_readers({"model_type": "gpt2", "torch_dtype": "float32"}) == {
        "model_type": "gpt2",
        "torch_dtype": "float32",
        "dtype": "float32",
    }
