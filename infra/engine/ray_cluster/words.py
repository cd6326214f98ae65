"""What is said of a cluster that holds no worker, and of workers that die or do not start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from infra.engine.config import Resources, in_words


def too_large(stage: str, size: Resources, totals: Sequence[Mapping[str, float]]) -> str:
    """Why no node holds a worker of a size."""
    names = size.amounts()
    nodes = [in_words({name: total.get(name, 0) for name in names}) for total in totals]
    held = "; ".join(sorted(set(nodes))[:5]) or "no node"
    return (
        f"a worker of stage {stage} takes {size}, and no node of the Ray cluster has so much (they "
        f"have {held}); lower engine.resources.{stage}, or add a larger node"
    )


def not_placed(address: str, stage: str, size: Resources, waited_s: float) -> str:
    """Why a cluster with a node that is large enough starts no worker."""
    return (
        f"the Ray cluster at {address} started no worker for stage {stage} ({size}) within "
        f"{waited_s:.0f} s, though a node is large enough: others use it. Wait for them, add "
        "nodes, or raise engine.timeout_s"
    )


def lost_its_node(error: Exception) -> bool:
    """Whether Ray says that a worker died with its node."""
    text = str(error)
    return "node" in text and ("died" in text or "dead" in text or "unreachable" in text)


def death(error: Exception) -> str:
    """How a worker died, from what Ray says of it."""
    if lost_its_node(error):
        cause = "its node was lost"
    elif "memory" in str(error).lower():
        cause = "out of memory"
    else:
        cause = "out of memory, a crash in a native library, or its node was lost"
    return f"died ({cause})"


def no_start(error: Exception, address: str) -> str:
    """Why no worker starts, from what Ray says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"no worker starts on the Ray cluster at {address} ({(lines or ['no reason'])[-1][:300]}); "
        "install the same release of puna[ray] on every node, for the same Python"
    )
