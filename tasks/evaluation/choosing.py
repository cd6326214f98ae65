"""Which items of a task are asked, where `limit: {per_group: N}` asks some of each group."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence


def chosen(task: str, items: Sequence[tuple[str, str]], per_group: int) -> list[int]:
    """Numbers of the items to ask, ascending: of each group those with the smallest hashes.

    `items`: (group, id) of each. The choice depends on the task's name and on ids, so it is the
    same for every model, and a larger one has all items of a smaller one. Of items with one id,
    which a file may have, the earlier ones are taken first.
    """
    by_group: dict[str, list[tuple[bytes, int]]] = {}
    for number, (group, id_) in enumerate(items):
        digest = hashlib.blake2b(f"{task}\0{group}\0{id_}".encode(), digest_size=8).digest()
        by_group.setdefault(group, []).append((digest, number))
    kept = (heapq.nsmallest(per_group, hashed) for hashed in by_group.values())
    return sorted(number for hashed in kept for _, number in hashed)
