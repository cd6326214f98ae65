"""`from` as a list or with weights: what the plan makes of it, what is refused, and what a version
holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from infra.store.identity import version_of
from tasks.checkpoints.tokenizer_files import size_of
from tasks.tokenizer.expand import counted, grow
from tasks.tokenizer.family_of import family_of
from tasks.tokenizer.stage import MAXIMUM_WEIGHT, STAGE, TokenizerParameters
from tests.tasks.checkpoints.samples import CHINESE, ENGLISH, sentencepiece_base
from tests.tasks.tokenizer.test_expand import BASES

RECIPE = """\
name: r
sources:
  zh-web: {ingest: {format: text, paths: [a.txt]}, category: zh}
  books: {ingest: {format: text, paths: [a.txt]}, category: zh}
  crawl: {ingest: {format: text, paths: [a.txt]}, langid: {}, category: {zh: zh, en: en}}
  reference: {ingest: {format: text, paths: [a.txt]}}
tokenizer: {base: missing, expand: {size: 400}}
"""
FEEDS = {"zh-web": ("zh",), "books": ("zh",), "crawl": ("zh", "en")}
Stated = list[str] | dict[str, int]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("text")
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return path


def planned(stated: Any) -> TokenizerParameters:
    return TokenizerParameters(base="x", expand={"size": 400, "from": stated}).with_shares(FEEDS)


@pytest.mark.parametrize(
    ("stated", "read", "categories", "weights"),
    [
        ("[]", ["zh-web", "books", "crawl"], ("en", "zh"), {}),
        ("[zh]", ["zh-web", "books", "crawl"], ("zh",), {}),
        ("[zh-web]", ["zh-web"], ("zh",), {}),
        ("[books, crawl]", ["books", "crawl"], ("en", "zh"), {}),
        (
            "{zh-web: 4, books: 1}",
            ["zh-web", "books"],
            ("zh",),
            {"zh-web": {"zh": 4}, "books": {"zh": 1}},
        ),
        (
            "{books: 2, zh-web: 8}",
            ["zh-web", "books"],
            ("zh",),
            {"zh-web": {"zh": 4}, "books": {"zh": 1}},
        ),
        ("{zh-web: 9}", ["zh-web"], ("zh",), {}),
        ("{zh-web: 5, books: 5}", ["zh-web", "books"], ("zh",), {}),
        (
            "{zh-web: 2, en: 3}",
            ["zh-web", "crawl"],
            ("en", "zh"),
            {"zh-web": {"zh": 2}, "crawl": {"en": 3}},
        ),
        (
            "[zh-web, en]",
            ["zh-web", "crawl"],
            ("en", "zh"),
            {"zh-web": {"zh": 1}, "crawl": {"en": 1}},
        ),
    ],
)
def test_what_the_plan_makes_of_it(
    recipe: Path,
    stated: str,
    read: list[str],
    categories: tuple[str, ...],
    weights: dict[str, dict[str, int]],
) -> None:
    """Without weights where `categories` of what is read says it all."""
    node = stages(read_recipe(recipe, [f"tokenizer.expand.from={stated}"])).nodes["tokenizer/main"]
    assert node.inputs["select"] == tuple(f"select/{source}" for source in read)
    assert (node.parameters.categories, node.parameters.weights) == (categories, weights)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (
            "{zh-web: 0}",
            "the weight of zh-web is 0; a weight is a whole number from 1 to 1,000,000",
        ),
        ("{zh-web: -2}", "the weight of zh-web is -2;"),
        ("{zh-web: true}", "the weight of zh-web is True;"),
        ("{zh-web: 0.5}", "the weight of zh-web is 0.5;"),
        ("{zh-web: 4.0}", "the weight of zh-web is 4.0;"),
        ("{zh-web: '4'}", "the weight of zh-web is '4';"),
        ("{zh-web: 1000001}", "the weight of zh-web is 1000001;"),
        (
            "zh-web",
            "write names of sources or categories, such as [zh-web, books], or each with its",
        ),
        ("[zh-web, 3]", "write names of sources or categories"),
        ("[{zh-web: 4}]", "write names of sources or categories"),
        (
            "{zh-wbe: 4}",
            "'zh-wbe' is not in this recipe (did you mean 'zh-web'?); it has: zh, en, zh-web",
        ),
        ("[zh-wbe]", "'zh-wbe' is not in this recipe (did you mean 'zh-web'?)"),
        (
            "{reference: 4, zh-web: 1}",
            "source 'reference' has no category, so none of its text is selected",
        ),
        (
            "{zh-web: 4, zh: 1}",
            "text of source 'zh-web' in category 'zh' has two weights, 4 by the source's",
        ),
    ],
)
def test_what_is_refused(recipe: Path, stated: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        read_recipe(recipe, [f"tokenizer.expand.from={stated}"])
    assert "tokenizer.expand.from" in str(error.value) and message in str(error.value)


@pytest.mark.parametrize("name", ["categories", "weights"])
def test_what_the_plan_sets_is_not_stated(recipe: Path, name: str) -> None:
    value = {"categories": "[zh]", "weights": "{zh-web: {zh: 4}}"}[name]
    with pytest.raises(
        RecipeError,
        match=rf"tokenizer.{name}: is set by the plan; name sources .* `tokenizer.expand.from`",
    ):
        read_recipe(recipe, [f"tokenizer.{name}={value}"])


def test_training_from_nothing_weighs_as_well(recipe: Path) -> None:
    overrides = ["tokenizer={train: {size: 400, from: {zh-web: 4, books: 1}}}"]
    parameters = stages(read_recipe(recipe, overrides)).nodes["tokenizer/main"].parameters
    assert parameters.weights == {"books": {"zh": 1}, "zh-web": {"zh": 4}}


def test_a_version_holds_weights_only_where_they_differ() -> None:
    def version(stated: Stated) -> str:
        return version_of(STAGE, "main", planned(stated), {}, {})

    assert "weights" not in planned(["zh-web", "books"]).identity(), (
        "recipes without weights keep their versions"
    )
    same = [
        ["zh-web", "books"],
        ["books", "zh-web"],
        {"books": 1, "zh-web": 1},
        {"zh-web": 6, "books": 6},
    ]
    assert len({version(stated) for stated in same}) == 1
    weighed = [{"zh-web": 4, "books": 1}, {"books": 1, "zh-web": 4}, {"zh-web": 8, "books": 2}]
    assert len({version(stated) for stated in weighed}) == 1
    assert (
        len({version(stated) for stated in ([*same[:1], *weighed[:1], {"zh-web": 1, "books": 4}])})
        == 3
    )


@given(st.dictionaries(st.sampled_from(sorted(FEEDS)), st.integers(1, MAXIMUM_WEIGHT), min_size=1))
def test_weights_are_relative(stated: dict[str, int]) -> None:
    shares = planned(stated).shares(FEEDS)
    assert set(shares) == set(stated)
    assert all(
        stated[one] * weight_two == stated[two] * weight_one
        for one, two in zip(stated, reversed(stated), strict=True)
        for weight_one in shares[one].values()
        for weight_two in shares[two].values()
    )


@pytest.mark.parametrize("family", sorted(BASES))
@given(st.dictionaries(st.integers(1, 5), st.lists(st.sampled_from(CHINESE + ENGLISH), max_size=5)))
def test_counts_are_those_of_the_text_so_many_times(
    family: str, texts: Mapping[int, list[str]]
) -> None:
    found = family_of(BASES[family])
    repeated = [text for weight, some in texts.items() for text in some * weight]
    assert counted(found, texts) == counted(found, repeated)


def test_missing_characters_count_by_weight() -> None:
    base = sentencepiece_base()
    first = {
        name: grow(base, {weight: ["花" * 3], 1: ["猫" * 4]}, size_of(base) + 1).tokens[0].text
        for name, weight in (("light", 1), ("heavy", 2))
    }
    assert first == {"light": "猫", "heavy": "花"}


def test_a_name_that_is_both_means_the_source() -> None:
    stated = TokenizerParameters(base="x", expand={"size": 400, "from": ["web"]})
    assert stated.shares({"web": ("web",), "more": ("web",)}) == {"web": {"web": 1}}
    assert TokenizerParameters(base="x").shares({}) == {}
