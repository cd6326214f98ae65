"""One training run of the same model and rows by Puna, a bare loop or Hugging Face Trainer.

    python tests/benchmarks/training_peers.py ours|bare|trainer FOLDER BINS.json SETTINGS.json

Prints JSON: seconds of each step after the first (which warms up), and peak memory. A process of
its own, so that peak memory is that of one peer. Used by `bench_training.py` (CPU) and
`gpu_training.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tasks.training.loop import Phase
from tests.tasks.training.references import _Rows, drawn_rows
from tests.tasks.training.toys import parameters, spec


class Settings:
    """What all peers share: rows a step and micro-batch, steps, precision, device, threads."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.length: int = values["length"]
        self.rows: int = values["rows"]
        self.micro: int = values["micro"]
        self.steps: int = values["steps"]
        self.threads: int = values["threads"]
        self.precision: str = values.get("precision", "fp32")
        self.device = torch.device(values.get("device", "cpu"))
        self.others: dict[str, Any] = values.get("others", {})

    def parameters(self) -> Any:
        """Our parameters."""
        return parameters(
            tokens=f"{self.rows * (self.steps + 1)} rows", batch=self.rows * self.length,
            sequence_length=self.length, micro_batch=self.micro, guard={"spike": 0},
            max_epochs=10**6, precision=self.precision, optimizer={"lr": 1e-4}, **self.others,
        )  # fmt: skip


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ours(folder: Path, bins: Any, settings: Settings) -> list[float]:
    """Seconds of each step by `Phase`."""
    seconds = []
    with tempfile.TemporaryDirectory() as temporary:
        phase = Phase(
            spec(Path(temporary), folder, bins, settings.parameters(), cpu_threads=settings.threads)
        )
        for planned in phase.plan.steps():
            began = time.perf_counter()
            phase.step(planned)
            _finished(settings.device)
            seconds.append(time.perf_counter() - began)
    return seconds


def _model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    )


def _optimizer(model: Any) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )


def bare(folder: Path, bins: Any, settings: Settings) -> list[float]:
    """Seconds of each step of the plainest loop; whole logits, batches in memory."""
    torch.use_deterministic_algorithms(True)
    model = _model(folder).to(settings.device).train()
    optimizer = _optimizer(model)
    _, steps = drawn_rows(settings.parameters(), bins)
    narrow = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(settings.precision)
    seconds = []
    for tensors in steps:
        began = time.perf_counter()
        ids, targets, positions = (tensor.to(settings.device) for tensor in tensors)
        valid = int((targets != -100).sum())
        optimizer.zero_grad()
        for at in range(0, len(ids), settings.micro):
            part = slice(at, at + settings.micro)
            with torch.autocast(settings.device.type, dtype=narrow, enabled=narrow is not None):
                logits = model(
                    input_ids=ids[part], position_ids=positions[part], use_cache=False
                ).logits
                loss = functional.cross_entropy(
                    logits.flatten(0, 1), targets[part].flatten(), reduction="sum"
                )
            (loss / valid).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _finished(settings.device)
        seconds.append(time.perf_counter() - began)
    return seconds


class _Clock(TrainerCallback):
    def __init__(self, device: torch.device) -> None:
        self.seconds: list[float] = []
        self._device = device
        self._began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        _finished(self._device)
        self.seconds.append(time.perf_counter() - self._began)


def trainer(folder: Path, bins: Any, settings: Settings) -> list[float]:
    """Seconds of each step by Hugging Face Trainer, as it reports a step's begin and end."""
    torch.use_deterministic_algorithms(True)
    model = _model(folder)
    model.config.use_cache = False
    _, steps = drawn_rows(settings.parameters(), bins)
    clock = _Clock(settings.device)
    with tempfile.TemporaryDirectory() as temporary:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=temporary, per_device_train_batch_size=settings.micro,
                gradient_accumulation_steps=settings.rows // settings.micro, max_steps=len(steps),
                max_grad_norm=1.0, save_strategy="no", report_to=[], disable_tqdm=True,
                use_cpu=settings.device.type == "cpu", logging_strategy="no",
                bf16=settings.precision == "bf16", fp16=settings.precision == "fp16",
                remove_unused_columns=False, learning_rate=1e-4, optim="adamw_torch_fused",
                adam_beta2=0.95, weight_decay=0.1, lr_scheduler_type="constant",
            ),
            train_dataset=_Rows(steps),
            callbacks=[clock],
        ).train()  # fmt: skip
    return clock.seconds


PEERS: dict[str, Callable[[Path, Any, Settings], list[float]]] = {
    "ours": ours,
    "bare": bare,
    "trainer": trainer,
}


def main() -> None:
    """Run one peer and print its figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    for name in ("folder", "bins", "settings"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    settings = Settings(json.loads(given.settings.read_text()))
    torch.set_num_threads(settings.threads)
    seconds = PEERS[given.peer](given.folder, json.loads(given.bins.read_text()), settings)
    if settings.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated()
    else:
        memory = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write("\n" + json.dumps({"seconds": seconds[1:], "memory": memory}) + "\n")


if __name__ == "__main__":
    main()
