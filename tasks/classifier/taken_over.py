"""Takes over classifiers that were trained elsewhere; their files are copied, so that what scored a
document stays in the store.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.stage import StageError
from infra.store import Shard
from tasks.classifier.stage import ClassifierParameters
from tasks.scorers import heads
from tasks.scorers.fasttext_scorer import MODEL_FILE, labels_of
from tasks.scorers.meta import FILE, ScorerMeta

FASTTEXT = (".bin", ".ftz")
LEFT_OUT = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack", ".onnx", ".ot", ".py")
"""Files of a model's folder that are not copied: pickles, code, weights of other frameworks."""

USUAL = ("hq", "good", "positive", "LABEL_1")
"""Labels that mean a good document where none is named."""


@dataclass(frozen=True)
class Taken:
    """The work of the one shard. `place`: a fastText file, or a model's folder."""

    name: str
    parameters: ClassifierParameters
    place: Path
    fasttext: bool


def is_fasttext(names: Sequence[str]) -> bool:
    """Whether these files are a fastText model rather than one of Hugging Face."""
    return len(names) == 1 and names[0].endswith(FASTTEXT)


def take_over(work: Taken, shard: Shard) -> dict[str, Any]:
    """Check that the model loads, and publish it."""
    parameters = work.parameters
    copy = _copy_fasttext if work.fasttext else _copy_head
    labels, scores = copy(work, shard)
    meta = ScorerMeta(
        "fasttext" if work.fasttext else "head",
        "value",
        label="" if scores else _label(work, labels),
        languages=parameters.languages,
        max_characters=parameters.max_characters,
        max_tokens=parameters.max_tokens,
        device=parameters.device,
    )
    with shard.create(FILE) as path:
        meta.write(path)
    return {
        "kind": meta.kind,
        "labels": list(labels[:20]),
        "label": meta.label,
        "languages": None if meta.languages is None else list(meta.languages),
    }


def _copy_fasttext(work: Taken, shard: Shard) -> tuple[tuple[str, ...], bool]:
    labels = labels_of(work.place)
    with shard.create(MODEL_FILE) as path:
        shutil.copyfile(work.place, path)
    return labels, False


def _copy_head(work: Taken, shard: Shard) -> tuple[tuple[str, ...], bool]:
    """(labels, whether its one output is the score)."""
    folder = work.place
    if not (folder / "config.json").is_file():
        raise StageError(
            f"classifier/{work.name}: {work.parameters.model} has no config.json and is no "
            "fastText file (.bin, .ftz); name a classifier's folder or file"
        )
    if heads.untrained_head(folder):
        raise StageError(
            f"classifier/{work.name}: {work.parameters.model} is no sequence classifier (its "
            "config.json names none under architectures), so its head would be random; name one "
            "that was trained to classify"
        )
    heads.load(str(folder), work.parameters.device)
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.endswith(LEFT_OUT):
            with shard.create(f"{heads.FOLDER}/{path.name}") as target:
                shutil.copyfile(path, target)
    labels = heads.outputs_of(folder)
    return labels, len(labels) == 1


def _label(work: Taken, labels: Sequence[str]) -> str:
    stated = work.parameters.label.removeprefix("__label__")
    if stated in labels:
        return stated
    if not stated and (usual := [label for label in USUAL if label in labels]):
        return usual[0]
    what = f"{stated!r} is none of its labels" if stated else "it has several labels"
    raise StageError(
        f"classifiers.{work.name}.label: {what}; name the one that means a good document: "
        f"{', '.join(labels[:20])}"
    )
