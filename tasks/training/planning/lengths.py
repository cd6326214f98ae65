"""How many rows and steps a phase has, from what the recipe states of it.

Steps are counted in the phase's own batches, a ramp included, and epochs in the rows of its own
bins, which are unknown before binning. Imports are light: pydantic and the standard library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from tasks.training.planning.batches import Batches, span_of_steps
from tasks.training.planning.ramps import PlanError, Ramp
from tasks.training.recipe.durations import Duration
from tasks.training.recipe.mixtures import Mixture, ShareEpochs
from tasks.training.recipe.sections import Batch, BatchRamp

AGREES = Fraction(1, 100)
"""A stated length may differ by this share from the one that epochs by category give: published
lengths are rounded, and rows depend on packing.
"""


class NotKnownYet(PlanError):
    """A length in epochs, asked for before the bins exist."""


@dataclass(frozen=True)
class Length:
    """A phase's rows and steps."""

    rows: int
    batches: Batches
    owed: Fraction
    """Tokens by which rounding to whole rows leaves the phases up to this one short."""
    wanted: int
    """Tokens as stated, before rounding to rows."""
    epoch_rows: int | None
    """Rows of the phase's bins; None before they exist."""

    @property
    def tokens(self) -> int:
        """Tokens of the phase."""
        return self.rows * self.batches.sequence_length

    @property
    def steps(self) -> int:
        """Steps of the phase."""
        return self.batches.steps(self.rows)

    def tokens_of(self, duration: Duration) -> int:
        """Tokens from the phase's start to the end of `duration`.

        Raises:
            NotKnownYet: epochs, before the bins exist.
        """
        length = self.batches.sequence_length
        if duration.unit == "steps":
            return self.batches.rows(int(duration.amount)) * length
        return fixed_tokens(duration, length, self.epoch_rows)


def fixed_tokens(duration: Duration, sequence_length: int, epoch_rows: int | None = None) -> int:
    """Tokens of a duration that is not in steps.

    An epoch is as many rows as all bins of the phase hold together, whatever the mixture takes from
    each. Fractions of a row are kept: `whole_rows` rounds phases, carrying remainders over.

    Raises:
        NotKnownYet: epochs, without the rows of an epoch.
    """
    if duration.unit == "tokens":
        return int(duration.amount)
    if duration.unit == "rows":
        return int(duration.amount) * sequence_length
    if duration.unit == "steps":
        raise PlanError(f"{duration}: steps have no length here; write tokens or rows")
    if epoch_rows is None:
        raise NotKnownYet(f"{duration}: an epoch has no length before the bins exist; write tokens")
    return round(duration.amount * epoch_rows * sequence_length)


def whole_rows(
    tokens: int, sequence_length: int, owed: Fraction = Fraction(0)
) -> tuple[int, Fraction]:
    """Whole rows of a phase, at least one, and the tokens carried to the next phase.

    `owed`: tokens carried from the phases before; positive where rounding cut them, negative where
    it lengthened them. So eight phases of a quarter epoch are exactly two epochs, and a phase of
    whole rows has exactly the stated length.
    """
    half = Fraction(sequence_length, 2)
    if not -half <= owed < half:  # of longer rows; more than one of these cannot be made good
        owed = Fraction(0)
    exact = tokens + owed
    rows = max(1, math.floor(exact / sequence_length + Fraction(1, 2)))
    return rows, max(exact - rows * sequence_length, -half)


def batch_tokens(batch: Batch, sequence_length: int) -> tuple[int, int]:
    """Tokens of a batch at the beginning and end of its ramp.

    Raises:
        PlanError: a batch of less than a row.
    """
    stated = (
        {"batch.from": batch.start, "batch.to": batch.end}
        if isinstance(batch, BatchRamp)
        else {"batch": batch}
    )
    sizes = [fixed_tokens(size, sequence_length) for size in stated.values()]
    for name, size in zip(stated, sizes, strict=True):
        if size < sequence_length:
            raise PlanError(
                f"{name}: {size:,} tokens are less than one row of {sequence_length:,} "
                "(binning.sequence_length, or the phase's own); write a multiple of that, "
                f"{8 * sequence_length:,} or `8 rows`"
            )
    return sizes[0], sizes[-1]


def batch_ramp(
    batch: Batch,
    sequence_length: int,
    *,
    span: int | None,
    epoch_rows: int | None = None,
) -> Ramp:
    """Batch tokens by token of the phase.

    `span`: tokens over which a ramp without `over` moves, those of the phase.

    Raises:
        PlanError: a batch of less than a row.
        NotKnownYet: a ramp over epochs or over a phase, before their length is known.
    """
    start, end = batch_tokens(batch, sequence_length)
    over = batch.over if isinstance(batch, BatchRamp) else None
    if start == end:
        return Ramp.constant(end)
    if over is None:
        if span is None:
            raise NotKnownYet(
                "batch: the ramp spans the phase, whose length in epochs is not known before the "
                "bins exist; state `over`, or the phase's tokens"
            )
        return Ramp.between(start, end, span)
    if over.unit == "steps":
        return Ramp.between(start, end, span_of_steps(start, end, int(over.amount)))
    return Ramp.between(start, end, fixed_tokens(over, sequence_length, epoch_rows))


