"""The account of a given list of pieces: what was added, what was skipped and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tasks.tokenizer.given_pieces import GivenPiece

EXAMPLES = 20
"""Examples kept for each reason."""

ALREADY_A_TOKEN = "already a token of the base"
REPEATED = "given before"
CHANGES_BASE = "would change how the base segments text"
NOT_ONE_WORD = "never one word of the base's pre-tokenizer"
REWRITTEN = "rewritten by the base's normalizer"
SPECIAL = "holds a special token"
UNREACHABLE = "no way to join it"
STEPS = "steps added"
CHARACTERS = "characters added"


@dataclass
class PieceAccount:
    """What became of the given pieces, and what else had to be added to reach them."""

    given: int = 0
    added: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    steps: int = 0
    characters: int = 0

    def skip(self, reason: str, piece: GivenPiece) -> None:
        """Count a piece that is not added."""
        self.skipped[reason] += 1
        self.show(reason, f"{piece.text} ({piece.place})")

    def show(self, name: str, text: str) -> None:
        """Keep an example."""
        if len(self.examples[name]) < EXAMPLES:
            self.examples[name].append(text)

    def summary(self) -> dict[str, Any]:
        """For statistics and report."""
        return {
            "given": self.given,
            "added": self.added,
            "skipped": dict(sorted(self.skipped.items())),
            "steps_added": self.steps,
            "characters_added": self.characters,
            "examples": {name: self.examples[name] for name in sorted(self.examples)},
        }
