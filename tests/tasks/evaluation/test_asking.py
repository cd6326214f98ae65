"""Items that cannot be asked are counted and named, truncated prompts are counted.

Everything else scores as with the unmodified harness.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from infra.stage import StageError
from tasks.benchmarks.model import Benchmark
from tasks.benchmarks.styles import Style
from tasks.evaluation.evaluate import evaluate
from tasks.evaluation.harness_model import harness_model
from tasks.evaluation.measured import Spec
from tasks.evaluation.model import LoadedModel, load
from tasks.evaluation.stage import EvaluationParameters

GLUED = Style(question="问题：{question}\n答案：", delimiter="", score="texts")
SENTENCE = "The river rose and the mill stood still, so that nobody could grind flour. "
CONTEXT = 256


def item(question: str, choices: list[str], answer: Any = 0, **more: Any) -> dict[str, Any]:
    return {"question": question, "choices": choices, "answer": answer, **more}


PLAIN = [item(f"Which is number {n}?", ["this one", f"that {n}", "other"], n % 3) for n in range(5)]


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> LoadedModel:
    return load(checkpoint, dtype="auto", device="cpu", max_length=None)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose vocabulary has a token that begins with a colon, as vocabularies learnt
    from Chinese text do.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("grown")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["：图书馆"] * 9, trainer)
    assert "：图书馆" in {tokenizer.decode([id]) for id in tokenizer.get_vocab().values()}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(str(folder))
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
    )
    LlamaForCausalLM(config).save_pretrained(str(folder))
    return folder


def run(
    checkpoint: Path,
    folder: Path,
    rows: Iterable[dict[str, Any]],
    protocol: str = "harness",
    **benchmark: Any,
) -> tuple[dict[str, dict[str, Any]], list[str], list[dict[str, Any]]]:
    """(rows of results, notes, samples) of one benchmark."""
    folder.mkdir(parents=True)
    path = folder / "q.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    given = Benchmark(**{"format": "multiple-choice", "paths": (str(path),)} | benchmark)
    parameters = EvaluationParameters(benchmarks={"b": given}, protocols=(protocol,))  # type: ignore[arg-type]
    spec = Spec(
        str(checkpoint),
        parameters.model_dump(mode="json"),
        {"b": [str(path)]},
        {},
        {},
        str(folder / "out"),
        1,
    )
    results = evaluate(spec, lambda done, total: None)
    data = folder / "out/data"
    ending = ".first-token" if protocol == "first-token" else ""
    samples = [
        json.loads(line) for line in (data / f"samples/b{ending}.jsonl").read_text().splitlines()
    ]
    notes = json.loads((data / "notes.json").read_text()) if (data / "notes.json").exists() else []
    return results, notes, samples


def bare(
    checkpoint: Path, rows: list[dict[str, Any]], question: str, delimiter: str
) -> dict[str, Any]:
    """The harness's own run: its own model class, templates and metrics."""
    import datasets
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    data = datasets.DatasetDict({"test": datasets.Dataset.from_list(rows)})
    config = {
        "task": "bare",
        "custom_dataset": lambda **_: data,
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": question,
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": delimiter,
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": True}
            for metric in ("acc", "acc_norm")
        ],
    }
    lm = HFLM(pretrained=str(checkpoint), device="cpu", batch_size=16)
    done = lm_eval.simple_evaluate(
        model=lm, tasks=[config], task_manager=TaskManager(include_defaults=False)
    )
    found: dict[str, Any] = done["results"]["bare"]
    return found


def equal(row: dict[str, Any], expected: dict[str, Any]) -> None:
    for metric in ("acc", "acc_stderr", "acc_norm", "acc_norm_stderr"):
        assert row[metric] == expected[f"{metric},none"], metric


ENGLISH = "Question: {{question}}\nAnswer:"

