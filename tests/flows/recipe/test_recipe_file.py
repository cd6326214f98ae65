"""Reading a recipe's file: lines of values, extends, variables, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.recipe.file import RecipeError, load


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_extends_merges_maps_and_replaces_lists_and_nulls_stay_for_the_models(
    tmp_path: Path,
) -> None:
    write(tmp_path, "base.yaml", "name: base\na: {x: 1, y: 2, z: 3}\nlist: [1, 2]\n")
    recipe = write(
        tmp_path, "r.yaml", "extends: base.yaml\nname: r\na:\n  y: 5\n  z: null\nlist: [9]\n"
    )
    document = load(recipe)
    assert document.data == {"name": "r", "a": {"x": 1, "y": 5, "z": None}, "list": [9]}
    assert document.replaced == {("name",), ("a", "y"), ("a", "z"), ("list",)}
    assert (
        document.place(("a", "x")).file.endswith("base.yaml")
        and document.place(("a", "x")).line == 2
    )
    assert (
        document.place(("a", "y")).file.endswith("r.yaml") and document.place(("a", "y")).line == 4
    )


def test_variables_take_the_environment_or_a_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write(tmp_path, "r.yaml", "a: ${PUNA_TEST_X:-here}/file\n")
    assert load(recipe).data == {"a": "here/file"}
    monkeypatch.setenv("PUNA_TEST_X", "/there")
    assert load(recipe).data == {"a": "/there/file"}
    with pytest.raises(RecipeError, match="PUNA_TEST_UNSET is not set"):
        load(write(tmp_path, "s.yaml", "a: ${PUNA_TEST_UNSET}\n"))


def test_overrides_reach_into_maps_lists_and_named_items(tmp_path: Path) -> None:
    text = "t:\n  phases:\n  - {name: a, lr: 1}\n  - {name: b, lr: 2}\nq: {gopher.x: {min: 1}}\n"
    recipe = write(tmp_path, "r.yaml", text)
    overrides = [
        "t.phases.b.lr=3",
        "t.phases.0.lr=0.5",
        "new.key=[1, 2]",
        "q.gopher.x.min=7",
        "q.gopher.y=2",
    ]
    data = load(recipe, overrides).data
    assert [phase["lr"] for phase in data["t"]["phases"]] == [0.5, 3]
    assert data["new"] == {"key": [1, 2]} and data["q"] == {
        "gopher.x": {"min": 7},
        "gopher": {"y": 2},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!bool maybe\n", r"r.yaml:1: 'maybe'"),
        (f"a: {'9' * 5000}\n", r"r.yaml:1: '9{60}': "),
        ("a: [1, 2\nb: 3\n", r"r.yaml:\d: is not YAML"),
        ("a: 1\na: 2\n", r"r.yaml:2: 'a' is given twice"),
        ("- 1\n", "a recipe is a map of sections"),
        ("extends: r.yaml\n", "extends itself"),
        ("extends: nowhere.yaml\n", "cannot be read"),
    ],
)
def test_bad_files_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(write(tmp_path, "r.yaml", text))


def test_an_override_is_read_as_the_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIZE", "7")
    for value in (
        "2024-01-01",
        "${SIZE}",
        '{b: 1, c: "${SIZE}"}',
        "[1, x]",
        "null",
        "a: b: c",
        "1e-4",
    ):
        data = load(write(tmp_path, "r.yaml", "a: 1\n"), [f"a={value}"]).data
        if value != "a: b: c":  # invalid YAML in a file; text for -s
            assert data == load(write(tmp_path, "s.yaml", f"a: {value}\n")).data, value
        else:
            assert data == {"a": value}


def test_what_a_recipe_extends_is_not_overridden(tmp_path: Path) -> None:
    for value in ("r.yaml", "nowhere.yaml", "null"):
        with pytest.raises(RecipeError, match=r"extends cannot be overridden"):
            load(write(tmp_path, "r.yaml", "a: 1\n"), [f"extends={value}"])


@pytest.mark.parametrize(
    "override",
    [
        "no-equals",
        "a.b.c=1",
        "list.7=1",
        "list.name=1",
        "list.²=1",
        "list.-1=1",
        ".=1",
        "a..b=1",
        "new.=1",
        "a={b: 1, b: 2}",
        "a={b: }",
        "a=${PUNA_NO_SUCH_VARIABLE}",
    ],
)
def test_bad_overrides_are_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError, match=r"^-s "):
        load(write(tmp_path, "r.yaml", "a: 1\nlist: [1, 2]\n"), [override])
