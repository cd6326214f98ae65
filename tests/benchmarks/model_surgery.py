"""Memory and time of model surgery: an 8B-shaped checkpoint grown by 30,000 tokens and cut to 24 of
32 layers.

Run: python -m tests.benchmarks.model_surgery FOLDER [--shape 8b|small] [--steps
time,kill,importance]. FOLDER needs 45 GB for 8b and is emptied of what a step no longer needs, but
for the base, which later runs take as it is; delete it afterwards. Steps:

    time        the stage in a process of its own, its peak memory, and the ceiling: cp of the files
                it wrote, flushed to disk, and sha256 of them as the store takes it. Both begin with
                nothing of what they read in memory
    kill        the stage again, ended by SIGKILL when half of its files are there, then run to its
                end; same bytes
    importance  how much each layer of the base matters by --measure on --tokens tokens; seconds,
                peak memory

The base is a random bfloat16 checkpoint in 4 files with a tokenizer of as many tokens.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from infra.context import Context
from infra.io.files import sha256_file
from infra.stage import Outcome, Parameters, Pin, Stage
from infra.store.attempt import Shard
from tasks.checkpoints.fast_tokenizers import byte_alphabet
from tasks.checkpoints.llama_config import llama_config
from tasks.checkpoints.text_files import write_json
from tasks.checkpoints.weights import INDEX
from tasks.model.checkpoint import expected_shapes
from tasks.model.importance import SAMPLE_TEXTS, SAMPLE_TOKENS, rank_layers, sample
from tasks.model.mass import SAMPLE
from tasks.model.safetensors_file import OutgoingTensor, Write, write_file
from tasks.model.stage import STAGE, Measure, ModelParameters
from tests.stage_harness import run_stage

FILES = 4


@dataclass(frozen=True)
class Shape:
    """A base, how many tokens it gets, and how many layers stay."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    new_tokens: int
    kept: int
    max_file_bytes: int


SHAPES = {
    "8b": Shape(4096, 14336, 32, 32, 8, 128_256, 30_000, 24, 5_000_000_000),
    "small": Shape(256, 896, 8, 4, 2, 8_000, 2_000, 6, 2_000_000),
}


