"""`null` means "without": everywhere in the schema it leaves out, removes or is refused; it is
never ignored.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest
import yaml

from flows.planning.wiring import stages
from flows.recipe.file import RecipeError
from flows.recipe.read import read_recipe
from flows.recipe.sections import Recipe

FULL = """\
name: full
engine: {kind: inline}
sources:
  web:
    ingest: {format: jsonl, paths: [a.jsonl], fields: {text: text}, limit: 9}
    line_dedup: {minimum_copies: 3}
    langid: {keep: {languages: [en], threshold: 0.5}}
    quality:
      settings: {en: {gopher.word_count: {min: 3}}}
      rules: [gopher, gopher.repetition]
      keep: {rules: [gopher], except: [gopher.repetition]}
    perplexity: {keep: [head]}
    category: {en: web-en}
  reference: {ingest: {format: text, paths: [a.txt]}}
language_models: {en: {sources: [reference]}}
percentiles: {head: 20}
benchmarks:
  exam:
    {format: multiple-choice, paths: [exam.jsonl], dev: [dev.jsonl],
     style: {question: 'Q: {question}', delimiter: " ", score: texts}}
dedup: {verify: 0.9, gates: {removal_rate: 0.5}}
decontaminate: {against: [exam]}
select: {heldout: {fraction: 0.1}}
tokenizer: {base: base, expand: {size: 40000, from: {web-en: 2}}}
model: {base: base, embeddings: mean, layers: {first: 2},
        context: {positions: 512, rope: {type: linear, factor: 2}}}
binning: {sequence_length: 32, bins: 2}
training:
  batch: 1K
  optimizer: {lr: 1e-3}
  schedule: {kind: cosine, warmup: 100}
  guard: {spike: 2}
  phases:
    - {name: one, tokens: 10K, batch: {from: 1K, to: 2K}, schedule: {kind: linear},
       mixture: {web-en: 1.0}}
    - {name: two, tokens: 10K, mixture: {web-en: {from: 0.5, to: 1}}}
evaluation: {tasks: [exam], long_text: {documents: 3}, shots: {exam: 1}}
"""
CREATED = {
    "tokenizer": {"train": {"size": 300}},
    "model": {
        "create": {
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
        }
    },
}


ABOUT_NULL = re.compile("null (means|takes|is)")


def write(folder: Path, data: Any, name: str = "r.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(data, sort_keys=False))
    return file


def full(*, created: bool = False) -> Any:
    data = yaml.safe_load(FULL)
    data["training"]["phases"][1]["mixture"] = {"web-en": "rest"}
    return data | (copy.deepcopy(CREATED) if created else {})


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every model and map in a recipe, by path."""
    if isinstance(value, pydantic.BaseModel) and isinstance(value.model_dump(), dict):
        yield path, value
        for name, info in type(value).model_fields.items():
            if not info.exclude:
                yield from places(getattr(value, name), (*path, info.alias or name))
    elif isinstance(value, dict):
        yield path, value
        for name, item in value.items():
            yield from places(item, (*path, name))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def at(data: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        data = data[step] if not isinstance(data, dict) else data.setdefault(step, {})
    return data


def stated(data: Any, path: tuple[Any, ...]) -> bool:
    for step in path:
        if isinstance(data, dict) and step not in data:
            return False
        data = data[step]
    return True


def read(file: Path) -> tuple[Recipe | None, str]:
    try:
        return read_recipe(file), ""
    except RecipeError as error:
        return None, str(error)


@pytest.mark.parametrize("created", [False, True])
def test_null_at_every_key_of_every_model_is_absent_or_refused(
    created: bool, tmp_path: Path
) -> None:
    recipe = read_recipe(write(tmp_path, full(created=created)))
    tried = 0
    for path, model in places(recipe):
        if not isinstance(model, pydantic.BaseModel) or not stated(full(created=created), path):
            continue
        if created and path[:1] not in (("tokenizer",), ("model",)):
            continue
        for name, info in type(model).model_fields.items():
            key = info.alias or name
            data = full(created=created)
            parent = at(data, path)
            if not isinstance(parent, dict):
                continue  # written short, as a list or a word
            tried += 1
            parent[key] = None
            found, error = read(write(tmp_path, data))
            where = ".".join(map(str, (*path, key)))
            default = None if info.is_required() else info.get_default(call_default_factory=True)
            if type(None) in get_args(info.annotation):
                if found is None:  # what rests on it speaks, not null
                    assert not ABOUT_NULL.search(error), (where, error)
                    continue
                value: Any = found
                for step in path:
                    value = (
                        value[step]
                        if not isinstance(value, pydantic.BaseModel)
                        else field(value, step)
                    )
                assert getattr(value, name) is None, where
            elif not info.is_required() and isinstance(default, (dict, tuple)) and not default:
                assert not ABOUT_NULL.search(error), (where, error)
            else:
                assert re.search(rf"(^|: ){re.escape(where)}: {ABOUT_NULL.pattern}", error), (
                    where,
                    error,
                )
    assert tried > (20 if created else 150)


def field(model: pydantic.BaseModel, key: str) -> Any:
    by_key = {info.alias or name: name for name, info in type(model).model_fields.items()}
    return getattr(model, by_key[key])


def test_an_unknown_key_is_refused_whatever_its_value_at_every_depth(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, full(), "base.yaml"))
    tried = 0
    for path, found in places(recipe):
        parent = at(full(), path) if stated(full(), path) else None
        if not isinstance(parent, dict):
            continue
        tried += 1
        data = full()
        at(data, path)["tpyo"] = None
        override = ".".join(map(str, (*path, "tpyo")))
        child = {"extends": "base.yaml"}
        if not any(isinstance(step, int) for step in path):
            at(child, path)["tpyo"] = None
        files = [(write(tmp_path, data), []), (tmp_path / "base.yaml", [f"{override}=null"])]
        files += [(write(tmp_path, child, "child.yaml"), [])] if len(child) > 1 or not path else []
        for file, overrides in files:
            with pytest.raises(RecipeError) as refused:
                read_recipe(file, overrides)
            words = "unknown key" if isinstance(found, pydantic.BaseModel) else "there is no 'tpyo'"
            if (
                path[3:4] == ("settings",) and len(path) > 4
            ):  # maps of rules and their settings have names of their own
                override, words = "sources.web.quality.settings", "'tpyo'"
            assert f"{override}: " in str(refused.value) and words in str(refused.value), (
                file,
                override,
            )
    assert tried > 30


