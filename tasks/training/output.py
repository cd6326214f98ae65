"""The files of a phase's checkpoint besides weights: original configuration and tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tasks.checkpoints.config_keys import for_all_readers
from tasks.checkpoints.text_files import read_json, write_json

_OF_THE_WRITER = ("_name_or_path", "transformers_version")


def complete(previous: Path, checkpoint: Path) -> None:
    """Complete a folder that `save_pretrained` wrote from the checkpoint that training began with.

    Training changes weights only. So the configuration is that of `previous`, under the names that
    old and new readers know, and not what this release of transformers makes of it: it renames
    keys, and leaves out what is default to it.
    """
    written = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config = read_json(previous / "config.json") | {
        key: written[key] for key in ("architectures", "dtype")
    }
    config = {key: value for key, value in config.items() if key not in _OF_THE_WRITER}
    write_json(checkpoint / "config.json", for_all_readers(config))
    for file in sorted(previous.iterdir()):
        weights = file.suffix in (".safetensors", ".bin") or file.name.endswith(".index.json")
        if file.is_file() and not weights and file.name != "config.json":
            shutil.copyfile(file, checkpoint / file.name)
