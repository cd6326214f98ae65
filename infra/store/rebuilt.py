"""What to say when a bitwise stage is rebuilt and its bytes differ."""

from __future__ import annotations

from collections.abc import Iterator

from infra.store.artifact import Artifact
from infra.store.manifest import Manifest

MOST_NAMED = 3
_NEVER_A_CAUSE = ("git_sha", "dirty", "executable")
"""What a manifest says of code and environment that decides no bytes."""


def explain(older: Artifact, newer: Manifest) -> str:
    """Which files differ, and the likely cause, given that the inputs are intact
    (`infra.store.damage` checks them).
    """
    before = {output.path: output.sha256 for output in older.manifest.outputs}
    after = {output.path: output.sha256 for output in newer.outputs}
    differing = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    more = len(differing) - MOST_NAMED
    changes = list(_changes(older.manifest, newer))
    cause = (
        f"Changed since it was built: {'; '.join(changes)}. If that may change the output, the "
        "stage's version has to be raised"
        if changes
        else "Its code and libraries are the same, so either the stage is not deterministic (a "
        "bug, please report it), or its input was damaged when it was first built and has been "
        "repaired since"
    )
    return (
        f"{older.identity} was rebuilt with other bytes: {', '.join(differing[:MOST_NAMED])}"
        f"{f' and {more} more files' if more > 0 else ''} differ. {cause}. "
        f"The older artifact is kept; the new one is in {older.home.url}/{newer.attempt}. "
        f"To take the new one, remove {older.home.url} and run again"
    )


def _changes(older: Manifest, newer: Manifest) -> Iterator[str]:
    """`section.key: before -> after` for the code and the environment."""
    for section, before, after in (
        ("code", older.code, newer.code),
        ("environment", older.environment, newer.environment),
    ):
        for key, value in after.items():
            if key not in _NEVER_A_CAUSE and before.get(key) != value:
                yield f"{section}.{key}: {before.get(key)} -> {value}"
