"""A unit: normaliser, SentencePiece model and n-gram model, which only together mean a perplexity.

It is named by their digests and written as `unit.json` beside the models. Perplexities of different
units must not be compared.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from infra.store import Shard
from tasks.text.normalise import Steps

SENTENCEPIECE_FILE = "sp.model"
UNIT_FILE = "unit.json"


def write_unit(
    shard: Shard,
    *,
    language: str,
    steps: Steps,
    lm: str,
    order: int,
    sentencepiece_sha256: str,
    training_tokens: int | None,
) -> str:
    """Write `unit.json` for the n-gram file `lm` that the shard has written; return the unit's id.

    `training_tokens`: None for a model trained elsewhere.
    """
    unit: dict[str, Any] = {
        "language": language,
        "normaliser": str(steps),
        "sentencepiece_sha256": sentencepiece_sha256,
        "lm": lm,
        "lm_sha256": written_sha256(shard, lm),
        "order": order,
        "training_tokens": training_tokens,
    }
    unit["unit"] = unit_id(unit)
    with shard.create(UNIT_FILE) as path:
        path.write_text(
            json.dumps(unit, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
    return str(unit["unit"])


def written_sha256(shard: Shard, name: str) -> str:
    """The sha256 of a file that the shard has written."""
    return str(next(output["sha256"] for output in shard.outputs if output["path"] == name))


def unit_id(unit: dict[str, Any]) -> str:
    """12 hex digits that identify a unit; perplexities with equal ids are comparable."""
    parts = (unit["normaliser"], unit["sentencepiece_sha256"], unit["lm_sha256"])
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
