"""The output of a phase: `checkpoint/`, which `from_pretrained` reads, and `state/`, which the next
phase continues from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from tasks.checkpoints.config_keys import for_all_readers
from tasks.checkpoints.text_files import read_json, write_json
from tasks.training.checkpoint import save_tensors
from tasks.training.model_setup import OPTIMIZER_FILE
from tasks.training.spec import Carried, Spec

_WRITER_KEYS = ("_name_or_path", "transformers_version")


def write_output(
    spec: Spec, language_model: Any, moments: Mapping[str, Tensor], carried: Carried
) -> None:
    """Write the output folder of `spec` anew."""
    output = Path(spec.output)
    shutil.rmtree(output, ignore_errors=True)
    (output / "state").mkdir(parents=True)
    language_model.save_pretrained(output / "checkpoint")
    complete(Path(spec.previous), output / "checkpoint")
    save_tensors(output / "state" / OPTIMIZER_FILE, moments)
    carried.write(output / "state")


def complete(previous: Path, checkpoint: Path) -> None:
    """Complete a folder that `save_pretrained` wrote from the checkpoint that training began with.

    Training changes weights only. So the configuration is that of `previous`, under the names that
    old and new readers know; the one that this release of transformers writes has renamed keys and
    lacks those equal to its defaults.
    """
    written = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config = read_json(previous / "config.json") | {
        key: written[key] for key in ("architectures", "dtype")
    }
    config = {key: value for key, value in config.items() if key not in _WRITER_KEYS}
    write_json(checkpoint / "config.json", for_all_readers(config))
    for file in sorted(previous.iterdir()):
        weights = file.suffix in (".safetensors", ".bin") or file.name.endswith(".index.json")
        if file.is_file() and not weights and file.name != "config.json":
            shutil.copyfile(file, checkpoint / file.name)
