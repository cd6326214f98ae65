"""What a run is asked to do: the options of `puna run` and the parameters of the flow `puna`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Selection:
    """The part of the plan to run: --only, --from, --until, --force and --pin."""

    only: tuple[str, ...] = ()
    start: str | None = None
    until: str | None = None
    force: tuple[str, ...] = ()
    pins: Mapping[str, str] = field(default_factory=dict)

    def asks(self) -> bool:
        """Whether it asks for anything but the whole plan."""
        return bool(self.only or self.start or self.until or self.force or self.pins)

    def with_pins(self, pins: Mapping[str, str]) -> Selection:
        """The same with more pins; its own count where both name a stage."""
        return replace(self, pins={**pins, **self.pins})


@dataclass(frozen=True)
class RunRequest:
    """A recipe, its overrides, and the part of it to run.

    Passed unchanged from the command line (or the flow's parameters) to `prepare`.
    """

    recipe: Path
    overrides: tuple[str, ...] = ()
    """`KEY=VALUE`, as for --set."""

    store: str | None = None
    """URL of the store, instead of the recipe's."""

    selection: Selection = field(default_factory=Selection)

    @classmethod
    def of(
        cls,
        recipe: str | Path,
        overrides: Iterable[str] | None = None,
        store: str | None = None,
        *,
        only: Iterable[str] | None = None,
        from_stage: str | None = None,
        until_stage: str | None = None,
        force: Iterable[str] | None = None,
        pin: Mapping[str, str] | None = None,
    ) -> RunRequest:
        """The request that options or flow parameters describe; None for an option not given."""
        selection = Selection(
            tuple(only or ()), from_stage, until_stage, tuple(force or ()), dict(pin or {})
        )
        return cls(Path(recipe), tuple(overrides or ()), store, selection)

    def parameters(self) -> dict[str, Any]:
        """The request as plain JSON parameters of the flow `puna`, which are those of `of`."""
        return {
            "recipe": str(self.recipe),
            "overrides": list(self.overrides),
            "only": list(self.selection.only),
            "from_stage": self.selection.start,
            "until_stage": self.selection.until,
            "force": list(self.selection.force),
            "pin": dict(self.selection.pins),
            "store": self.store,
        }