def phase_length(
    tokens: Duration | None,
    batch: Batch,
    mixture: Mixture,
    sequence_length: int,
    rows: Mapping[str, int] | None = None,
    owed: Fraction = Fraction(0),
) -> Length:
    """The length of a phase.

    Args:
        tokens: as stated; None where the mixture states epochs of every category.
        rows: category -> rows of its bins; None before they exist.
        owed: tokens that rounding left over from earlier phases (`whole_rows`).

    Raises:
        PlanError: less than half a row; or two statements of the length that differ.
        NotKnownYet: a length in epochs, before the bins exist.
    """
    epoch_rows = sum(rows.values()) if rows is not None else None
    refuse_contradictions(tokens, mixture)
    if tokens is not None and tokens.unit == "steps":
        return _of_steps(int(tokens.amount), batch, sequence_length, epoch_rows, owed)
    taken = rows_of_epochs(mixture, rows)
    if taken is not None and not has_rest(mixture):
        wanted = sum(taken.values()) * sequence_length
        if tokens is not None:
            _require_agreement(tokens, wanted, sequence_length, epoch_rows)
        count, owed = sum(taken.values()), Fraction(0)
    else:
        if tokens is None:
            raise PlanError("tokens: a phase needs a length; state tokens, rows, steps or epochs")
        wanted = fixed_tokens(tokens, sequence_length, epoch_rows)
        if 2 * wanted < sequence_length:
            raise PlanError(
                f"tokens: {tokens} is less than half a row of {sequence_length} tokens; train for "
                "longer"
            )
        count, owed = whole_rows(wanted, sequence_length, owed)
        if taken is not None and sum(taken.values()) > count:
            raise PlanError(
                f"mixture: its epochs take {sum(taken.values()):,} rows, but the phase has "
                f"{count:,}, and none is left for `rest`; lower the epochs, or train for longer"
            )
    ramp = batch_ramp(batch, sequence_length, span=count * sequence_length, epoch_rows=epoch_rows)
    return Length(count, Batches(ramp, sequence_length), owed, wanted, epoch_rows)


def _of_steps(
    steps: int, batch: Batch, sequence_length: int, epoch_rows: int | None, owed: Fraction
) -> Length:
    """Exactly that many steps, none of them cut; a ramp over the phase ends with the last."""
    if not steps:
        raise PlanError("tokens: 0 steps; a phase has at least one step, state more")
    span = span_of_steps(*batch_tokens(batch, sequence_length), steps)
    ramp = batch_ramp(batch, sequence_length, span=span, epoch_rows=epoch_rows)
    batches = Batches(ramp, sequence_length)
    rows = batches.rows(steps)
    return Length(rows, batches, owed, rows * sequence_length, epoch_rows)


def has_rest(mixture: Mixture) -> bool:
    """Whether a category takes what the others leave."""
    return isinstance(mixture, dict) and "rest" in mixture.values()


def refuse_contradictions(tokens: Duration | None, mixture: Mixture) -> None:
    """Refuse lengths and mixtures that cannot be stated together.

    Raises:
        PlanError: no length at all; epochs of some categories beside shares of others; or steps
            beside epochs of every category, which give the length themselves.
    """
    shares = mixture if isinstance(mixture, dict) else {}
    in_epochs = [c for c, share in shares.items() if isinstance(share, ShareEpochs)]
    others = [c for c, share in shares.items() if c not in in_epochs and share != "rest"]
    if in_epochs and others:
        raise PlanError(
            f"mixture: {in_epochs[0]} is in epochs and {others[0]} is a share; state epochs for "
            "all, or shares for all (`rest` may take what epochs leave of the phase's tokens)"
        )
    derived = bool(in_epochs) and not has_rest(mixture)
    if tokens is None and not derived:
        raise PlanError(
            "tokens: the phase has no length; state tokens, such as 1B, 100 steps or 2 epochs, or "
            "a mixture with epochs for every category"
        )
    if tokens is not None and derived and tokens.unit in ("steps", "epochs"):
        raise PlanError(
            f"tokens: {tokens}, but the phase's length follows from the epochs of its mixture; "
            "leave `tokens` out"
        )
    if tokens is not None and in_epochs and not derived and tokens.unit == "steps":
        raise PlanError(
            f"tokens: {tokens} beside a mixture in epochs; write the length in tokens, rows or "
            "epochs"
        )


def rows_of_epochs(mixture: Mixture, rows: Mapping[str, int] | None) -> dict[str, int] | None:
    """Category -> rows of a mixture in epochs; None for other mixtures.

    Raises:
        NotKnownYet: the rows of the bins are not known.
        PlanError: a category takes less than half a row.
    """
    if not isinstance(mixture, dict):
        return None
    epochs = {c: share.epochs for c, share in mixture.items() if isinstance(share, ShareEpochs)}
    if not epochs:
        return None
    if rows is None:
        raise NotKnownYet("mixture: epochs have no length before the bins exist")
    wanted = {
        category: round(Fraction(str(count)) * rows.get(category, 0))
        for category, count in epochs.items()
    }
    for category, count in wanted.items():
        if not count:
            raise PlanError(
                f"mixture.{category}: {epochs[category]:g} epochs of its "
                f"{rows.get(category, 0):,} rows are less than a row; state more, or remove it"
            )
    return wanted


def _require_agreement(
    tokens: Duration, derived: int, sequence_length: int, epoch_rows: int | None
) -> None:
    stated = fixed_tokens(tokens, sequence_length, epoch_rows)
    if abs(stated - derived) > AGREES * derived:
        raise PlanError(
            f"tokens: {tokens} is {stated:,} tokens, but the epochs of the mixture take "
            f"{derived:,} (they may differ by {float(AGREES):.0%}); leave `tokens` out, or change "
            "the epochs"
        )