def write_base(folder: Path, shape: Shape) -> None:
    """A checkpoint whose matrices are one block of normal values, each beginning elsewhere in
    it.
    """
    folder.mkdir(parents=True)
    config = llama_config(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        dtype="bfloat16",
    )
    write_json(folder / "config.json", config)
    block = (
        torch.randn((1 << 23) + 1, generator=torch.Generator().manual_seed(1)) * 0.02
    ).bfloat16()
    noise = memoryview(
        block.view(torch.uint8).numpy()
    )  # of odd length in elements, so that rows do not repeat
    shapes = expected_shapes(folder, config) or {}
    names = sorted(shapes)
    weights = {}
    for number in range(FILES):
        file = f"model-{number + 1:05d}-of-{FILES:05d}.safetensors"
        own = names[number * len(names) // FILES : (number + 1) * len(names) // FILES]
        write_file(
            folder / file, [_random(name, shapes[name], noise, names.index(name)) for name in own]
        )
        weights |= dict.fromkeys(own, file)
    write_json(folder / INDEX, {"metadata": {}, "weight_map": weights})
    _write_tokenizer(folder, shape.vocabulary)


def _random(name: str, dims: tuple[int, ...], noise: memoryview, number: int) -> OutgoingTensor:
    size = 2 * torch.Size(dims).numel()

    def fill(write: Write) -> None:
        if len(dims) == 1:
            write(memoryview(torch.ones(dims, dtype=torch.bfloat16).view(torch.uint8).numpy()))
            return
        at, left = 2 * 4099 * number % len(noise), size
        while left:
            part = noise[at : at + left]
            write(part)
            at, left = 0, left - len(part)

    return OutgoingTensor(name, "BF16", dims, size, fill)


def _write_tokenizer(folder: Path, size: int) -> None:
    """Bytes, the words of the sample that the new rows' probability is measured on, and made-up
    words.
    """
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [*byte_alphabet(), *(word for word, _ in cut.pre_tokenize_str(SAMPLE))]
    vocabulary = {word: at for at, word in enumerate(dict.fromkeys(["<s>", "</s>", *words]))}
    vocabulary |= {f"word{at}": at for at in range(len(vocabulary), size)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
    tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    write_json(folder / "tokenizer_config.json", settings)


class GrownParameters(Parameters):
    """Tokens of the base, and new ones."""

    old: int
    new: int


GROWN = Stage(
    "tokenizer",
    1,
    GrownParameters,
    "tests.benchmarks.model_surgery:write_grown",
    "a grown tokenizer",
)


def write_grown(context: Context) -> Outcome:
    """Stage function of `GROWN`."""
    context.map(_write_grown, {"tokenizer": context.parameters}, here=True)
    return Outcome()


def _write_grown(parameters: GrownParameters, shard: Shard) -> dict[str, Any]:
    old = parameters.old
    rows = [
        {
            "id": old + n,
            "token": "",
            "text": "",
            "base_ids": [(n * 7919 + at * 104_729) % old for at in range(1 + n % 5)],
        }
        for n in range(parameters.new)
    ]
    scratch = Path(os.environ["PUNA_BENCHMARK_FOLDER"]) / "tokenizer"
    scratch.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(scratch, old + parameters.new)
    shard.publish(scratch, "tokenizer")
    with shard.create("new_tokens.json") as path:
        path.write_text(json.dumps(rows))
    return {}


def operate(folder: Path, shape: Shape, store: str) -> None:
    """The stage in this process; prints what the kernel says of its memory."""
    tokenizer = run_stage(
        GROWN, GrownParameters(old=shape.vocabulary, new=shape.new_tokens), tmp_path=folder / store
    )
    base = folder / "base"
    # Pins without digests: resolving a recipe reads the base, surgery need not.
    pins = {
        "base": tuple(
            Pin(str(path), path.name, "", path.stat().st_size) for path in sorted(base.iterdir())
        )
    }
    parameters = ModelParameters(
        base=str(base),
        layers={"ends": shape.kept},
        pad_to_multiple_of=128,
        max_file_bytes=shape.max_file_bytes,
    )
    before = peak_memory()
    started, processor = time.time(), time.process_time()
    made = run_stage(
        STAGE, parameters, {"tokenizer": tokenizer}, tmp_path=folder / store, pins=pins
    )
    checkpoint = made.folder("checkpoint")
    report = {
        "seconds": time.time() - started,
        "seconds_processor": time.process_time() - processor,
        "seconds_to_the_last_weight": max(
            p.stat().st_mtime for p in checkpoint.glob("*.safetensors")
        )
        - started,
        "peak_bytes": peak_memory(),
        "peak_bytes_of_imports_and_tokenizers": before,
        "bytes": made.statistics["bytes"],
        "files": made.statistics["files"],
        "mass": made.statistics["probability_before_training"],
        "digest": made.digest,
        "checkpoint": str(checkpoint),
    }
    (folder / f"{store}.json").write_text(json.dumps(report))


def peak_memory() -> int:
    """VmHWM of this process in bytes: file pages it mapped count too."""
    return _status("self", "VmHWM")


def _status(pid: int | str, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), 0)


def run(
    folder: Path, arguments: argparse.Namespace, store: str, kill_at: int | None = None
) -> dict[str, Any]:
    """The stage in a process of its own; with `kill_at`, killed when so many weight files are
    published.
    """
    process = _inside(folder, arguments, store)
    anonymous = weights = 0
    while process.poll() is None:
        anonymous = max(anonymous, _status(process.pid, "RssAnon"))
        if not weights and any((folder / store).glob(f"store/model/**/{INDEX}")):
            weights = _status(process.pid, "VmHWM")
        there = list((folder / store).glob("store/model/**/checkpoint/model*.safetensors"))
        if kill_at is not None and len(there) >= kill_at:
            partial = list((folder / store).glob("store/model/**/checkpoint/.*.partial"))
            if partial and partial[0].stat().st_size:
                process.send_signal(signal.SIGKILL)
                process.wait()
                return {
                    "files_at_kill": len(there),
                    "files": {path.name: path.stat().st_mtime for path in there},
                }
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"the stage failed with {process.returncode}")
    report: dict[str, Any] = json.loads((folder / f"{store}.json").read_text())
    return report | {"peak_anonymous_bytes": anonymous, "peak_bytes_until_the_last_weight": weights}