UNASKABLE = {
    "an empty choice": item("What is left of nothing?", ["", "something"]),
    "an answer longer than the context": item("Tell a story.", [SENTENCE * 40, "no"]),
}


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize("problem", UNASKABLE)
def test_items_on_which_the_harness_fails_are_skipped_counted_and_named(
    checkpoint: Path, tmp_path: Path, problem: str, place: int
) -> None:
    rows = [row | {"group": "easy"} for row in PLAIN]
    rows.insert(place, UNASKABLE[problem] | {"group": "odd"})
    results, notes, samples = run(checkpoint, tmp_path / "a", rows)
    assert notes == [f"b (harness): 1 of 6 items not asked: {problem} (first: item '{place}')"]
    assert samples[place] == {"id": str(place), "group": "odd", "answer": 0, "not_asked": problem}
    assert (results["b"]["n"], results["b"]["not_asked"]) == (5, 1)
    assert results["b/odd"] == {"acc": None, "acc_norm": None, "n": 0, "not_asked": 1}
    assert results["b/easy"]["n"] == 5 and "not_asked" not in results["b/easy"]
    equal(results["b"], bare(checkpoint, PLAIN, ENGLISH, " "))
    results, notes, samples = run(checkpoint, tmp_path / "first", rows, "first-token")
    assert (
        results["b"]["first_token_n"] == results["b"]["n"] == 6
    )  # letters can be asked, whatever they stand for
    assert all("not_asked" not in sample for sample in samples)


def test_a_token_that_spans_prompt_and_answer(
    grown: Path, checkpoint: Path, tmp_path: Path
) -> None:
    """An answer that ends within a token of the prompt has nothing to score; a longer one does."""
    rows = [
        item("新河镇有什么", ["图书馆", "阅读室"]),
        item("哪里有书", ["图书馆里", "外面"]),
        item("谁来", ["甲", "乙"]),
    ]
    results, notes, samples = run(grown, tmp_path / "grown", rows, language="zh", style=GLUED)
    spanned = "an answer with no token of its own after the prompt (a token spans the two)"
    assert notes == [
        f"b (harness): 1 of 3 items not asked: {spanned} (first: item '0')",
        "b (harness): 1 of 3 items where a token spans prompt and answer, and only what follows it "
        "is scored (first: item '1'); a delimiter of one blank avoids it",
    ]
    assert samples[0]["not_asked"] == spanned and results["b"]["n"] == 2
    equal(results["b"], bare(grown, rows[1:], "问题：{{question}}\n答案：", ""))
    for folder, style in ((checkpoint, GLUED), (grown, None)):  # no such piece, or a blank between
        results, notes, _ = run(
            folder, tmp_path / folder.name / str(style is None), rows, language="zh", style=style
        )
        assert notes == [] and results["b"]["n"] == 3
        equal(results["b"], bare(folder, rows, "问题：{{question}}\n答案：", "" if style else " "))


def test_prompts_longer_than_the_context_are_counted_and_scored_as_the_harness_does(
    checkpoint: Path, tmp_path: Path
) -> None:
    rows = [
        *PLAIN,
        *(item(SENTENCE * 20 + f"Who is {n}?", ["nobody", f"miller {n}"], n % 2) for n in range(3)),
    ]
    results, notes, _ = run(checkpoint, tmp_path / "harness", rows)
    assert (results["b"]["n"], results["b"]["cut"]) == (8, 3)
    words = (
        "3 of 8 items had prompts longer than the context of 256 tokens, which lost their "
        "beginning (first: item '5')"
    )
    assert notes == [f"b (harness): {words}"]
    equal(results["b"], bare(checkpoint, rows, ENGLISH, " "))
    results, notes, _ = run(checkpoint, tmp_path / "first", rows, "first-token")
    assert (results["b"]["first_token_n"], results["b"]["first_token_cut"]) == (8, 3)
    assert notes == [f"b (first-token): {words}"]


