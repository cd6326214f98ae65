"""A phase of a recipe as axolotl's configuration and data, for people who train there.

What axolotl has no word for is refused (a ramp, new rows alone), or said in a note where the run is
the same in kind (shares of a mixture). Keys are those of axolotl's schema of July 2026.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.stage import StageError

CONFIG = "axolotl.yaml"
_OPTIMIZERS = {
    "adamw": "adamw_torch_fused",
    "adamw-8bit": "adamw_8bit",
    "paged-adamw": "paged_adamw_32bit",
    "paged-adamw-8bit": "paged_adamw_8bit",
}
_LONGEST = 64
"""axolotl reads a document up to so many rows, and drops the rest of its text."""


@dataclass(frozen=True)
class Configuration:
    """axolotl's keys in the order in which a reader looks for them, and what differs there."""

    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def configuration(
    phase: Mapping[str, Any], *, packing: str, held_out: bool, has_sources: bool
) -> Configuration:
    """The configuration of a phase.

    Args:
        phase: parameters of its training node, as JSON.
        packing: how the recipe's binning fills rows.
        held_out: whether there is text to evaluate on.
        has_sources: whether documents have a part that is not learnt.

    Raises:
        StageError: axolotl cannot do what the phase states.
    """
    _refuse_unknown(phase)
    length, devices = int(phase["sequence_length"]), phase["devices"]["ranks"]
    rows = max(1, round(_tokens(phase["batch"], length) / length))
    ranks = devices if isinstance(devices, int) else 1
    micro = min(int(phase["micro_batch"]), max(1, rows // ranks))
    optimizer, schedule = phase["optimizer"], phase["schedule"]
    kind = {"type": "input_output"} if has_sources else {"type": "completion", "field": "text"}
    values: dict[str, Any] = {
        "base_model": "./model",
        "datasets": [{"path": "./data/train", "ds_type": "json", **kind}],
    }
    if held_out:
        values["test_datasets"] = [
            {"path": "./data/heldout", "ds_type": "json", "split": "train", **kind}
        ]
    values |= {
        "dataset_prepared_path": "./prepared",
        "output_dir": "./output",
        "sequence_len": length,
        "sample_packing": packing != "document",
        "pad_to_sequence_len": packing != "document",
        **_adapter(phase.get("adapter")),
        "micro_batch_size": micro,
        "gradient_accumulation_steps": max(1, math.ceil(rows / (micro * ranks))),
        **_length(phase["tokens"], rows * length, length),
        "optimizer": _OPTIMIZERS[optimizer["name"]],
        "learning_rate": optimizer["lr"],
        "adam_beta1": optimizer["betas"][0],
        "adam_beta2": optimizer["betas"][1],
        "adam_epsilon": optimizer["eps"],
        "weight_decay": optimizer["weight_decay"],
        "max_grad_norm": optimizer["gradient_clip"],
        **_schedule(schedule, rows * length, length),
        "bf16": phase["precision"] == "bf16",
        "fp16": phase["precision"] == "fp16",
        "gradient_checkpointing": phase["recompute"] != "none",
        "seed": phase["seed"],
    }
    if phase["trainable"] == "embeddings":
        values["unfrozen_parameters"] = ["^model.embed_tokens.weight$", "^lm_head.weight$"]
    if phase["precision"] != "fp32" and phase["document_mask"] and packing != "document":
        values["attn_implementation"] = "flash_attention_2"  # masks documents of a packed row
    return Configuration(values, [*_notes(phase, packing, rows, micro * ranks, has_sources)])


def _refuse_unknown(phase: Mapping[str, Any]) -> None:
    mixture = phase["mixture"]
    obstacles = [
        (isinstance(phase["batch"], dict), "a batch that ramps (state one size)"),
        (
            isinstance(mixture, dict) and any("from" in _map(share) for share in mixture.values()),
            "shares that ramp (state constant ones, or train the phase here)",
        ),
        (phase["trainable"] == "new-rows", "trainable: new-rows (embeddings trains all rows)"),
        (bool(phase.get("context")), "a phase's own context (state it under model.context)"),
        (phase["schedule"]["kind"] == "wsd", "schedule.kind: wsd (cosine, linear or constant)"),
        (phase["precision"] == "fp64", "precision: fp64 (fp32, bf16 or fp16)"),
    ]
    if reasons := [text for applies, text in obstacles if applies]:
        raise StageError(f"axolotl has no {'; no '.join(reasons)}")


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tokens(duration: Any, length: int) -> float:
    """Tokens of a batch or warm-up in tokens or rows."""
    amount, _, unit = str(duration).partition(" ")
    return float(amount) * (length if unit == "rows" else 1)


def _length(tokens: Any, batch: int, length: int) -> dict[str, Any]:
    if tokens is None:
        return {"num_epochs": 1}
    amount, _, unit = str(tokens).partition(" ")
    if unit == "epochs":
        return {"num_epochs": float(amount) if float(amount) % 1 else int(float(amount))}
    if unit == "steps":
        return {"max_steps": int(amount)}
    return {"max_steps": math.ceil(_tokens(tokens, length) / batch)}


def _schedule(schedule: Mapping[str, Any], batch: int, length: int) -> dict[str, Any]:
    kind, final = schedule["kind"], schedule["final_ratio"]
    found: dict[str, Any] = {"lr_scheduler": "constant_with_warmup" if kind == "constant" else kind}
    if kind == "cosine":
        found["cosine_min_lr_ratio"] = final
    warmup = schedule["warmup"]
    if isinstance(warmup, Mapping):
        return {**found, "warmup_ratio": warmup["ratio"]}
    amount, _, unit = str(warmup).partition(" ")
    steps = int(amount) if unit == "steps" else round(_tokens(warmup, length) / batch)
    return {**found, "warmup_steps": steps}


def _adapter(adapter: Mapping[str, Any] | None) -> dict[str, Any]:
    if adapter is None:
        return {}
    targets = adapter["targets"]
    found: dict[str, Any] = {
        "adapter": adapter["kind"],
        "load_in_4bit": adapter["kind"] == "qlora",
        "lora_r": adapter["r"],
        "lora_alpha": adapter["alpha"],
        "lora_dropout": adapter["dropout"],
    }
    if targets == "all-linear":
        found["lora_target_linear"] = True
    else:
        found["lora_target_modules"] = list(targets)
    if adapter["embeddings"] == "full":
        found["lora_modules_to_save"] = ["embed_tokens", "lm_head"]
    if adapter["dora"]:
        found["peft_use_dora"] = True
    if adapter["rslora"]:
        found["peft_use_rslora"] = True
    return found


def _notes(
    phase: Mapping[str, Any], packing: str, rows: int, at_once: int, has_sources: bool
) -> Iterator[str]:
    yield (
        f"A step has {rows} rows here. gradient_accumulation_steps is for "
        f"{at_once} rows at once; divide it by the number of GPUs."
    )
    yield f"Text of a document beyond {_LONGEST} rows is dropped there; here it is not."
    if isinstance(phase["mixture"], Mapping) and len(phase["mixture"]) > 1:
        shares = ", ".join(f"{name} {share}" for name, share in phase["mixture"].items())
        yield f"The mixture ({shares}) has no counterpart: documents are drawn as they are many."
    elif not isinstance(phase["mixture"], Mapping):
        yield "Buckets have no counterpart: documents are shuffled."
    final = phase["schedule"]["final_ratio"]
    if phase["schedule"]["kind"] == "linear" and final:
        yield f"The linear schedule ends at 0, not at {final} of the peak."
    if packing != "document" and phase["precision"] == "fp32":
        yield "Documents of a packed row see each other, unless flash attention runs (bf16, fp16)."
    if has_sources:
        yield "Parts that are not learnt are tokenized apart from those that are."
    adapter = phase.get("adapter")
    if adapter is None or adapter["kind"] != "qlora":
        yield "Weights are updated in the precision that they are loaded in; here in fp32."


def write(folder: Path, made: Configuration) -> None:
    """Write the configuration with its notes to `folder`."""
    import yaml

    notes = "".join(f"# - {note}\n" for note in made.notes)
    text = yaml.safe_dump(made.values, sort_keys=False, allow_unicode=True)
    (folder / CONFIG).write_text(
        f"# Written by puna export. Train: axolotl train {CONFIG}\n# What differs from puna:\n"
        f"{notes}{text}",
        encoding="utf-8",
    )


def write_documents(
    files: Sequence[Path], target: Path, *, segments: tuple[str, str] | None = None
) -> int:
    """Write documents of select's files as axolotl reads them; returns how many.

    Args:
        segments: BOS and EOS of the tokenizer, where a document is written as its parts, of which
            axolotl learns those with a label; None: as one text, to which axolotl adds them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with target.open("w", encoding="utf-8") as out:
        for file in files:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    source, text = row.get("source") or "", row["target"]
                    made: dict[str, Any] = {"text": source + text}
                    if segments is not None:
                        bos, eos = segments
                        parts = [(False, bos + source), (True, text + eos)]
                        made = {"segments": [{"label": one, "text": part} for one, part in parts]}
                    out.write(json.dumps(made, ensure_ascii=False) + "\n")
                    count += 1
    return count
