"""Item by item, likelihoods, choices and generated answers equal lm-evaluation-harness's own.

Its own task configurations read rows in the hub's layout, and its own model class answers them; we
read the same rows from files. Rows are long and short, share worked examples, and some are longer
than the context.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.benchmarks.model import Benchmark, Format
from tasks.benchmarks.styles import Generation
from tasks.evaluation import exact_match, likelihood
from tasks.evaluation.forward import Request, logits_of
from tasks.evaluation.items import questions
from tasks.evaluation.model import LoadedModel, load
from tests.tasks.benchmarks.test_harness_prompts import harness_task

Row = dict[str, Any]

WORDS = ["the", "miller", "waits", "for", "rain", "and", "no", "river", "rises", "at", "noon"]


def words(number: int, count: int) -> str:
    return " ".join(WORDS[(number * 7 + 2 * index) % len(WORDS)] for index in range(count))


def choices(number: int, count: int = 4) -> list[str]:
    """Choices of several lengths, of which two begin alike."""
    return [
        f"{words(number, 2)} {words(number + choice, choice)}".strip() for choice in range(count)
    ]


ROWS: dict[str, tuple[Format, str, list[Row]]] = {
    "hellaswag": (
        "hellaswag",
        "hellaswag/hellaswag.yaml",
        [
            {
                "activity_label": "Milling [header]",
                "ctx_a": words(n, 9),
                "ctx_b": words(n + 1, 4),
                "endings": [f"{c} [title] {c}" for c in choices(n)],
                "label": str(n % 4),
            }
            for n in range(9)
        ],
    ),
    "winogrande": (
        "winogrande",
        "winogrande/default.yaml",
        [
            {
                "sentence": f"{words(n, 5)} so _ was {words(n, 3 + n)}.",
                "option1": "Ann",
                "option2": "the old miller",
                "answer": str(1 + n % 2),
            }
            for n in range(9)
        ],
    ),
    "mmlu": (
        "mmlu",
        "mmlu/default/mmlu_anatomy.yaml",
        [
            {"question": words(n, 12), "choices": choices(n), "answer": n % 4, "subject": "anatomy"}
            for n in range(9)
        ],
    ),
    "siqa": (
        "siqa",
        "siqa/siqa.yaml",
        [
            {
                "context": words(n, 6),
                "question": "Why?",
                **{f"answer{letter}": c for letter, c in zip("ABC", choices(n, 3), strict=True)},
                "label": str(1 + n % 3),
            }
            for n in range(9)
        ],
    ),
    "truthfulqa-mc1": (
        "truthfulqa-mc1",
        "truthfulqa/truthfulqa_mc1.yaml",
        [
            {
                "question": words(n, 8),
                "mc1_targets": {"choices": choices(n), "labels": [1, 0, 0, 0]},
            }
            for n in range(7)
        ],
    ),
    "truthfulqa-mc2": (
        "truthfulqa-mc2",
        "truthfulqa/truthfulqa_mc2.yaml",
        [
            {
                "question": words(n, 8),
                "mc2_targets": {"choices": choices(n), "labels": [1, 1, 0, 0]},
            }
            for n in range(7)
        ],
    ),
    "piqa": (
        "piqa",
        "piqa/piqa.yaml",
        [
            {
                "goal": words(n, 4 + 30 * (n % 5)),
                "sol1": words(n, 30),
                "sol2": words(n + 2, 3),
                "label": n % 2,
            }
            for n in range(9)
        ],
    ),
}


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


@pytest.fixture(scope="module")
def wide(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with a context into which TruthfulQA's prompts fit."""
    folder = tmp_path_factory.mktemp("wide") / "checkpoint"
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 2048}))
    return folder


def harness_model(folder: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(folder), device="cpu", batch_size=5)


@pytest.fixture(scope="module")
def theirs(checkpoint: Path) -> Any:
    return harness_model(checkpoint)


