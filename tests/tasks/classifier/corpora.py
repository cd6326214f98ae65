"""Good and bad documents made of words, with near copies, and labels for them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa

from infra.store import Artifact
from tasks.documents.vectors import MADE_WITH, to_column
from tests.tables import artifact, documents

GOOD = [
    "energy",
    "theory",
    "light",
    "cells",
    "water",
    "history",
    "century",
    "system",
    "because",
    "example",
    "measured",
]
BAD = [
    "buy",
    "cheap",
    "price",
    "sale",
    "click",
    "shipping",
    "order",
    "discount",
    "deal",
    "login",
    "cart",
    "subscribe",
]
BOTH = [
    f"{a}{b}" for a in "bdfgklmnprst" for b in ("ala", "ebo", "iru", "ona", "umi", "ero", "ati")
]


def text(rng: random.Random, good: bool, purity: float = 0.25, words: int = 80) -> str:
    """Words of both kinds, `purity` of them of its own."""
    own = GOOD if good else BAD
    return " ".join(
        rng.choice(own) if rng.random() < purity else rng.choice(BOTH) for _ in range(words)
    ).capitalize()


def corpora(folder: Path, count: int = 150, purity: float = 0.25) -> list[Artifact]:
    """Sources `wiki` (good) and `web` (bad), each of two parts, with some near copies."""
    rng = random.Random(1)
    found = []
    for name, good in (("wiki", True), ("web", False)):
        texts = [text(rng, good, purity) for _ in range(count)]
        texts += [f"{one} and more." for one in texts[: count // 10]]
        rows = [{"text": t, "id": f"{name}-{n:05d}"} for n, t in enumerate(texts)]
        found.append(documents(folder, name, [rows[:70], rows[70:]]))
    return found


def languages(folder: Path, given: Artifact, code: str) -> Artifact:
    """langid of a source, all of one language."""
    import pyarrow.parquet as pq

    files = {}
    for name in given.files("part-"):
        rows = pq.read_metadata(given.path(name)).num_rows
        files[name] = pa.table(
            {"language": [code] * rows, "language_score": pa.array([1.0] * rows, pa.float32())}
        )
    return artifact(folder, "langid", given.name, files)


def vectors(folder: Path, given: Artifact, fingerprint: str = "a") -> Artifact:
    """embeddings of a source: counts of its words, projected by random signs."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    table = {word: rng.normal(size=24) for word in [*GOOD, *BAD, *BOTH]}
    files = {}
    for name in given.files("part-"):
        texts = pq.read_table(given.path(name), columns=["text"])["text"].to_pylist()
        made = np.array(
            [
                sum((table.get(w.lower().strip("."), 0) for w in t.split()), np.zeros(24))
                for t in texts
            ]
        )
        norms = np.linalg.norm(made, axis=1, keepdims=True)
        known = norms[:, 0] > 0
        made = made / np.where(norms, norms, 1)
        files[name] = pa.table({"vector": to_column(made.astype(np.float32), known)})
    how = {"model": "m", "fingerprint": fingerprint, "dimensions": 24, "version": 1}
    return artifact(folder, "embeddings", given.name, files, {MADE_WITH: how})


def labelled(folder: Path, given: list[Artifact], good: float, bad: float) -> Artifact:
    """labels: documents of `wiki` have the score `good`, others `bad`, a few none."""
    import pyarrow.parquet as pq

    rows = [
        {
            "id": id_,
            "source": one.name,
            "language": "und",
            "score": None if id_.endswith("7") else (good if one.name == "wiki" else bad),
            "repeated": None,
            "answer": "",
            "asked": 1,
        }
        for one in given
        for name in one.files("part-")
        for id_ in pq.read_table(one.path(name), columns=["id"])["id"].to_pylist()
    ]
    from tasks.labels.run import SCHEMA

    return artifact(
        folder, "labels", "edu", {"labels.parquet": pa.Table.from_pylist(rows, schema=SCHEMA)}
    )
