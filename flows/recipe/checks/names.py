"""Names that one section takes from another."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flows.recipe.errors import nearest


def unknown_names(where: str, given: Sequence[str] | None, known: Collection[str]) -> list[str]:
    """A problem for each given name that is not known."""
    listed = ", ".join(known) or "none"
    return [
        f"{where}: {name!r} is not in this recipe{nearest(name, list(known))}; it has: {listed}"
        for name in given or ()
        if name not in known
    ]
