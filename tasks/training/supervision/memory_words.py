"""What to say when memory runs out, and whether the kernel says that it did. Without torch."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tasks.training.stage import TrainingParameters

_COUNTERS = ("/sys/fs/cgroup/memory.events", "/proc/vmstat")

_CPU_ALLOCATOR = re.compile(
    r"DefaultCPUAllocator|can't allocate memory|not enough memory|CUDA out of memory", re.IGNORECASE
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; for the CPU, torch has no type of its own."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and bool(_CPU_ALLOCATOR.search(str(error)))
    )


def out_of_memory(
    parameters: TrainingParameters, when: str, device: str, error: BaseException
) -> str:
    """The sentence for an error of `is_out_of_memory`; `when`: such as "in step 7"."""
    text = str(error).strip().splitlines()
    return (
        f"memory ran out on {device} {when} ({text[0] if text else type(error).__name__}). "
        f"{less_memory(parameters)}"
    )


def less_memory(parameters: TrainingParameters) -> str:
    """What needs memory now, in numbers, and what to change, the cheapest first."""
    devices, rows = parameters.devices, parameters.micro_batch
    recompute = parameters.recompute
    change = []
    if rows > 1:
        change.append("lower training.micro_batch")
    if recompute != "full":
        stronger = "full" if recompute == "selective" else "selective or full"
        change.append(f"set training.recompute: {stronger}")
    if devices.offload == "none" and devices.kind != "cpu":
        change.append("set devices.offload: optimizer")
    change.append(
        "train on more ranks"
        if devices.shard in ("auto", "full")
        else "split the model over all ranks (devices.shard: full)"
    )
    return (
        f"A micro-batch is {rows:,} {'row' if rows == 1 else 'rows'} of "
        f"{parameters.sequence_length:,} tokens, recompute is {recompute}: "
        f"{', '.join(change[:-1])}{' or ' if change[:-1] else ''}{change[-1]}"
    )


def oom_kills() -> int | None:
    """Processes that the kernel has killed for lack of memory so far, in this control group or on
    the machine; None where it does not tell.
    """
    counts = []
    for name in _COUNTERS:
        with contextlib.suppress(OSError):
            for line in Path(name).read_text(encoding="utf-8").splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.strip().isdecimal():
                    counts.append(int(value))
    return sum(counts) if counts else None
