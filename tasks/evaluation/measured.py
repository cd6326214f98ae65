"""The job of an evaluation process, its measurements and their results."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HELDOUT = "heldout"
"""Rows of held-out text are named `heldout/<category>`."""

EARLIER = "earlier"
"""Rows of what earlier crawls held out are named `earlier/<category>`."""

LONG_TEXT = "long-text"
"""Rows of loss by position are named `long-text/<category>` and, per bucket of positions,
`long-text/<category>/<first byte>-<last byte>`.
"""


@dataclass(frozen=True)
class Spec:
    """The job of an evaluation process; paths are local.

    `files`, `dev`: benchmark -> its files. `heldout`: category -> JSONL files. `output`: folder for
    results. `not_held_out`: category without held-out text -> why. `earlier`: as `heldout`, of
    earlier crawls.
    """

    model: str
    parameters: dict[str, Any]
    files: dict[str, list[str]]
    dev: dict[str, list[str]]
    heldout: dict[str, list[str]]
    output: str
    cpu_threads: int
    not_held_out: dict[str, str] = field(default_factory=dict)
    earlier: dict[str, list[str]] = field(default_factory=dict)

    def texts(self) -> dict[str, list[str]]:
        """Name of a row of held-out text -> its files."""
        return {f"{HELDOUT}/{name}": self.heldout[name] for name in sorted(self.heldout)} | {
            f"{EARLIER}/{name}": self.earlier[name] for name in sorted(self.earlier)
        }

    @classmethod
    def read(cls, path: Path) -> Spec:
        """Read the JSON file that the stage wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Measurement:
    """One protocol on one task."""

    protocol: str
    task: str

    @property
    def file(self) -> str:
        """Name of the result file; slashes in hub names become double underscores."""
        return f"{self.task.replace('/', '__')}.{self.protocol}.json"


@dataclass(frozen=True)
class Measured:
    """Result of a measurement: rows by name, one sample per item, and notes (sentences).

    If nothing could be scored, a row's metric is None and it has a `reason`.
    """

    rows: dict[str, dict[str, Any]]
    samples: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def unscored(reason: str) -> dict[str, Any]:
    """The row of held-out text that could not be scored."""
    return {"bits_per_byte": None, "n": 0, "reason": reason}
