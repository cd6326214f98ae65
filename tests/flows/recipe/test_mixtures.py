"""Searches for a mixture: what a recipe may state, and what is refused before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.planning.prepare import Prepared, prepare
from flows.planning.request import RunRequest
from flows.recipe.file import RecipeError
from flows.recipe.proxy_shapes import model_shape, shape_of_size
from flows.recipe.read import read_recipe
from tasks.training.recipe.mixtures import TimesNatural

RECIPE = """\
name: r
engine: {cpu_threads: 1}
sources:
  web: {ingest: {format: text, paths: [a.txt]}, category: web}
  code: {ingest: {format: text, paths: [a.txt]}, category: code}
  forum: {ingest: {format: text, paths: [a.txt]}, category: forum}
select: {heldout: {fraction: 0.1}}
benchmarks:
  sums: {format: gsm8k, paths: [a.txt]}
tokenizer: {train: {size: 500}}
model:
  create: {hidden_size: 8, intermediate_size: 8, num_hidden_layers: 1, num_attention_heads: 2,
           num_key_value_heads: 2, max_position_embeddings: 64}
binning: {sequence_length: 32, bins: 2}
mixtures:
  main:
    categories: [web, code]
    proxies:
      - {parameters: 30K, tokens: 64K, draws: 8}
      - {parameters: 100K, tokens: 64K, draws: 4, lr: 1e-3}
    targets: {web: 1, code: 0.5}
    shares: {code: {min: 0.1}}
training:
  batch: 1K
  max_epochs: {web: 2, "*": 5}
  phases: [{name: one, tokens: 10K, mixture: {from: main}}]
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("text")
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE)
    return file


