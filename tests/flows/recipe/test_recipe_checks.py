"""The plan refuses settings that a late stage would refuse, or ignore, on account of the recipe
alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from tests.small_base import write_base

RECIPE = """\
name: r
sources:
  web:
    ingest: {format: text, paths: [a.txt]}
    langid: {keep: {languages: [en, zh]}}
    quality: {settings: {en: {gopher.word_count: {min: 3}}}}
    category: {en: web-en, zh: web-zh}
benchmarks:
  exam: {format: multiple-choice, paths: [exam.jsonl]}
  sums: {format: gsm8k, paths: [sums.jsonl]}
decontaminate: {against: [exam, sums]}
tokenizer: {train: {size: 300}}
model:
  create: {hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 64}
binning: {sequence_length: 32, bins: 2}
training:
  batch: 1K
  phases: [{name: one, tokens: 10K}]
evaluation: {tasks: [exam], protocols: [harness, bits-per-byte]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "exam.jsonl").write_text('{"question": "?", "choices": ["a", "b"], "answer": 0}\n')
    (tmp_path / "sums.jsonl").write_text(
        '{"question": "1 + 1?", "answer": "1 + 1 is 2.\\n#### 2"}\n'
    )
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["sources.web.langid=null"],
            "sources.web.category is by language, which needs language identification; add "
            "sources.web.langid",
        ),
        (
            ["sources.web.langid=null"],
            "sources.web.quality.settings is by language (en), which needs language identification",
        ),
        (
            ["sources.web.langid.keep.languages=[en]"],
            "sources.web.category: langid.keep.languages drops zh (it keeps en), so nothing "
            "reaches web-zh",
        ),
        (
            ["training.phases.one.trainable=new-rows"],
            "training.phases.one.trainable: new-rows trains the tokens that tokenizer.expand adds",
        ),
        (
            ["training.adapter={embeddings: new-rows}"],
            "training.phases.one.adapter.embeddings: new-rows, but the model stage added no tokens",
        ),
        (
            [
                "training.adapter={embeddings: frozen}",
                "tokenizer={base: b, expand: {size: 9000}}",
                "model={base: b}",
            ],
            "training.phases.one.adapter.embeddings: frozen, but the model stage added tokens",
        ),
        (
            ["training.adapter={r: 8}", "training.phases.one.trainable=embeddings"],
            "phase 'one': trainable: embeddings leaves the layers alone, so the adapter would do "
            "nothing; set adapter: null",
        ),
        (
            ["evaluation.tasks=[sums]"],
            "evaluation.tasks: 'sums': format gsm8k is asked by exact-match only",
        ),
        (
            ["evaluation.shots={exma: 5}"],
            "evaluation.shots: 'exma' is not among the tasks (did you mean 'exam'?)",
        ),
        (
            ["select.heldout=null", "evaluation=null", "training.evaluation={every: 10 steps}"],
            "training.evaluation.documents: 32 held-out documents of each category are to be read, "
            "and select.heldout is null; remove that, or write `documents: 0` and state prompts",
        ),
        (["evaluation.shots={sums: 5}"], "evaluation.shots: 'sums' is not among the tasks"),
        (
            ["evaluation.shots={exam: 5}"],
            "evaluation.shots: 5 for 'exam' needs worked examples; name their files under",
        ),
        (
            ["evaluation.tasks=[]", "evaluation.protocols=[harness]"],
            "evaluation.tasks: there is nothing to evaluate; name tasks",
        ),
        (["evaluation.protocols=[]"], "evaluation.protocols: is empty, so nothing is evaluated"),
        (
            ["evaluation.hub=[exam]"],
            "evaluation.hub: 'exam' is also the name of a benchmark of this recipe",
        ),
        (
            ["evaluation.hub=[arc]", "evaluation.protocols=[first-token]"],
            "only the protocol harness runs these",
        ),
        (
            ["evaluation.max_length=65"],
            "evaluation.max_length: 65 is more than the model's 64 positions",
        ),
        (
            ["evaluation.tasks=[sums]", "evaluation.protocols=[exact-match]"],
            "benchmarks.sums.generation.tokens: an answer of up to 256 tokens leaves no room for "
            "its prompt in the 64 positions of a model",
        ),
        (
            [
                "evaluation.tasks=[sums]",
                "evaluation.protocols=[exact-match]",
                "evaluation.max_length=20",
                "benchmarks.sums.generation={tokens: 20}",
            ],
            "up to 20 tokens leaves no room for its prompt in the 20 positions",
        ),
        (
            ["select.heldout=null"],
            "evaluation.protocols: bits-per-byte reads held-out text, and select.heldout is null",
        ),
        (
            ["select.heldout=null", "evaluation.protocols=[harness]", "evaluation.long_text={}"],
            "evaluation.long_text reads held-out text, and select.heldout is null",
        ),
        (
            ["training.optimizer.betas=[0.9, 1.0]"],
            "training.optimizer.betas.1: 1.0 must be less than 1",
        ),
        (
            ["block={spam: {domains: a.txt}}", "sources.web.block={span: null}"],
            "sources.web.block: 'span' is not in this recipe (did you mean 'spam'?)",
        ),
        (
            ["sources.web.category=null", "sources.web.block={spam: {urls: a.txt}}"],
            "sources.web.block: the source has no category",
        ),
        (["block={spam: {}}"], "names no file; list files under domains, urls or both"),
        (["model.create.seed=-5"], "model.create.seed: -5 must be at least 0"),
        (
            ["evaluation.seed=4294967296"],
            "evaluation.seed: 4294967296 must be less than 4,294,967,296",
        ),
        (
            ["sources.web.langid.keep.scripts=[Hans]"],
            "sources.web.langid.keep.scripts: lid.176 names no script",
        ),
        (
            ["language_models={en: {sources: [web], estimator: lmplz, lmplz: nowhere/lmplz}}"],
            "language_models.en: `estimator: lmplz` needs KenLM's programs",
        ),
    ],
)
def test_refused_before_anything_is_read(recipe: Path, overrides: list[str], message: str) -> None:
    prepare(RunRequest.of(recipe))
    with pytest.raises(RecipeError, match=re.escape(message)):
        prepare(RunRequest.of(recipe, overrides))


