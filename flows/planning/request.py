"""What a run is asked to do: the options of `puna run` and the parameters of the flow `puna`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flows.recipe.file import RecipeError
from flows.recipe.secrets import ADVICE
from infra.secrets import secret_in


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
        pin: Iterable[str] | None = None,
    ) -> RunRequest:
        """The request that options or flow parameters describe; None or empty for an option not
        given. Raises `RecipeError` for a store's address with a password, as it would be stored
        with the run; overrides are looked at when the recipe is read.
        """
        if store and (what := secret_in(store)):
            raise RecipeError([f"--store: holds {what}, and {ADVICE}"])
        selection = Selection(
            tuple(only or ()),
            from_stage or None,
            until_stage or None,
            tuple(force or ()),
            _read_pins(pin or ()),
        )
        return cls(Path(recipe), tuple(overrides or ()), store or None, selection)

    def parameters(self) -> dict[str, Any]:
        """The request as plain JSON parameters of the flow `puna`, which are those of `of`."""
        return {
            "recipe": str(self.recipe),
            "overrides": list(self.overrides),
            "only": list(self.selection.only),
            "from_stage": self.selection.start or "",
            "until_stage": self.selection.until or "",
            "force": list(self.selection.force),
            "pin": [f"{stage}={version}" for stage, version in self.selection.pins.items()],
            "store": self.store or "",
        }


def _read_pins(words: Iterable[str]) -> dict[str, str]:
    """Stage -> version from `S=VERSION`. Raises `RecipeError`."""
    pins = {}
    for text in words:
        stage, equals, version = text.partition("=")
        if not (stage and equals and version):
            raise RecipeError(
                [f"--pin {text}: write S=VERSION, such as --pin tokenizer/main=3fa91c"]
            )
        pins[stage] = version
    return pins