def _inside(folder: Path, arguments: argparse.Namespace, work: str) -> subprocess.Popen[bytes]:
    """This module again with --inside, so that its memory is its own."""
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.model_surgery",
        str(folder),
        "--shape",
        arguments.shape,
    ]
    command += ["--measure", arguments.measure, "--tokens", str(arguments.tokens), "--inside", work]
    environment = os.environ | {"PUNA_BENCHMARK_FOLDER": str(folder), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(command, env=environment)


def forget(files: Iterable[Path]) -> int:
    """Drop the kernel's cached pages of files (flushed first); their size in bytes."""
    size = 0
    for path in files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size += path.stat().st_size
    return size


def copy(folder: Path) -> dict[str, float]:
    """Seconds of cp and flush, and of sha256, for the files that the stage wrote."""
    source = Path(json.loads((folder / "run.json").read_text())["checkpoint"])
    files = sorted(source.glob("*.safetensors"))
    forget(files)
    target = folder / "copy"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    started = time.time()
    for path in files:
        subprocess.run(["cp", str(path), str(target)], check=True)
        subprocess.run(["sync", str(target / path.name)], check=True)
    copied = time.time() - started
    started = time.time()
    for path in sorted(target.iterdir()):
        sha256_file(path)
    hashed = time.time() - started
    shutil.rmtree(target)
    return {"cp_seconds": copied, "sha256_seconds": hashed}


def timed(folder: Path, arguments: argparse.Namespace) -> None:
    """Step `time`."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    read = forget((folder / "base").glob("*.safetensors"))
    made = run(folder, arguments, "run")
    ceiling = copy(folder)
    whole, weights = made["seconds"], made["seconds_to_the_last_weight"]
    print(json.dumps(made | ceiling, indent=1))
    print(
        f"base of {read / 1e9:.1f} GB, {made['bytes'] / 1e9:.1f} GB written in {made['files']} "
        "files"
    )
    print(
        f"ours     {weights:6.1f} s until the last weight file is flushed and hashed, {whole:.1f} "
        "s the whole stage"
    )
    print(
        f"         {made['peak_bytes'] / 1e9:6.2f} GB VmHWM, "
        f"{made['peak_anonymous_bytes'] / 1e9:.2f} GB anonymous"
    )
    total = sum(ceiling.values())
    print(
        f"ceiling  {total:6.1f} s: cp {ceiling['cp_seconds']:.1f} s, sha256 "
        f"{ceiling['sha256_seconds']:.1f} s"
    )
    print(
        f"ratio    {weights / total:6.2f} (weights), {whole / total:.2f} (whole stage)", flush=True
    )


def killed(folder: Path, arguments: argparse.Namespace) -> None:
    """Step `kill`; wants what step `time` left."""
    whole = json.loads((folder / "run.json").read_text())
    shutil.rmtree(folder / "run", ignore_errors=True)
    shutil.rmtree(folder / "killed", ignore_errors=True)
    first = run(folder, arguments, "killed", kill_at=max(1, whole["files"] // 2))
    if "files_at_kill" not in first:
        raise SystemExit("the stage ended before it could be killed; take a larger --shape")
    again = run(folder, arguments, "killed")
    kept = Path(again["checkpoint"])
    same = all((kept / name).stat().st_mtime == at for name, at in first["files"].items())
    print(
        f"kill: {first['files_at_kill']} of {whole['files']} files were there and "
        f"{'were kept' if same else 'WERE WRITTEN AGAIN'}; rerun {again['seconds']:.0f} s; digest "
        f"{'equal' if again['digest'] == whole['digest'] else 'DIFFERENT'}"
    )
    shutil.rmtree(folder / "killed", ignore_errors=True)


def importance(folder: Path, arguments: argparse.Namespace) -> None:
    """Step `importance`, in this process; prints what the kernel says of its memory."""
    words, base = SAMPLE.split(), folder / "base"
    draw = random.Random(1)
    texts = []
    for low in range(0, arguments.tokens, SAMPLE_TOKENS):
        size = min(SAMPLE_TOKENS, arguments.tokens - low)
        texts.append(" " + " ".join(draw.choice(words) for _ in range(size)))
    read = forget(base.glob("*.safetensors"))
    before, started, processor = peak_memory(), time.time(), time.process_time()
    scores = rank_layers(base, texts, arguments.measure)
    seconds, of_processors, peak = (
        time.time() - started,
        time.process_time() - processor,
        peak_memory(),
    )
    tokens = sum(map(len, sample(base, texts)))
    print(f"{arguments.measure} of {len(scores)} layers ({read / 1e9:.1f} GB) on {tokens:,} tokens")
    print(" ".join(f"{score:.3g}" for score in scores))
    print(
        f"{seconds:.0f} s ({of_processors:.0f} s of processors, {torch.get_num_threads()} "
        f"threads), {peak / 1e9:.2f} GB VmHWM ({before / 1e9:.2f} GB before)",
        flush=True,
    )


def main() -> None:
    """See the module docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--steps", default="time,kill")
    parser.add_argument(
        "--measure", choices=get_args(Measure), default="block-influence", help="of step importance"
    )
    parser.add_argument(
        "--tokens", type=int, default=SAMPLE_TEXTS * SAMPLE_TOKENS, help="of step importance"
    )
    parser.add_argument("--inside", metavar="WORK", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder, shape = arguments.folder.resolve(), SHAPES[arguments.shape]
    if arguments.inside == "importance":
        importance(folder, arguments)
        return
    if arguments.inside:
        operate(folder, shape, arguments.inside)
        return
    if not (folder / "base").is_dir():
        write_base(folder / "base", shape)
    for step in arguments.steps.split(","):
        if step == "time":
            timed(folder, arguments)
        elif step == "kill":
            killed(folder, arguments)
        elif step == "importance" and (status := _inside(folder, arguments, "importance").wait()):
            raise SystemExit(f"it failed with {status}")
        elif step != "importance":
            raise SystemExit(f"there is no step {step!r}; steps are time, kill and importance")


if __name__ == "__main__":
    main()
