"""What the proxies of a search came to, read from the artifacts of their training and evaluation.

A proxy's shares are those that it was trained on, from the rows that its sampler drew. A category
counts by what its bins held: after a source has changed, an earlier search's proxies have the old
one in a column of its own. So does a target by its held-out text: an earlier loss on another text
is none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from infra.store import Artifact
from tasks.documents.bins import category_of
from tasks.documents.selected import HELD_OUT_FOLDER


@dataclass(frozen=True)
class Proxy:
    """One small model. `shares`: column -> share of its rows; a column is a category and what its
    bins held. `losses`: target -> bits per byte. `left_out`: why it is not fitted; "" where it is.
    """

    name: str
    parameters: int
    tokens: int
    shares: Mapping[str, float]
    losses: Mapping[str, float]
    left_out: str = ""
    epochs: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As a mixture artifact's statistics have it."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Proxy:
        """The other way round."""
        return cls(**found)


def columns(bins: Iterable[Artifact]) -> dict[str, str]:
    """Category -> its column: the category, and which version first held what its bins hold."""
    return {category_of(artifact.name): column(artifact.content_identity) for artifact in bins}


def column(identity: str) -> str:
    """`web@1f3a...` of `binning/web@1f3a...`."""
    name, _, version = identity.partition("/")[2].partition("@")
    return f"{category_of(name)}@{version}"


def texts(selected: Iterable[Artifact]) -> dict[str, str]:
    """Category -> its target: the category, and a digest of its held-out text."""
    files: dict[str, list[str]] = {}
    for artifact in selected:
        for output in artifact.manifest.outputs:
            folder, _, rest = output.path.partition("/")
            if folder == HELD_OUT_FOLDER:
                files.setdefault(rest.partition("/")[0], []).append(output.sha256)
    return {
        category: f"{category}@{hashlib.sha256(''.join(sorted(found)).encode()).hexdigest()[:12]}"
        for category, found in files.items()
    }


def read_proxies(
    trained: Sequence[Artifact], scores: Mapping[str, Mapping[str, Any]], targets: Mapping[str, str]
) -> list[Proxy]:
    """The proxies of this search.

    Args:
        scores: name of a proxy -> rows of its evaluation.
        targets: row of an evaluation -> target.
    """
    return [_proxy(artifact, scores[artifact.name], targets) for artifact in trained]


def _proxy(artifact: Artifact, rows: Mapping[str, Any], targets: Mapping[str, str]) -> Proxy:
    found = artifact.statistics
    column_of = {
        column(given.content_identity).partition("@")[0]: column(given.content_identity)
        for given in artifact.manifest.inputs["bins"]
    }
    drawn, losses = found["rows"], {}
    total = sum(drawn.values())
    left_out = f"it diverged: {found['diverged']}" if found.get("diverged") else ""
    for row, target in targets.items():
        loss = rows.get(row, {}).get("bits_per_byte")
        if loss is None:
            left_out = left_out or f"it has no bits per byte of {row}"
        else:
            losses[target] = float(loss)
    return Proxy(
        artifact.name,
        int(found["parameters"]),
        int(found["tokens"]),
        {column_of[category]: count / total for category, count in drawn.items()},
        losses,
        left_out,
        {column_of[category]: epochs for category, epochs in found["epochs"].items()},
    )
