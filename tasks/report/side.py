"""One of two runs that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from tasks.report.notes import Inputs

LABEL_CHARACTERS = 18
"""A longer title is not repeated in tables."""


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    title: str
    inputs: Inputs
    stated: Mapping[str, Any] = field(default_factory=dict)
    """Its recipe as it was read; empty where it is not known."""
    label: str = ""
    """What tables call it: its title, or less where that is long."""

    @property
    def final(self) -> str:
        """The model that it evaluated last; "" for none."""
        evaluated = self.inputs.get("evaluation", ())
        return evaluated[-1].name if evaluated else ""

    @property
    def introduced(self) -> str:
        """What the top of the page calls it."""
        return self.title if self.label == self.title else f"{self.label} ({self.title})"

    def labelled(self, short: str) -> Self:
        """The same with a label: its title, or `short` where that is long."""
        label = self.title if len(self.title) <= LABEL_CHARACTERS else short
        return replace(self, label=label)
