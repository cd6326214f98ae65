"""Run stage shares: a copy of the proposal, without what it was found by."""

from __future__ import annotations

import json

from infra.context import Context
from infra.stage import Outcome
from infra.store import Shard
from tasks.documents.proposals import PROPOSAL, proposed_shares


def run(context: Context) -> Outcome:
    """Write `shares.json` of the one input."""
    shares = proposed_shares(context.input("mixture"))
    context.map(_write, {"shares": shares}, here=True)
    told = ", ".join(f"{category} {share:.3g}" for category, share in shares.items())
    return Outcome({"shares": shares, "headline": told})


def _write(shares: dict[str, float], shard: Shard) -> dict[str, float]:
    with shard.create(PROPOSAL) as path:
        path.write_text(json.dumps({"shares": shares}, indent=1), encoding="utf-8")
    return {}
