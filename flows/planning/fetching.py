"""Whether the disks have room for what a plan will fetch from other machines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from flows.planning.plan import Plan, Step
from flows.planning.reading import in_bytes
from infra.remote import cache
from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Pin
from infra.store import Store
from tasks.ingest.stage import STAGE as INGEST

ARCHIVE_BYTES = 1_100_000_000
"""A web archive of Common Crawl, whose listing states no sizes."""


def disk_notes(plan: Plan, store: Store, access: Access) -> Iterator[str]:
    """A sentence for each disk that has less room than what will be on it at once.

    Sources pass through the cache, which is bounded; models and lists stay with the stage that
    reads them until it is done.
    """
    passing, staying = _to_fetch(plan, access)
    largest = max((_size(pin) for pin in passing.values()), default=0)
    through = min(sum(map(_size, passing.values())), max(access.cache_bytes, largest))
    kept = sum(map(_size, staying.values()))
    folders = {"the cache": access.cache}
    if store.root.local_root is not None:
        folders["the store"] = store.root.local_root
    needs = {"the cache": through + kept, "the store": kept}
    told: set[int] = set()
    for name, folder in folders.items():
        there = _existing(folder)
        disk, free = there.stat().st_dev, shutil.disk_usage(there).free
        if needs[name] > free and disk not in told:
            told.add(disk)
            yield (
                f"≈ {in_bytes(needs[name])} are to be fetched, and the disk of {name} "
                f"({folder}) has {in_bytes(free)} free; free some of it, or name a folder on "
                f"another disk ({'remote.cache' if name == 'the cache' else 'store'})"
            )


def _to_fetch(plan: Plan, access: Access) -> tuple[dict[str, Pin], dict[str, Pin]]:
    """What is not cached yet by path: objects of sources, and those of other stages."""
    passing: dict[str, Pin] = {}
    staying: dict[str, Pin] = {}
    for step in plan.to_run():
        found = passing if step.node.stage.name == INGEST.name else staying
        for pins in step.pins.values():
            found |= {pin.path: pin for pin in pins if _is_fetched_whole(step, pin)}
    return tuple(  # type: ignore[return-value]
        {path: pin for path, pin in found.items() if not cache.holds(pin, access)}
        for found in (passing, staying)
    )


def _is_fetched_whole(step: Step, pin: Pin) -> bool:
    """Whether an object comes whole: of the hub's Parquet, and where an index selects, parts do."""
    if not is_remote(pin.path) or getattr(step.node.parameters, "select", None) is not None:
        return False
    return not (
        step.node.stage.name == INGEST.name and pin.sha256 and pin.name.endswith(".parquet")
    )


def _size(pin: Pin) -> int:
    return pin.bytes if pin.bytes >= 0 else ARCHIVE_BYTES


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
