"""Exact match, `any` of several protocols, and what an option's letter must be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from tasks.benchmarks.model import AnyOf, Benchmark
from tasks.benchmarks.styles import Generation
from tasks.evaluation.any_of import right_by_any
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.measured import Spec
from tasks.evaluation.stage import EvaluationParameters


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def run(checkpoint: Path, output: Path, files: dict[str, Path], **benchmarks: Benchmark) -> Any:
    parameters = EvaluationParameters(benchmarks=benchmarks)
    spec = Spec(
        str(checkpoint),
        parameters.model_dump(mode="json"),
        {name: [str(path)] for name, path in files.items()},
        {},
        {},
        str(output),
        1,
    )
    return evaluate(spec, lambda done, total: None)


def test_any_counts_an_item_that_one_protocol_has_right(checkpoint: Path, tmp_path: Path) -> None:
    exam = [
        {
            "question": f"第{n}题 {{x}}",
            "options": ["(A)一", "(B)二", "(C)三", "(D)四"],
            "label": "ABCD"[n % 4],
        }
        for n in range(12)
    ]
    exam.append({"question": "没有选项", "options": None, "label": None})
    path = lines(tmp_path / "history.jsonl", exam)
    benchmark = Benchmark(
        format="agieval",
        paths=(str(path),),
        protocols=("exact-match", "first-token"),
        metric=AnyOf(any=("exact-match", "first-token")),
        generation=Generation(until=(), tokens=8, extract="letter"),
    )
    results = run(checkpoint, tmp_path / "out", {"exam": path}, exam=benchmark)
    row = results["exam"]
    samples = {
        ending: [
            json.loads(line)
            for line in (tmp_path / f"out/data/samples/exam{ending}.jsonl").read_text().splitlines()
        ]
        for ending in (".exact-match", ".first-token", ".any")
    }
    either = [
        a["correct"] or b["correct"]
        for a, b in zip(samples[".exact-match"][:12], samples[".first-token"][:12], strict=True)
    ]
    assert [s["correct"] for s in samples[".any"][:12]] == either
    assert samples[".any"][12]["not_asked"] == "no choices"
    assert row["any"] == pytest.approx(sum(either) / 12) and row["any"] >= row["first_token_acc"]
    assert (row["any_n"], row["any_not_asked"], row["n"]) == (12, 1, 12)
    assert results["exam/history"]["any"] == row["any"]
    assert row["about"]["metric"] == "any" and row["first_token_chance"] == 0.25
    assert "acc" not in row


def test_any_is_counted_by_item_and_group() -> None:
    def sample(right: bool | None, group: str) -> dict[str, Any]:
        head = {"id": "q", "group": group}
        return head | ({"correct": right} if right is not None else {"not_asked": "too long"})

    first = [sample(True, "a"), sample(False, "a"), sample(None, "b"), sample(None, "b")]
    second = [sample(False, "a"), sample(False, "a"), sample(True, "b"), sample(None, "b")]
    rows, samples = right_by_any("t", [first, second])
    assert [s.get("correct") for s in samples] == [True, False, True, None]
    assert rows["t"]["any"] == pytest.approx(2 / 3) and rows["t"]["any_n"] == 3
    assert rows["t/b"]["any"] == 1.0 and rows["t/b"]["any_not_asked"] == 1


def test_exact_match_compares_numbers_and_says_what_was_written(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = lines(
        tmp_path / "q.jsonl", [{"question": f"{n}+1?", "answer": f"#### {n}"} for n in range(5)]
    )
    settings = Generation(until=("Question:",), tokens=12, extract="number")
    sums = Benchmark(
        format="gsm8k", paths=(str(path),), protocols=("exact-match",), generation=settings
    )
    results = run(checkpoint, tmp_path / "out", {"sums": path}, sums=sums)
    assert results["sums"]["exact_match_n"] == results["sums"]["n"] == 5
    assert {"exact_match", "exact_match_last"} <= set(results["sums"])
    found = (tmp_path / "out/data/samples/sums.exact-match.jsonl").read_text().splitlines()
    assert json.loads(found[3])["accepted"] == ["3"] and "written" in json.loads(found[3])
    long = sums.model_copy(update={"generation": Generation(tokens=256)})
    with pytest.raises(StageError, match=r"tokens 256 leaves no room .* of 256 tokens; lower it"):
        run(checkpoint, tmp_path / "long", {"sums": path}, sums=long)


def test_a_metric_needs_its_protocols_and_a_protocol_its_format() -> None:
    def benchmark(**more: Any) -> Benchmark:
        return Benchmark.model_validate({"format": "agieval", "paths": ("q",)} | more)

    with pytest.raises(
        ValueError, match=r"needs the protocol exact-match; write protocols: \[first"
    ):
        benchmark(protocols=["first-token"], metric={"any": ["first-token", "exact-match"]})
    with pytest.raises(ValueError, match="names a protocol twice"):
        benchmark(metric={"any": ["first-token", "first-token"]})
    with pytest.raises(ValueError, match="first-token cannot ask questions of format winogrande"):
        benchmark(format="winogrande", protocols=["first-token"])


def test_bos_is_as_stated(checkpoint: Path, tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": 1}] * 3)
    rows = {}
    for bos in ("auto", "always", "never"):
        benchmark = Benchmark(format="multiple-choice", paths=(str(path),), bos=bos)
        rows[bos] = run(checkpoint, tmp_path / bos, {"b": path}, b=benchmark)["b"]
    assert [rows[bos]["about"]["bos"] for bos in rows] == [True, True, False]
    likelihoods = {bos: (tmp_path / f"{bos}/data/samples/b.jsonl").read_text() for bos in rows}
    assert likelihoods["auto"] == likelihoods["always"] != likelihoods["never"]


def test_an_option_that_is_no_single_token_is_named(tmp_path: Path) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "<unk>": 1, "A": 2, "Answer:": 3, "q": 4, ".": 5}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", unk_token="<unk>"
    ).save_pretrained(str(tmp_path / "model"))
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=6,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    ).save_pretrained(str(tmp_path / "model"))
    path = lines(tmp_path / "q.jsonl", [{"question": "q", "choices": ["a", "b"], "answer": 1}])
    benchmark = Benchmark(format="multiple-choice", paths=(str(path),), protocols=("first-token",))
    with pytest.raises(StageError, match=r"option 'B' is no single token after 'Answer:'.*<unk>"):
        run(tmp_path / "model", tmp_path / "out", {"b": path}, b=benchmark)


@pytest.mark.parametrize("shots", [0, 2])
def test_first_token_equals_a_plain_loop(checkpoint: Path, tmp_path: Path, shots: int) -> None:
    """Prompts one by one, without padding and without worked examples kept between them."""
    import torch

    from tasks.evaluation import first_token
    from tasks.evaluation.items import questions
    from tasks.evaluation.model import load

    rows = [
        {"question": f"Rain {'and rain ' * n}?", "choices": ["yes", "no", "so"], "answer": n % 3}
        for n in range(9)
    ]
    path, dev = lines(tmp_path / "q.jsonl", rows[2:]), lines(tmp_path / "dev.jsonl", rows[:2])
    benchmark = Benchmark(format="multiple-choice", paths=("q",), dev=("d",), shots=shots)
    model = load(checkpoint, dtype="auto", device="cpu", max_length=None)
    style = benchmark.letters_style()
    asked = questions("b", benchmark, style, [path], [dev], shots=shots, limit=None)
    results, samples, _ = first_token.score("b", asked, model, 3)
    right = 0
    for question, sample in zip(asked, samples, strict=True):
        with torch.inference_mode():
            ids = model.tokenizer.encode(question.prompt)
            logits = model.model(input_ids=torch.tensor([ids])).logits[0, -1]
        pairs = [
            [model.tokenizer.encode(f"Answer:{gap}{letter}")[-1] for gap in ("", " ")]
            for letter in "ABC"
        ]
        expected = [float(max(logits[id] for id in pair)) for pair in pairs]
        assert sample["logits"] == pytest.approx(expected, abs=2e-4)
        assert sample["prediction"] == expected.index(max(expected))
        right += expected.index(max(expected)) in question.right
    assert results["b"]["first_token_acc"] == right / 7
