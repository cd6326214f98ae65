"""Orchestration: how much of a run with shards of a minute is not work on shards.

    python tests/benchmarks/bench_orchestration.py [--seconds 60]

`puna run` (flow runs, leases, ledgers, manifests, dashboard pages) of a recipe of five stages with
four shards each, on two worker processes. Every shard is the stage's own work, and then waits
until a minute is over, so that a busy machine does not change the ratio. The ideal is those minutes
divided by two workers; the rest of the wall clock, from the command's first import to its end, is
orchestration. Asked: at most 5 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from infra.context import Context  # noqa: E402
from infra.store import Shard  # noqa: E402

FILES, LINES, WORKERS = 4, 900, 2  # a file of 4.5 MB is a part of its own
RECIPE = """
name: minutes
store: {folder}/artifacts
engine: {{kind: processes, workers: {workers}}}
sources:
  web:
    ingest: {{format: jsonl, paths: ["{folder}/*.jsonl"]}}
    langid: {{keep: {{threshold: 0.1}}}}
    quality: {{rules: [gopher]}}
    category: web
dedup: null
select: {{heldout: null, index: false}}
"""


@dataclass(frozen=True)
class Minute:
    """A shard's work that takes `seconds`, by waiting for what is left of them."""

    work: Callable[[Any, Shard], dict[str, Any]]
    seconds: float

    def __call__(self, item: Any, shard: Shard) -> dict[str, Any]:
        began = time.monotonic()
        result = self.work(item, shard)
        time.sleep(max(0.0, self.seconds - (time.monotonic() - began)))
        return result


def main(seconds: float) -> None:
    """Print stages, shards, ideal and real wall clock, and the share that is orchestration."""
    shards: list[int] = []
    plain = Context.map

    def counted(
        self: Context, work: Any, items: Mapping[str, Any], *, here: bool = False, **options: Any
    ) -> dict[str, dict[str, Any]]:
        if here or len(items) < FILES:
            return plain(self, work, items, here=here, **options)
        shards.append(len(items))
        return plain(self, Minute(work, seconds), items, **options)

    Context.map = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(FILES):
            lines = [
                json.dumps({"text": f"Page {number} {line} tells of rain on the hills. " * 120})
                for line in range(LINES)
            ]
            (folder / f"{number}.jsonl").write_text("\n".join(lines))
        (folder / "minutes.yaml").write_text(RECIPE.format(folder=folder, workers=WORKERS))
        os.environ.update(PREFECT_HOME=str(folder / "prefect"), PREFECT_SERVER_API_PORT="4871")
        sys.argv = ["puna", "run", str(folder / "minutes.yaml")]
        from flows.cli import main as puna

        try:
            puna()
        except SystemExit as end:
            if end.code:
                raise
        finally:
            wall = time.monotonic() - BEGAN
            subprocess.run([sys.executable, "-m", "flows.cli", "dashboard", "stop"], check=False)
    shards = [count for count in shards if count]
    ideal = sum(-(-count // WORKERS) for count in shards) * seconds
    print(f"maps of {shards} shards of {seconds:g} s on {WORKERS} workers")
    print(
        f"wall clock {wall:.1f} s, ideal {ideal:.1f} s: orchestration {1 - ideal / wall:.1%} of it"
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=60.0, help="what a shard takes")
    main(options.parse_args().seconds)
