"""Training on the CPU beside a bare loop and Hugging Face Trainer (not a test; run it by hand).

    python tests/benchmarks/bench_training.py [--threads 2] [--rounds 3] [--steps 6] [--memory]

Speed: a Llama of 9M parameters, vocabulary 8,192, 16 rows of 256 tokens a step (micro-batches of
8), several documents a row; the same model, rows, mask, clipping, fused AdamW and threads for all.
Each peer runs in a process of its own, the peers take turns, medians of seconds a step. Own
overhead is the median step less the bare loop's. `--memory`: peak memory at a vocabulary of 69,104
and rows of 4,096 tokens, with small layers, so that logits are what counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.tasks.training.toys import save_bins, save_model

PEERS = ("ours", "bare", "trainer")
SPEED: dict[str, Any] = {
    "hidden_size": 256, "intermediate_size": 704, "num_attention_heads": 4,
    "num_key_value_heads": 4, "vocab_size": 8192, "layers": 6,
}  # fmt: skip
MEMORY: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2,
    "num_key_value_heads": 2, "vocab_size": 69104, "layers": 1, "max_position_embeddings": 4096,
}  # fmt: skip


def run(root: Path, peer: str) -> dict[str, Any]:
    """The figures of one peer."""
    script = Path(__file__).with_name("training_peers.py")
    done = subprocess.run(
        [sys.executable, script, peer, root / "model", root / "bins.json", root / "settings.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def prepare(root: Path, model: dict[str, Any], settings: dict[str, Any], rows: int) -> None:
    """Write model, bins and settings for `training_peers.py`."""
    save_model(root / "model", **model)
    bins = save_bins(
        root / "bins", {"a": [rows]}, length=settings["length"], vocabulary=model["vocab_size"]
    )
    (root / "bins.json").write_text(json.dumps(bins))
    (root / "settings.json").write_text(json.dumps(settings))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    for name, value in {"threads": 2, "rounds": 3, "steps": 6}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        if given.memory:
            settings = {"length": 4096, "rows": 1, "micro": 1, "steps": 1}
            prepare(root, MEMORY, settings | {"threads": given.threads}, 4)
            peaks = {peer: run(root, peer)["memory"] / 2**30 for peer in PEERS}
            for peer, peak in peaks.items():
                sys.stdout.write(f"{peer}: peak memory {peak:.2f} GiB\n")
            sys.stdout.write(f"ours / trainer memory: {peaks['ours'] / peaks['trainer']:.3f}\n")
            return
        settings = {"length": 256, "rows": 16, "micro": 8, "steps": given.steps}
        prepare(root, SPEED, settings | {"threads": given.threads}, 16 * (given.steps + 2))
        seconds: dict[str, list[float]] = {peer: [] for peer in PEERS}
        for _, peer in itertools.product(range(given.rounds), PEERS):
            seconds[peer] += run(root, peer)["seconds"]
    medians = {peer: statistics.median(steps) for peer, steps in seconds.items()}
    for peer, median in medians.items():
        sys.stdout.write(f"{peer}: {median:.4f} s a step, {16 * 256 / median:,.0f} tokens/s\n")
    sys.stdout.write(
        f"speed: ours / trainer {medians['trainer'] / medians['ours']:.3f}, ours / bare "
        f"{medians['bare'] / medians['ours']:.3f}; own overhead "
        f"{1000 * (medians['ours'] - medians['bare']):.1f} ms a step\n"
    )


if __name__ == "__main__":
    main()
