"""Where every phase of a recipe stands: its first token and its length, as far as they are known.

Steps of the run are counted here, over all phases and their batches. What depends on bins is left
open. Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tasks.training.planning.lengths import Length, NotKnownYet, fixed_tokens, phase_length
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.mixtures import Mixture
from tasks.training.recipe.sections import Batch, DataCursor


@dataclass(frozen=True)
class Stated:
    """What decides a phase's length."""

    tokens: Duration | None
    batch: Batch
    mixture: Mixture
    sequence_length: int
    data: DataCursor


@dataclass(frozen=True)
class Standing:
    """Where a phase stands. `start` and `length` are None where they are known only after binning;
    `owed`: tokens that rounding left over before it.
    """

    stated: Stated
    start: int | None
    owed: Fraction
    length: Length | None

    @property
    def tokens(self) -> int | None:
        """Tokens of the phase, to a row where they depend on the rounding of unknown phases."""
        return None if self.length is None else self.length.tokens

    @property
    def wanted(self) -> int | None:
        """Tokens of the phase as stated."""
        return None if self.length is None else self.length.wanted


def standings(phases: Sequence[Stated], start: int | None = 0) -> Iterator[Standing]:
    """The phases one after the other, from token `start` of the run; None where that is not known
    here.
    """
    owed = Fraction(0)
    for stated in phases:
        carried = owed if stated.data == "continue" else Fraction(0)
        try:
            length = phase_length(
                stated.tokens, stated.batch, stated.mixture, stated.sequence_length, owed=carried
            )
        except NotKnownYet:
            length = None
        yield Standing(stated, start, carried, length)
        owed = length.owed if length else Fraction(0)
        start = start + length.tokens if start is not None and length else None


def tokens_of_run(duration: Duration, phases: Sequence[Standing]) -> int | None:
    """Tokens from the start of the first of `phases` to the end of `duration`; None where that is
    known only after binning.

    Steps beyond the last phase have its last batch. Rows are those of the first phase.
    """
    first = phases[0].stated.sequence_length
    if duration.unit == "epochs":
        return None
    if duration.unit != "steps":
        return fixed_tokens(duration, first)
    tokens, missing = 0, int(duration.amount)
    for number, phase in enumerate(phases):
        if phase.length is None:
            return None
        steps = phase.length.steps
        if missing > steps and number < len(phases) - 1:
            tokens, missing = tokens + phase.length.tokens, missing - steps
            continue
        batches = phase.length.batches
        rows = phase.length.rows if missing == steps else batches.rows(missing)
        return tokens + rows * batches.sequence_length
    raise AssertionError  # the last phase returns
