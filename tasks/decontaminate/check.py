"""Whether the benchmarks that a recipe searches for can be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from infra.remote.access import Access
from infra.remote.locations import is_remote
from infra.stage import Fault, Pin, StageError
from tasks.benchmarks.read import read_items
from tasks.decontaminate.stage import DecontaminateParameters


def faults(
    parameters: DecontaminateParameters, pins: Mapping[str, tuple[Pin, ...]], access: Access
) -> Iterator[Fault]:
    """What is wrong with benchmarks on this machine."""
    for name, benchmark in parameters.against.items():
        path = f"against.{name}.paths"
        files = [Path(pin.path) for pin in pins.get(path, ()) if not is_remote(pin.path)]
        if not files:
            continue
        try:
            read_items(name, benchmark, files)
        except StageError as error:
            yield Fault(path, str(error))
