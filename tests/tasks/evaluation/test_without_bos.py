"""A tokenizer with neither bos nor eos token: used as it is; what needs one is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.remote.access import Access
from infra.stage import Pin, StageError
from tasks.benchmarks.model import Benchmark
from tasks.evaluation import likelihood
from tasks.evaluation.check import faults
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.generate import Prompt, generate
from tasks.evaluation.harness_model import harness_model
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import EvaluationParameters, LongText

PROMPTS = ["Question: the other", "Which of these! is the", "A"]


@pytest.fixture(scope="module")
def bare(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, its tokenizer without special tokens (a padding token neither)."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("bare") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(str(folder))
    config = json.loads((folder / "config.json").read_text())
    config |= {"bos_token_id": None, "eos_token_id": None}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").unlink()
    return folder


@pytest.fixture(scope="module")
def model(bare: Path) -> LoadedModel:
    found = load(bare, dtype="auto", device="cpu", max_length=None)
    assert not found.has_bos and found.tokenizer.pad_token is None
    return found


def instances(kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, given, number) for number, given in enumerate(arguments)]


def test_the_harness_s_own_tasks_are_scored(model: LoadedModel) -> None:
    theirs = harness_model(model, 3)
    asked = [(prompt, f" {answer}") for prompt in PROMPTS for answer in ("one", "the other!")]
    found = [score for score, _ in theirs.loglikelihood(instances("loglikelihood", *asked))]
    pairs = [likelihood.encode_pairs(model, [prompt], [answer]) for prompt, answer in asked]
    ours = likelihood.log_likelihoods(pairs, [""] * len(pairs), model, 4)
    assert found == pytest.approx([score for (score,) in ours], abs=1e-4)

    settings = {"until": [" the"], "max_gen_toks": 12, "do_sample": False}
    written = theirs.generate_until(
        instances("generate_until", *((prompt, dict(settings)) for prompt in PROMPTS))
    )
    ids = [Prompt(tuple(model.encode_prompt(prompt))) for prompt in PROMPTS]
    generation = Benchmark(
        format="gsm8k",
        paths=("q",),
        generation={"until": [" the"], "tokens": 12, "extract": "number"},
    ).resolved_generation()
    assert written == generate(ids, generation, model, 2)
    assert any(written) and model.tokenizer.pad_token is None


def test_what_has_nothing_before_it_is_refused_in_words(model: LoadedModel) -> None:
    theirs = harness_model(model, 3)
    with pytest.raises(StageError, match="neither a bos nor an eos token"):
        theirs.loglikelihood(instances("loglikelihood", ("", "the other")))
    with pytest.raises(StageError, match="neither a bos nor an eos token"):
        theirs.loglikelihood_rolling(instances("loglikelihood_rolling", ("the other",)))


NEEDS = {
    "bits per byte": {"protocols": ("bits-per-byte",)},
    "long text": {"long_text": LongText()},
    "b: bos is always": {"benchmarks": {"b": ("always",)}},
}


@pytest.mark.parametrize("what", NEEDS)
def test_what_needs_one_is_refused_before_the_model_is_read(
    what: str, bare: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "no weights"
    shutil.copytree(bare, folder)
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"question": "a", "choices": ["b", "c"], "answer": 0}))
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"target": "rain and no river"}))
    given = dict(NEEDS[what])
    files = {}
    if "benchmarks" in given:
        benchmark = Benchmark(format="multiple-choice", paths=(str(questions),), bos="always")
        given["benchmarks"], files = {"b": benchmark}, {"b": [str(questions)]}
    parameters = EvaluationParameters(model=str(folder), **given)
    pins = {
        "model": tuple(Pin(str(p), p.name, "", p.stat().st_size) for p in folder.iterdir()),
        "benchmarks.b.paths": tuple(Pin(path, "q.jsonl", "", 9) for path in files.get("b", ())),
    }
    told = list(faults(parameters, pins, Access(tmp_path / "cache")))
    assert [fault.certain for fault in told] == [True]
    assert what in told[0].what and "neither a bos nor an eos token" in told[0].what
    (folder / "model.safetensors").write_bytes(b"broken")
    dumped = parameters.model_dump(mode="json")
    spec = Spec(str(folder), dumped, files, {}, {"c": [str(held)]}, str(tmp_path / "out"), 1)
    with pytest.raises(StageError, match=what):
        evaluate(spec, lambda done, total: None)