def planned(recipe: Path, *overrides: str) -> Prepared:
    return prepare(RunRequest.of(recipe, list(overrides), store=str(recipe.parent / "store")))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mixtures.main.categories=[web, web]"], "categories: 'web' is named twice"),
        (
            ["mixtures.main.law=magic"],
            "'magic' is not allowed; allowed: 'auto', 'exponential', 'additive', 'joint' or "
            "'linear'",
        ),
        (["mixtures.main.around={web: -1, code: 2}"], "around.web: -1 must be more than 0"),
        (["mixtures.main.around=natrual"], "allowed: 'natural' or 'simplex'"),
        (
            ["mixtures.main.proxies=[{parameters: 30K, tokens: 0, draws: 8}]"],
            "mixtures.main.proxies.0: tokens: 0 tokens trains nothing; state more",
        ),
        (
            ["training.phases.one.mixture={from: mian}"],
            "training.phases.one.mixture.from: 'mian' is no search stated before in this recipe "
            "(did you mean 'main'?)",
        ),
        (
            ["training.phases.one.mixture={from: 'artifact:r/training/one@latest'}"],
            "mixture.from: artifact:r/training/one@latest is no mixture; write "
            "artifact:RECIPE/mixture/NAME@TAG",
        ),
        (
            ["training.phases.one.mixture={from: main, beside: {forum: 0.7, code: 0.6}}"],
            "training.phases.one.mixture.beside: shares sum to 1.3, more than 1; lower one",
        ),
        (["select.heldout=null"], "mixtures.main.targets: proxies are scored by held-out text"),
        (["mixtures.main.targets={wbe: 1}"], "mixtures.main.targets: 'wbe' is not in this recipe"),
        (
            ["mixtures.main.targets={web: 1, sums: 1}"],
            "mixtures.main.targets: 'sums' is not asked by likelihood (protocol harness)",
        ),
        (["mixtures.main.categories=[web]"], "a mixture has two categories or more"),
        (
            ["mixtures.main.shares={web: {min: 0.7}, code: {min: 0.4}}"],
            "mixtures.main.shares: the least shares sum to 1.1, more than 1; lower one",
        ),
        (
            ["mixtures.main.shares={web: {max: 0.5}, code: {max: 0.4}}"],
            "mixtures.main.shares: the most of all shares sum to 0.9, less than 1; raise one",
        ),
        (
            ["mixtures.main.shares={web: {min: 0.5, max: 0.4}}"],
            "min 0.5 is more than max 0.4; lower min",
        ),
        (
            ["mixtures.main.shares={forum: {max: 0.5}}"],
            "mixtures.main.shares: 'forum' is not in this recipe",
        ),
        (
            ["mixtures.main.proxies=[{parameters: 30K, tokens: 64K, draws: 3}]"],
            "mixtures.main.proxies: draws add up to 3 proxies, too few: the law 'linear' has 2 "
            "parameters for 2 categories, 1 size and 1 length, and needs 4 proxies; raise `draws`",
        ),
        (
            ["mixtures.main.proxies=[{parameters: 30K, tokens: 64K, draws: 8}]"],
            "mixtures.main.proxies: draws add up to 8 proxies, too few for intervals of level 0.9, "
            "which need 9",
        ),
        (
            ["mixtures.main.proxies=[{parameters: 2K, tokens: 64K, draws: 9}]"],
            "mixtures.main.proxies.0.parameters: 2,000 are too few for a vocabulary of 500",
        ),
        (
            ["mixtures.main.proxies=[{parameters: 30K, tokens: 2 epochs, draws: 9}]"],
            "tokens: 2 epochs has no length here; write tokens or rows",
        ),
        (
            ["mixtures.main.proxies=[{tokens: 64K, draws: 9}]"],
            "state either `parameters`, such as 500K, or `create`",
        ),
        (["mixtures.main.around={web: 0.5}"], "around: has no share of 'code'"),
        (["mixtures.main.given=other"], "`given` and `search` belong together"),
        (
            [
                "mixtures.next={given: main, search: [forum], around: natural, "
                "proxies: [{parameters: 30K, tokens: 64K, draws: 9}]}"
            ],
            "around: natural shares are not those of an earlier mixture",
        ),
        (
            [
                "mixtures.next={given: later, search: [forum], "
                "proxies: [{parameters: 30K, tokens: 64K, draws: 9}]}"
            ],
            "mixtures.next.given: 'later' is no search stated before in this recipe",
        ),
        (["training=null"], "mixtures: a search needs the sections tokenizer, binning, training"),
        (["loop={phases: [one]}"], "mixtures: later runs of a loop have other bins"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    recipe: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        planned(recipe, *overrides)


def test_a_search_is_ordinary_nodes_that_share_bins(recipe: Path) -> None:
    found = planned(recipe)
    graph = found.graph
    proxies = [node for id, node in graph.nodes.items() if id.startswith("training/proxy~main~")]
    assert len(proxies) == 12
    for node in proxies:
        assert set(node.inputs["bins"]) == {"binning/web", "binning/code"}
        assert node.parameters.proxy
        assert isinstance(node.parameters.mixture, TimesNatural)
    seeds = {node.parameters.seed for node in proxies}
    assert len(seeds) == 12
    assert graph.nodes["training/one"].inputs["shares"] == ("shares/main",)
    assert "shares/main" in graph.ancestors(["training/one"])
    mixture = graph.nodes["mixture/main"].parameters
    assert mixture.max_epochs == {"web": 2, "code": 5}
    evaluated = graph.nodes["evaluation/proxy~main~0-00"]
    assert set(evaluated.inputs["heldout"]) == {"select/web", "select/code"}  # of its targets
    (facts,) = found.searches
    assert (facts.proxies, facts.to_train, facts.tokens) == (12, 12, 12 * 64_000)
    assert facts.parameters is not None and 25_000 < facts.parameters[0] < 45_000
    assert facts.seconds is not None and facts.memory is not None
    assert found.phases[0].assumed.startswith("equal shares, until main is made")


def test_more_draws_and_another_group_leave_proxies_as_they_are(recipe: Path) -> None:
    def training(*overrides: str) -> dict[str, object]:
        nodes = planned(recipe, *overrides).graph.nodes
        return {id: nodes[id].parameters for id in nodes if id.startswith("training/proxy")}

    before = training()
    more = training(
        "mixtures.main.proxies=[{parameters: 30K, tokens: 64K, draws: 11}, {parameters: 100K, "
        "tokens: 64K, draws: 4, lr: 1e-3}, {parameters: 30K, tokens: 128K, draws: 2}]"
    )
    assert len(more) == 17
    assert {id: more[id] for id in before} == before


def test_kept_ratios_are_drawn_beside_the_searched_categories(recipe: Path) -> None:
    proxies = "proxies: [{parameters: 30K, tokens: 64K, draws: 9}]"
    nodes = planned(
        recipe, f"mixtures.next={{given: main, search: [forum], {proxies}}}"
    ).graph.nodes
    node = nodes["training/proxy~next~0-00"]
    assert node.inputs["shares"] == ("shares/main",)
    assert set(node.inputs["bins"]) == {"binning/web", "binning/code", "binning/forum"}
    assert list(node.parameters.mixture.beside) == ["forum"]
    assert nodes["mixture/next"].inputs["given"] == ("mixture/main",)


def test_a_phase_may_name_the_search_of_another_recipe(recipe: Path) -> None:
    name = "artifact:other/mixture/main@latest"
    found = planned(recipe, f"training.phases.one.mixture={{from: '{name}'}}")
    step = found.plan.steps["shares/other.main"]
    assert step.state == "unresolved" and "is not in the store" in step.why
    assert found.graph.nodes["training/one"].inputs["shares"] == ("shares/other.main",)


@pytest.mark.parametrize("wanted", [60_000, 200_000, 2_000_000, 20_000_000])
def test_shapes_come_near_the_size_asked_for(wanted: int) -> None:
    shape = shape_of_size(wanted, 1024, 128)
    assert model_shape(shape, 1024).parameters == pytest.approx(wanted, rel=0.25)


def test_a_recipe_without_searches_is_as_before(recipe: Path) -> None:
    read = read_recipe(
        recipe, ["mixtures={}", "training.phases.one.mixture={web: 0.5, code: rest}"]
    )
    assert read.searched() == {}