@pytest.mark.parametrize(
    "overrides",
    [
        [
            "sources.web.langid=null",
            "sources.web.category=web-en",
            "sources.web.quality.settings={'*': {}}",
        ],
        ["sources.web.langid.keep.languages=[en, zh, fr]"],
        ["sources.web.langid.keep.languages=null"],
        ["evaluation.tasks=[]", "evaluation.protocols=[bits-per-byte]"],
        ["evaluation.tasks=[]", "evaluation.long_text={}"],
        ["evaluation.shots={exam: 0}"],
        ["evaluation.max_length=64"],
        [
            "evaluation={models: [one], tasks: [sums], protocols: [exact-match]}",
            "training.phases.one.context={positions: 512, rope: {theta: 20000}}",
        ],
        ["select.heldout=null", "evaluation.protocols=[harness]"],
    ],
)
def test_allowed(recipe: Path, overrides: list[str]) -> None:
    assert prepare(RunRequest.of(recipe, overrides)).plan.to_run()


@pytest.mark.parametrize("rope", [{}, {"rope_scaling": {"type": "dynamic", "factor": 2.0}}])
def test_rows_longer_than_a_local_base_has_positions(
    rope: dict[str, object], recipe: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base", max_position_embeddings=31, **rope)
    file = tmp_path / "base.yaml"
    before, after = RECIPE.partition("tokenizer:")[0], RECIPE.partition("binning:")[2]
    file.write_text(f"{before}tokenizer: {{base: base}}\nmodel: {{base: base}}\nbinning:{after}")
    if rope:
        assert prepare(RunRequest.of(file)).plan.steps
        return
    with pytest.raises(
        RecipeError,
        match=r"base\.yaml:\d+: binning\.sequence_length: 32 is more than the base's 31 posi",
    ):
        prepare(RunRequest.of(file))
    longer = ["model.context={positions: 64, rope: {type: linear, factor: 3}}"]
    assert prepare(RunRequest.of(file, longer)).plan.steps
