"""A stage that does almost nothing: for tests of the store, the engine and the flows."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated, Any

from infra.context import Context
from infra.stage import NOT_IDENTITY, GateError, Outcome, Parameters, Role, Stage, StageError
from infra.store import Shard


class ToyParameters(Parameters):
    """`shards` files with one line each; `misbehave` names shards that hang, die or raise."""

    shards: int = 3
    word: str = "toy"
    hang: Annotated[tuple[int, ...], NOT_IDENTITY] = ()
    die: Annotated[tuple[int, ...], NOT_IDENTITY] = ()
    fail: Annotated[tuple[int, ...], NOT_IDENTITY] = ()


TOY = Stage(
    "toy",
    version=1,
    parameters=ToyParameters,
    run="tests.toy:run",
    summary="writes words",
    inputs=(Role("up", many=True, optional=True),),
)


def run(context: Context) -> Outcome:
    """Write the shards."""
    items = {f"part-{i:05d}": (i, context.parameters) for i in range(context.parameters.shards)}
    results = context.map(write, items, timeout_s=5)
    return Outcome({"characters": sum(result["characters"] for result in results.values())})


def write(item: tuple[int, ToyParameters], shard: Shard) -> dict[str, Any]:
    """Write one shard, or misbehave."""
    number, parameters = item
    if number in parameters.hang:
        time.sleep(600)
    if number in parameters.die:
        os._exit(7)
    if number in parameters.fail:
        raise ValueError(f"shard {number} is bad")
    text = f"{parameters.word} {number}\n"
    with shard.create(f"{shard.key}.txt") as path:
        path.write_text(text)
    return {"characters": len(text)}


def hang_once(folder: Path, number: int) -> int:
    """`number`, unless it is asked for the first time."""
    try:
        (folder / f"tried-{number}").touch(exist_ok=False)
    except FileExistsError:
        return number
    time.sleep(600)
    return -1


READER = Stage(
    "reader",
    version=1,
    parameters=ToyParameters,
    run="tests.toy:read",
    summary="copies its inputs",
    inputs=(Role("up", many=True),),
)


def read(context: Context) -> Outcome:
    """Copy the input's files; `fail` and `die` say how it ends instead, having read them."""
    texts = [
        artifact.path(name).read_bytes()
        for artifact in context.many("up")
        for name in artifact.files()
    ]
    if context.parameters.fail:
        raise (KeyError, StageError, GateError, OSError, MemoryError)[context.parameters.fail[0]](
            "of all things"
        )
    context.map(_copy, {"all": b"".join(texts)})
    return Outcome({})


def _copy(text: bytes, shard: Shard) -> dict[str, Any]:
    with shard.create("all.txt") as path:
        path.write_bytes(text)
    return {}
