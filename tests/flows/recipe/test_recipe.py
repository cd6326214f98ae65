"""Wrong recipes are refused with file, line, value, what is allowed and the nearest key."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from flows.planning.plan import make_plan
from flows.planning.prepare import prepare
from flows.planning.request import RunRequest
from flows.planning.resolve import digest_cache_file, resolve
from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from infra.store import Store
from tests.small_base import write_base

GOOD = """\
name: r
sources:
  web:
    ingest: {format: text, paths: [a.txt]}
    langid: {keep: {languages: [en], threshold: 0.5}}
    quality: {rules: [gopher], keep: {rules: [gopher]}}
    category: web-en
benchmarks:
  exam: {format: multiple-choice, paths: [exam.jsonl]}
decontaminate: {against: [exam]}
tokenizer: {train: {size: 300}}
model:
  create: {hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 64}
binning: {sequence_length: 32, bins: 2}
training:
  batch: 1K
  phases:
    - {name: one, tokens: 10K, mixture: {web-en: 1.0}}
    - {name: two, tokens: 10K, mixture: {web-en: rest}}
evaluation: {tasks: [exam]}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "exam.jsonl").write_text(
        '{"id": "1", "question": "q", "choices": ["a", "b"], "answer": 0}\n'
    )
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    return path


def versions(recipe: Path, tmp_path: Path, *overrides: str) -> dict[str, str | None]:
    graph = stages(read_recipe(recipe, overrides))
    plan = make_plan(graph, resolve(graph), Store.at(str(tmp_path / "store")), "r")
    return {step.id: step.version for step in plan.steps.values()}