def file_of(rows: list[Row], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


CASES = [(name, shots) for name in ROWS for shots in (0, 2) if not (shots and "truthful" in name)]


@pytest.mark.parametrize(("name", "shots"), CASES)
def test_likelihoods_and_choices_are_those_of_the_harness(
    name: str, shots: int, model: LoadedModel, theirs: Any, wide: Path, tmp_path: Path
) -> None:
    format, config, rows = ROWS[name]
    if "truthful" in name:
        model = load(wide, dtype="auto", device="cpu", max_length=None)
        theirs = harness_model(wide)
    asked, dev = rows[2:], rows[:2]
    task = harness_task(config, asked, dev, num_fewshot=shots, description="")
    expected = []
    for doc in task.test_docs():
        requests = task.construct_requests(doc, task.fewshot_context(doc, shots))
        requests = [request for request in requests if request.request_type == "loglikelihood"]
        answers = theirs.loglikelihood(requests, disable_tqdm=True)
        expected.append((answers, task.process_results(doc, answers)))
    paths = file_of(asked, tmp_path / "q.jsonl"), file_of(dev, tmp_path / "dev.jsonl")
    benchmark = Benchmark(format=format, paths=("q",), dev=("dev",), shots=shots)
    style = benchmark.resolved_style()
    given = questions("b", benchmark, style, [paths[0]], [paths[1]], shots=shots, limit=None)
    rows_, samples, _ = likelihood.score(
        "b", given, style.delimiter, model, 3, mass=format == "truthfulqa-mc2"
    )
    assert len(samples) == len(expected)
    for sample, (answers, metrics) in zip(samples, expected, strict=True):
        assert sample["loglikelihoods"] == pytest.approx([ll for ll, _ in answers], abs=1e-4)
        if "mass" in sample:
            assert sample["mass"] == pytest.approx(float(metrics["acc"]), abs=1e-4)
        else:
            assert sample["correct"] == bool(metrics["acc"])
            if "acc_norm" in metrics:
                assert sample["correct_norm"] == bool(metrics["acc_norm"])
    if name == "piqa" and shots:
        assert rows_["b"]["cut"] > 0, "prompts longer than the context are compared too"


@pytest.mark.parametrize("shots", [0, 2])
def test_generated_answers_are_those_of_the_harness(
    shots: int, model: LoadedModel, theirs: Any, tmp_path: Path
) -> None:
    rows = [{"question": words(n, 3 + 2 * n), "answer": f"So {n} #### {n}"} for n in range(8)]
    asked, dev = rows[2:], rows[:2]
    until = [" r", "\n", "qq"]
    kwargs = {"until": until, "do_sample": False, "max_gen_toks": 40}
    task = harness_task("gsm8k/gsm8k.yaml", asked, dev, num_fewshot=shots, generation_kwargs=kwargs)
    expected = []
    for doc in task.test_docs():
        request = task.construct_requests(doc, task.fewshot_context(doc, shots))
        expected += theirs.generate_until([request], disable_tqdm=True)
    benchmark = Benchmark(
        format="gsm8k",
        paths=("q",),
        dev=("dev",),
        shots=shots,
        generation=Generation(until=tuple(until), tokens=40, extract="number"),
    )
    paths = file_of(asked, tmp_path / "q.jsonl"), file_of(dev, tmp_path / "dev.jsonl")
    style = benchmark.generation_style()
    given = questions(
        "b", benchmark, style, [paths[0]], [paths[1]], shots=shots, limit=None, generated=True
    )
    _, samples, _ = exact_match.score("b", given, benchmark.resolved_generation(), model, 4)
    assert [sample["written"] for sample in samples] == expected
    assert len(set(expected)) > 1 and any(expected)


def test_every_row_is_read_as_if_it_were_alone(model: LoadedModel) -> None:
    """Branches, cached beginnings and padding change no logit; nor do eager attention's masks."""
    generator = torch.Generator().manual_seed(1)

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(2, 256, (count,), generator=generator).tolist())

    beginning = some(40)
    requests = []
    for number in range(7):
        question = beginning + some(3 + 5 * number)
        sequences = tuple(question + some(branch) for branch in (0, 1, 4, 9))
        requests.append(Request(sequences, (1, 2, 3, 6), "shots"))
    requests.append(Request((some(30), some(4)), (2, 4), "alone"))
    for implementation in ("sdpa", "eager"):
        model.model.set_attn_implementation(implementation)
        seen = set()
        for logits_NV, places in logits_of(requests, model, 3):
            for place in places:
                request = requests[place.request]
                ids = request.sequences[place.sequence]
                with torch.inference_mode():
                    alone = model.model(torch.tensor([ids])).logits[0]
                wanted = request.wanted[place.sequence]
                torch.testing.assert_close(
                    logits_NV[list(place.rows)], alone[-wanted:], atol=2e-4, rtol=1e-4
                )
                seen.add((place.request, place.sequence))
        assert len(seen) == 7 * 4 + 2
    model.model.set_attn_implementation("sdpa")