def test_null_takes_out_of_maps_and_takes_back_what_an_extended_recipe_states(
    tmp_path: Path,
) -> None:
    write(tmp_path, full(), "base.yaml")
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: base.yaml\nsources: {web: {perplexity: null}, reference: null}\nlanguage_models: "
        "null\ndedup: {verify: null, gates: {removal_rate: null}}\nbinning: {bins: null}\n"
    )
    recipe = read_recipe(child)
    assert (
        list(recipe.sources) == ["web"]
        and recipe.sources["web"].perplexity is None
        and not recipe.language_models
    )
    assert recipe.dedup is not None and (recipe.dedup.verify, recipe.dedup.gates.removal_rate) == (
        0.8,
        None,
    )
    grandchild = tmp_path / "grandchild.yaml"
    grandchild.write_text("extends: child.yaml\nsources: {reference: null}\n")
    assert list(read_recipe(grandchild).sources) == ["web"]
    assert read_recipe(tmp_path / "base.yaml", ["binning.bins=null"]).binning.bins == 10  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "dedup: {verify: null}",
            "dedup.verify: null means without, and this cannot be left out; write a value, or ",
        ),
        (
            "dedup: {prefer: null}",
            "write [] for none, or a value, or remove the line for the default ",
        ),
        (
            "engine: null",
            "engine: null means without, and engine cannot be left out; write {} for its defaults",
        ),
        ("langidd: null", "langidd: unknown key"),
        (
            "sources: {wbe: null}",
            "and there is no 'wbe' (did you mean 'web'?); it has: web, reference",
        ),
        (
            "training: {phases: [{name: a, tokens: 1K, schedul: null}]}",
            "unknown key (did you mean 'schedule'?)",
        ),
        ("training: {phases: [null]}", "null is not a map"),
        (
            "training: {guard: null}",
            "training.guard: null means without, and guard cannot be left out; write {} ",
        ),
        ("sources: {web: {ingest: null}}", "sources.web.ingest: null is not a map"),
        ("name: null", "name: null is not text"),
    ],
)
def test_a_null_without_a_meaning_is_refused_in_words(
    text: str, message: str, tmp_path: Path
) -> None:
    write(tmp_path, full() | {"dedup": {}, "engine": {}}, "base.yaml")
    file = tmp_path / "r.yaml"
    file.write_text(f"extends: base.yaml\n{text}\n")
    with pytest.raises(RecipeError) as refused:
        read_recipe(file)
    assert message in str(refused.value) and "r.yaml:2: " in str(refused.value)


def test_null_turns_a_rule_off(tmp_path: Path) -> None:
    data = full()
    data["sources"]["web"]["quality"]["settings"]["en"]["gopher.word_count"] = None
    quality = read_recipe(write(tmp_path, data)).sources["web"].quality
    assert quality is not None and quality.settings == {"en": {"gopher.word_count": None}}


def test_an_empty_override_is_no_null(tmp_path: Path) -> None:
    file = write(tmp_path, full())
    with pytest.raises(
        RecipeError, match=r"-s dedup=: is empty; write a value, dedup=null to leave it out"
    ):
        read_recipe(file, ["dedup="])


def test_without_dedup_there_are_no_signatures_and_every_eligible_document_is_selected(
    tmp_path: Path,
) -> None:
    file = write(tmp_path, full() | {"dedup": None, "evaluation": {"tasks": ["exam"]}})
    with pytest.raises(
        RecipeError,
        match=r"select\.heldout: without dedup, copies of held-out text would be trained",
    ):
        read_recipe(file)
    recipe = read_recipe(file, ["select.heldout=null"])
    nodes = stages(recipe).nodes
    assert recipe.dedup is None and not {node.stage.name for node in nodes.values()} & {
        "dedup",
        "signatures",
    }
    assert set(nodes["select/web"].inputs) == {"documents", "line_dedup", "cut"}
    with pytest.raises(
        RecipeError, match=r"select\.index: an index is made from dedup's signatures"
    ):
        read_recipe(file, ["select={heldout: null, index: true}"])


def test_what_the_plan_sets_is_refused(tmp_path: Path) -> None:
    for key, value in (("benchmarks", "{}"), ("decontaminated", "[exam]"), ("model", "base")):
        with pytest.raises(RecipeError, match=rf"evaluation\.{key}: is set by the plan"):
            read_recipe(write(tmp_path, full()), [f"evaluation.{key}={value}"])