def changed(recipe: Path, tmp_path: Path, *overrides: str) -> set[str]:
    """Nodes whose version an override changes."""
    before, after = versions(recipe, tmp_path), versions(recipe, tmp_path, *overrides)
    return {id for id in before if before[id] != after[id]}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.web.langid.keep.treshold=1", "unknown key (did you mean 'threshold'?)"),
        ("sources.web.ingest.format=wrac", "did you mean 'warc'?"),
        ("dedup.verify=1.5", "dedup.verify: 1.5 must be at most 1 (for 1.5 % write 0.015)"),
        ('dedup.verify="80"', "dedup.verify: '80' must be at most 1 (for 80 % write 0.8)"),
        ("dedup.verify=80%", "dedup.verify: '80%' is not a number"),
        (
            "dedup=true",
            "dedup: True is not a map; write {key: value}, with keys of: accept, bands, ",
        ),
        ("dedup.memory=4", "dedup.memory: 4 must be at least 10,000,000"),
        ("perplexity.keep=[head]", "-s: perplexity: unknown key"),
        (
            "sources.web.quality.keep.rules=[gofer]",
            "'gofer', which `rules` does not measure (did you mean 'gopher'?)",
        ),
        (
            "sources.web.quality.keep.rules=[c4]",
            "'c4', which `rules` does not measure; add it to `rules`",
        ),
        (
            "sources.web.quality.settings={cn: {gopher.word_count: {min: 3}}}",
            "quality.settings: 'cn' is not a label",
        ),
        ("dedup.seed=1.5", "dedup.seed: 1.5 is not a whole number"),
        (
            "dedup.prefer=[perplexity]",
            "dedup.prefer: 'perplexity' comes from a source's section perplexity",
        ),
        (
            "tokenizer={base: b, expand: {size: big}}",
            "tokenizer.expand.size: 'big' is not a number such as 4000000, 4M or 0.5B; or write "
            "'knee'",
        ),
        ("tokenizer={base: b, train: {size: 500}}", "-s: tokenizer: `train` starts from scratch"),
        ("sources.web.langid.keep.languages=[no]", "False is not text; put it in quotes"),
        ("training.phases.one.mixture.web-en=0.5", "they must sum to 1"),
        (
            "training.phases.one.mixture={web-zn: 1.0}",
            "'web-zn' is not in this recipe (did you mean 'web-en'?)",
        ),
        ("training.phases.one.tokens=ten", "'ten'"),
        ("decontaminate.against=[exan]", "did you mean 'exam'?"),
        ("evaluation.models=[tow]", "did you mean 'two'?"),
        ("sources.web.perplexity={}", "add a language_models section"),
        ("sources.web.quality.rules=[gofer]", "gofer"),
        ("model.base=somewhere", "either a `base` or `create"),
        ("dedup.prefer=[-perplexty]", "'-perplexty' is not a column that dedup.prefer knows"),
        ("dedup.crawls=[[wep]]", "did you mean 'web'?"),
        ("dedup.history=[artifact:r/cut/main]", "is not artifact:RECIPE/select/NAME@TAG"),
        ("dedup={threshold: 0.8, rows: 4}", "either `threshold` or rows"),
        ("dedup={threshold: 1.2}", "dedup.threshold: 1.2 must be less than 1"),
        ("dedup.hashes=256", "`hashes` needs `threshold`"),
        (
            "tokenizer={base: b, expand: {size: 9000, scripts: [han]}}",
            "'han' is not a Unicode script (Chinese is Han, Korean is Hangul); did you mean 'Han'?",
        ),
        (
            "tokenizer={base: b, expand: {method: pieces, pieces: p.model, scripts: [Han]}}",
            "drop `scripts`",
        ),
        (
            "tokenizer={base: b, expand: {size: 9000, maximum: 10}}",
            "`maximum` applies to `size: knee` only, and size is 9000",
        ),
        (
            "sources.web.category=null",
            "tokenizer: no source has a category, so there is no text to learn from",
        ),
        ("tokenizer=null", "model: needs a tokenizer; add `tokenizer: {base: ...}`"),
        ("dedup.prefer=length", "'length' is not a list; write ['length']"),
        ("dedup.accept=maybe", "'maybe' is neither true nor false"),
        ("model={base: b, layers: []}", "is empty; state at least 1"),
        (
            "sources.web.langid.keep.languages=[chinese]",
            "'chinese' is not a label of lid.176 (did you mean 'zh'?)",
        ),
        (
            "sources.web.category={zho: web-en}",
            "sources.web.category: 'zho' is not a label of lid.176",
        ),
        (
            "language_models={english: {sources: [web]}}",
            "language_models.english: 'english' is not a label",
        ),
        (
            "binning=null",
            "training needs the sections tokenizer, model and binning; missing: binning",
        ),
    ],
)
def test_mistakes_are_named(good: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(good, [override])
    assert message in str(caught.value)


def test_a_mistake_in_the_file_has_its_line(good: Path) -> None:
    good.write_text(GOOD.replace("threshold: 0.5", "threshold: high"))
    with pytest.raises(
        RecipeError, match=r"r\.yaml:5: sources\.web\.langid\.keep\.threshold: 'high'"
    ):
        read_recipe(good)


def test_every_mistake_is_reported_at_once(good: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(good, ["dedup.verify=2", "binning.bin=3", "modle={}"])
    assert len(caught.value.problems) == 3


def test_a_bad_item_of_a_list_is_one_problem(good: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        read_recipe(good, ["model={base: b, layers: [-1]}"])
    assert [problem.split(":")[1] for problem in caught.value.problems] == [" model.layers.0"]


def test_paths_are_relative_to_the_recipe_that_states_them(good: Path, tmp_path: Path) -> None:
    child = tmp_path / "elsewhere" / "child.yaml"
    child.parent.mkdir()
    child.write_text(
        "extends: ../r.yaml\nname: child\nsources: {more: {ingest: {format: text, paths: "
        "[b.txt]}}}\n"
    )
    recipe = read_recipe(child)
    assert recipe.sources["web"].ingest.paths == (str(tmp_path / "a.txt"),)
    assert recipe.sources["more"].ingest.paths == (str(tmp_path / "elsewhere" / "b.txt"),)


def test_a_change_reaches_what_follows_and_nothing_before(good: Path, tmp_path: Path) -> None:
    after_cut = {
        "cut/main",
        "dedup/main",
        "select/web",
        "tokenizer/main",
        "model/main",
        "binning/web-en",
    }
    trained = {"training/one", "training/two", "evaluation/one", "evaluation/two", "report/r"}
    assert changed(good, tmp_path, "sources.web.langid.keep.threshold=0.6") == after_cut | trained
    assert changed(good, tmp_path, "dedup.verify=0.9") == (after_cut - {"cut/main"}) | trained
    assert (
        changed(
            good, tmp_path, "evaluation.batch_size=3", "engine.workers=1", "training.micro_batch=1"
        )
        == set()
    )
    last = {"training/two", "evaluation/two", "report/r"}
    assert changed(good, tmp_path, "training.phases.two.mixture=buckets") == last
    assert changed(good, tmp_path, "benchmarks.exam.limit=1") == {
        "evaluation/one",
        "evaluation/two",
        "report/r",
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "percentiles={head: 98, middle: 50}",
            "percentiles: head is percentile 98, above middle's 50",
        ),
        ("percentiles.middle=200", "percentiles.middle: 200 must be at most 100"),
        (
            "training.optimizer.lr=.inf",
            "training.optimizer.lr: inf: input should be a finite number",
        ),
        ("language_models={a/b: {sources: [web]}}", "use letters, digits and"),
        (
            "sources.web.ingest.paths=['']",
            "sources.web.ingest.paths.0: is an empty path; name a file",
        ),
        ("binning.sequence_length=128", "is more than the model's 64 positions"),
        (
            "training.phases.one.name=base",
            "evaluation uses 'base' for the base model; rename the phase",
        ),
    ],
)
def test_values_that_only_a_stage_would_refuse_are_refused(
    good: Path, override: str, message: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        read_recipe(good, [override])


@pytest.mark.parametrize("path", ["b.txt", "~nobody-here/a.txt", "x" * 5000])
def test_a_path_that_is_not_there_is_refused_with_its_line(good: Path, path: str) -> None:
    good.write_text(good.read_text().replace("a.txt", path))
    with pytest.raises(RecipeError) as refused:
        prepare(RunRequest.of(good))
    assert str(refused.value).startswith(f"{good}:4: ingest/web.paths: ")
    if path == "b.txt":
        assert "(did you mean 'a.txt'?)" in str(refused.value)


def test_a_damaged_cache_of_digests_costs_nothing(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = versions(good, tmp_path)
    for text in ("[1]", "5", "null", "{", json.dumps({str(tmp_path / "a.txt"): 5})):
        digest_cache_file().write_text(text)
        assert versions(good, tmp_path) == before


def test_a_category_may_not_be_called_like_a_folder_of_select(good: Path) -> None:
    with pytest.raises(
        RecipeError, match="category 'index' is reserved for a folder of the stage select"
    ):
        read_recipe(good, ["sources.web.category=index"])


def test_a_language_model_leaves_out_what_may_be_held_out_of_text_that_is_trained_on(
    good: Path,
) -> None:
    model = ["language_models={en: {sources: [web]}}"]
    held_out = {
        words: stages(read_recipe(good, [*model, *words]))
        .nodes["language_model/en"]
        .parameters.held_out
        for words in ((), ("select.heldout=null",), ("select.heldout.fraction=0.2",))
    }
    assert held_out == {
        (): {"web": 0.001},
        ("select.heldout=null",): {},
        ("select.heldout.fraction=0.2",): {"web": 0.2},
    }
    with pytest.raises(RecipeError, match=r"language_models\.en\.held_out: is set by the plan"):
        read_recipe(good, ["language_models={en: {sources: [web], held_out: {web: 0.5}}}"])


def test_null_is_a_value_where_it_is_not_the_default(good: Path, tmp_path: Path) -> None:
    assert read_recipe(good, ["select.heldout=null"]).select.heldout is None
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: r.yaml\nselect: {heldout: null}\ndedup: null\nbinning: {bins: "
        "null}\ndecontaminate: null\n"
    )
    assert read_recipe(child).select.heldout is None and read_recipe(child).decontaminate is None
    good.write_text(GOOD + "select: {heldout: null}\ndedup: null\n")
    assert read_recipe(good).select.heldout is None and read_recipe(good).dedup is None
    good.write_text(GOOD + "dedup:\n")
    with pytest.raises(
        RecipeError, match=r"r\.yaml:\d+: dedup: is empty; write a value, {} for a section"
    ):
        read_recipe(good)


def test_bands_and_rows_come_from_a_threshold(good: Path) -> None:
    graph = stages(read_recipe(good, ["dedup={threshold: 0.8, hashes: 112}"]))
    for id in ("dedup/main", "signatures/web"):
        parameters = graph.nodes[id].parameters
        assert (parameters.bands, parameters.rows) == (14, 8)
    assert read_recipe(good, ["dedup={threshold: 0.9}"]).dedup.verify == 0.9
    assert read_recipe(good, ["dedup={threshold: 0.7, verify: 0.75}"]).dedup.verify == 0.75


def test_all_benchmarks_are_searched_for_unless_some_are_named(good: Path) -> None:
    every = read_recipe(good, ["decontaminate={action: passage}"])
    assert every.searched_for() == ("exam",) and "decontaminate/web" in stages(every).nodes
    assert stages(every).nodes["evaluation/two"].parameters.decontaminated == ("exam",)
    assert read_recipe(good, ["decontaminate={against: []}"]).searched_for() == ()
    with pytest.raises(RecipeError, match="no benchmark to search for"):
        read_recipe(good, ["decontaminate={}", "benchmarks=null", "evaluation=null"])


def test_a_tokenizer_without_a_model_is_built(good: Path) -> None:
    nodes = stages(
        read_recipe(good, ["model=null", "binning=null", "training=null", "evaluation=null"])
    ).nodes
    assert "tokenizer/main" in nodes and "model/main" not in nodes


def test_text_to_learn_from_is_text_that_was_selected(good: Path) -> None:
    reference = "sources.more={ingest: {format: text, paths: [a.txt]}}"
    with pytest.raises(
        RecipeError, match="source 'more' has no category, so none of its text is selected"
    ):
        read_recipe(good, [reference, "tokenizer.train.from=[more]"])


def test_dedup_reads_what_prefer_names_and_nothing_else(good: Path) -> None:
    plain = stages(read_recipe(good)).nodes["dedup/main"]
    assert set(plain.inputs) == {"cut", "documents", "signatures"}
    scored = stages(read_recipe(good, ["dedup.prefer=[language_score, length]"])).nodes[
        "dedup/main"
    ]
    assert scored.inputs["langid"] == ("langid/web",)


def test_every_annotator_reads_through_line_dedup(good: Path) -> None:
    graph = stages(read_recipe(good, ["sources.web.line_dedup={}", "decontaminate.action=passage"]))
    readers = {id for id, node in graph.nodes.items() if "line_dedup/web" in node.upstream()}
    annotators = {"langid/web", "quality/web", "signatures/web", "decontaminate/web"}
    assert readers == annotators | {"cut/main", "dedup/main", "select/web", "report/r"}
    assert graph.nodes["select/web"].inputs["decontaminate"] == ("decontaminate/web",)


def test_only_select_reads_through_masks(good: Path) -> None:
    graph = stages(read_recipe(good, ["sources.web.line_dedup={}", "sources.web.pii={}"]))
    readers = {id for id, node in graph.nodes.items() if "pii/web" in node.upstream()}
    assert readers == {"select/web", "report/r"}
    assert set(graph.nodes["pii/web"].inputs) == {"documents", "line_dedup", "langid"}


def test_a_word_lists_content_enters_the_version_of_quality(good: Path, tmp_path: Path) -> None:
    word_list = tmp_path / "deu_Latn.txt"
    stated = ["sources.web.quality={rules: [fineweb2], word_lists: %s}" % word_list]  # noqa: UP031
    versions = []
    for words in ("und\n", "und\nnicht\n"):
        word_list.write_text(words, encoding="utf-8")
        prepared = prepare(RunRequest.of(good, stated, str(tmp_path / "store")))
        versions.append(prepared.plan.steps["quality/web"].version)
    assert versions[0] != versions[1] and None not in versions


def test_the_recipes_own_latest_selection_is_no_history(good: Path) -> None:
    name = read_recipe(good).name
    for reference in (f"artifact:{name}/select/web@latest", f"artifact:{name}/select/web"):
        with pytest.raises(RecipeError, match="is this recipe's own selection"):
            read_recipe(good, [f"dedup.history=[{reference}]"])
    for reference in (
        f"artifact:{name}/select/web@0123456789ab",
        f"artifact:{name}/select/january@latest",
    ):
        assert read_recipe(good, [f"dedup.history=[{reference}]"]).dedup.history == (reference,)


def test_history_is_an_input_of_dedup(good: Path, tmp_path: Path) -> None:
    earlier = "artifact:january/select/web@latest"
    prepared = prepare(RunRequest.of(good, [f"dedup.history=[{earlier}]"], str(tmp_path / "store")))
    step = prepared.plan.steps["dedup/main"]
    assert step.state == "unresolved" and "make it first: run the recipe january" in step.why
    assert prepared.plan.steps["signatures/web"].state == "run"


def test_only_measured_layers_make_the_model_read_text(good: Path) -> None:
    base = "model={base: somewhere, layers: {%s: 2}}"
    assert "select" not in stages(read_recipe(good, [base % "first"])).nodes["model/main"].inputs
    assert stages(read_recipe(good, [base % "important"])).nodes["model/main"].inputs["select"] == (
        "select/web",
    )


def test_layers_that_the_base_does_not_have_are_refused_by_the_plan(
    good: Path, tmp_path: Path
) -> None:
    write_base(tmp_path / "base", num_hidden_layers=5)
    text = (
        GOOD.partition("tokenizer:")[0]
        + "tokenizer: {base: base}\nmodel: {base: base, layers: {first: 5}}\n"
    )
    good.write_text(text)
    assert "model/main" in prepare(RunRequest.of(good)).plan.steps
    for layers in ("{first: 6}", "{important: 6}", "[0, 6]"):
        with pytest.raises(
            RecipeError, match=rf"{good.name}:\d+: model.layers .* 6.*the base has 5"
        ):
            prepare(RunRequest.of(good, [f"model.layers={layers}"]))


def test_a_size_that_the_base_has_already_is_refused_by_the_plan(
    good: Path, tmp_path: Path
) -> None:
    """The plan refuses with the stage's message before a crawl is read."""
    write_base(tmp_path / "base", tokens=512)
    begin = GOOD.partition("tokenizer:")[0]
    text = begin + "tokenizer: {base: base, expand: {size: 513}}\nmodel: {base: base}\n"
    good.write_text(text)
    place = f"{good.name}:{begin.count(chr(10)) + 1}"
    assert "tokenizer/main" in prepare(RunRequest.of(good)).plan.steps
    for size in ("300", "512", "0.5K"):
        with pytest.raises(
            RecipeError,
            match=rf"{place}: tokenizer.expand.size: .*, but the base already has 512 tokens",
        ):
            good.write_text(text.replace("513", size))
            prepare(RunRequest.of(good))


def test_sizes_of_tokenizers_take_suffixes(good: Path, tmp_path: Path) -> None:
    """Counts in any notation: the value decides the version, not how it is written."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "merges.txt").write_text("")
    good.write_text(
        GOOD.partition("tokenizer:")[0] + "tokenizer: {base: base, expand: {size: 55000}}\n"
    )
    overrides = ["tokenizer.expand.size=55K", "tokenizer.sample_bytes=0.2G"]
    assert read_recipe(good, overrides).tokenizer == read_recipe(good).tokenizer
    assert changed(good, tmp_path, *overrides) == set()
    with pytest.raises(
        RecipeError, match=r"tokenizer.expand.size: '55Q' is not a number .*; or write 'knee'"
    ):
        read_recipe(good, ["tokenizer.expand.size=55Q"])


def test_files_of_another_format_are_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    for number in range(7):
        (tmp_path / "web" / f"{number}.jsonl").write_bytes(gzip.compress(b"PAR1" + bytes(50)))
    (tmp_path / "good.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "damaged.jsonl").write_text("{broken\n")
    sources = {
        "a": {
            "ingest": {"format": "jsonl", "paths": ["web/*.jsonl", "good.jsonl"]},
            "category": "c",
        },
        "b": {"ingest": {"format": "warc", "paths": ["good.jsonl"]}, "category": "c"},
        "c": {
            "ingest": {"format": "jsonl", "paths": ["good.jsonl", "damaged.jsonl"]},
            "category": "c",
        },
    }
    recipe = tmp_path / "r.yaml"
    recipe.write_text(json.dumps({"name": "r", "sources": sources}))
    with pytest.raises(RecipeError) as refused:
        prepare(RunRequest.of(recipe, (), str(tmp_path / "store")))
    problems = refused.value.problems
    assert len(problems) == 7 and problems[5].endswith("sources.a.ingest.paths: 2 more such files")
    assert (
        f"sources.a.ingest.paths: {tmp_path}/web/0.jsonl is a Parquet file in a compressed file"
        in problems[0]
    )
    assert problems[6].endswith(
        f"{tmp_path}/good.jsonl is a JSONL file, but format is warc; set format: jsonl"
    )
    assert not (tmp_path / "store" / "ingest").exists()