def test_prompts_are_cut_exactly_where_the_harness_cuts_them(
    model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """One token more than the context fits, because the last one is only predicted."""
    from tasks.evaluation.likelihood import is_cut

    lm = harness_model(model, 1)
    for length, cut in ((CONTEXT - 1, False), (CONTEXT, False), (CONTEXT + 1, True)):
        context, answer = list(range(10, 11)) * length, [11]
        caplog.clear()
        with caplog.at_level("WARNING", "lm_eval"):
            before = lm.cut
            lm._loglikelihood_tokens([(("x", "y"), context, answer)], disable_tqdm=True)
        assert is_cut(context, answer, CONTEXT) == cut == bool(lm.cut - before)
        assert any("Truncating" in record.message for record in caplog.records) == cut


@pytest.mark.parametrize("prompt", ["答案：", "Answer: ", "x", " ", "a\n\n"])
@pytest.mark.parametrize("answer", [" yes", "图书馆", "", "  ", "\n"])
def test_encoded_pairs_equal_the_harness(
    grown: Path, checkpoint: Path, prompt: str, answer: str
) -> None:
    from lm_eval.models.huggingface import HFLM

    from tasks.evaluation.likelihood import encode_pairs

    for folder in (grown, checkpoint):
        opened = load(folder, dtype="auto", device="cpu", max_length=None)
        lm = harness_model(opened, 1)
        (pair,) = encode_pairs(opened, [prompt], [answer])
        assert (pair.prompt, pair.answer) == HFLM._encode_pair(lm, prompt, answer)


@pytest.mark.parametrize("label", [["A", "D"], "AD", "A, D", "D、A"])
def test_agieval_scores_several_right_answers_by_the_harness_rule(
    checkpoint: Path, tmp_path: Path, label: Any
) -> None:
    from tasks.benchmarks.read import read_items
    from tasks.decontaminate.grams import build_index
    from tasks.decontaminate.stage import DecontaminateParameters

    options = ["(A)公安局", "(B)法院", "(C)检察院", "(D)税务局"]
    rows = [
        {
            "passage": None,
            "question": f"下列属于行政机关的是哪些呢{n}",
            "options": options,
            "label": "B",
        }
        for n in range(3)
    ]
    rows[1]["label"] = label
    rows.append(rows[0] | {"question": "没有答案的问题在这里等着", "label": None})
    results, notes, samples = run(checkpoint, tmp_path / "a", rows, format="agieval", language="zh")
    assert (results["b"]["n"], results["b"]["not_asked"]) == (3, 1)
    assert samples[1]["answer"] == 0 and samples[1]["also_right"] == [3]
    assert samples[1]["correct"] == (samples[1]["prediction"] in (0, 3))
    assert notes == [
        "b (harness): 1 of 4 items with several right answers, each of which counts as right, as "
        "in lm-evaluation-harness (first: item '1')",
        "b (harness): 1 of 4 items not asked: no right answer is given (first: item '3')",
    ]
    listed = "\n".join(f"{letter}. {{{{texts[{n}]}}}}" for n, letter in enumerate("ABCD"))
    theirs = [
        {
            "question": row["question"],
            "texts": [o[3:] for o in options],
            "choices": list("ABCD"),
            "answer": right,
        }
        for row, right in zip(rows, ([1], [0, 3], [1]), strict=False)
    ]
    equal(results["b"], bare(checkpoint, theirs, f"{{{{question}}}}\n{listed}\n答案：", " "))
    _, _, samples = run(
        checkpoint, tmp_path / "first", rows, "first-token", format="agieval", language="zh"
    )
    assert samples[1]["correct"] == (samples[1]["prediction"] in (0, 3))

    benchmark = Benchmark(format="agieval", paths=("q",))
    items = read_items("b", benchmark, [tmp_path / "a/q.jsonl"])
    index = build_index({"b": items}, DecontaminateParameters(against={"b": benchmark}))
    assert len(index.items) == 4 and index.unmatchable == {"b": 0}


def test_items_with_more_choices_than_letters_are_skipped(checkpoint: Path, tmp_path: Path) -> None:
    many, too_many = ([f"option {n}" for n in range(count)] for count in (26, 27))
    rows = [item("Which?", many, 25), item("Which of all?", too_many, 3)]
    _, notes, samples = run(checkpoint, tmp_path / "first", rows, "first-token")
    assert len(samples[0]["logits"]) == 26 and math.isfinite(sum(samples[0]["logits"]))
    assert notes == [
        "b (first-token): 1 of 2 items not asked: more choices than the letters A to Z (first: "
        "item '1')"
    ]
    assert (
        run(checkpoint, tmp_path / "texts", rows)[0]["b"]["n"] == 2
    )  # the words of 27 choices can be scored


def test_equal_choices_are_scored_and_noted(checkpoint: Path, tmp_path: Path) -> None:
    rows = [
        item("Which one?", ["a", "a"], 1),
        item("Which one?", ["a", "b"], 1),
        item("Which one?", ["a", "b"], 1),
    ]
    results, notes, _ = run(checkpoint, tmp_path / "a", rows)
    assert notes == [
        "b (harness): 1 of 3 items with the same choice twice, of which only the first can be "
        "chosen (first: item '0')"
    ]
    equal(results["b"], bare(checkpoint, rows, ENGLISH, " "))


def test_blank_choices_are_scored_and_noted(checkpoint: Path, tmp_path: Path) -> None:
    rows = [item("What is left of nothing?", [" ", "something"]), *PLAIN]
    results, notes, _ = run(checkpoint, tmp_path / "a", rows)
    words = (
        "1 of 6 items with a choice of blanks only, which are scored as they stand (first: item "
        "'0')"
    )
    assert notes == [f"b (harness): {words}"]
    equal(results["b"], bare(checkpoint, rows, ENGLISH, " "))


def test_line_breaks_and_braces_are_plain_text(checkpoint: Path, tmp_path: Path) -> None:
    question = "Line one\nline two {question} {options} {{ x }} {% if %}?"
    rows = [item(question, ["a\nb", "c", "{{d}}"], 1), item("q", ["1", "2"], 1)]
    results, notes, _ = run(checkpoint, tmp_path / "a", rows)
    assert notes == []
    equal(results["b"], bare(checkpoint, rows, ENGLISH, " "))


def test_a_benchmark_without_an_item_to_ask_still_has_a_row(
    checkpoint: Path, tmp_path: Path
) -> None:
    rows = [item("What is left?", ["", "x"])] * 3
    results, notes, _ = run(checkpoint, tmp_path / "a", rows)
    about = {"shots": 0, "bos": True, "metric": "", "suite": ""}
    expected = {"acc": None, "acc_norm": None, "n": 0, "not_asked": 3, "about": about}
    assert results["b"] == expected
    assert len(notes) == 1
    questions = [{"question": "1+1?", "options": None, "label": None, "answer": "2"}] * 2
    with pytest.raises(
        StageError,
        match=r"b: none of its 2 items has choices and an answer to score \(item '0': no ch",
    ):
        run(checkpoint, tmp_path / "cloze", questions, format="agieval")


def test_hub_tasks_count_cut_prompts_and_name_what_they_cannot_score(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.tasks import TaskManager

    def score(rows: list[dict[str, Any]], name: str) -> tuple[dict[str, Any], list[str]]:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(path)},
                "cache_dir": str(tmp_path / "cache"),
            },
            "test_split": "test",
            "output_type": "multiple_choice",
            "doc_to_text": "question",
            "doc_to_choice": "choices",
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
        (tmp_path / f"{name}.yaml").write_text(json.dumps(config))
        manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
        monkeypatch.setattr("tasks.evaluation.hub._task_manager", lambda task: manager)
        parameters = EvaluationParameters(hub=(name,))
        output = tmp_path / "out" / name
        spec = Spec(str(checkpoint), parameters.model_dump(mode="json"), {}, {}, {}, str(output), 1)
        results = evaluate(spec, lambda done, total: None)
        notes = output / "data/notes.json"
        return results, json.loads(notes.read_text()) if notes.exists() else []

    assert score(PLAIN, "short")[1] == []
    results, notes = score([*PLAIN, item(SENTENCE * 20, ["a", "b"])], "long")
    assert results["long"]["n"] == 6
    assert notes == [
        "long (harness): 2 prompts (one per answer) were longer than the context of 256 tokens and "
        "lost their beginning"
    ]
    with pytest.raises(
        StageError,
        match="hub task 'far': the harness cannot score an answer longer than the context",
    ):
        score([*PLAIN, UNASKABLE["an answer longer than the context"]], "far")
