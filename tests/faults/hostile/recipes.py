"""Recipes' files and inputs: what a stranger's folder can hold."""

from __future__ import annotations

import os
from pathlib import Path

from tests.faults.hostile.case import PUNA, Command
from tests.faults.hostile.table import case
from tests.faults.hostile.writing import ESCAPES, PLAIN, build, plan, rows, write


@case("YAML: aliases of aliases, 10^9 values", "refused", "alias")
def _(folder: Path) -> list[Command]:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return [plan(write(folder / "recipe.yaml", "\n".join([*lines, PLAIN])))]


@case("YAML: an alias that holds itself", "refused", "alias|itself")
def _(folder: Path) -> list[Command]:
    return [plan(write(folder / "recipe.yaml", PLAIN + "notes: &a {b: *a}\n"))]


@case("YAML: lists nested 10^5 deep", "refused", "nested|deep")
def _(folder: Path) -> list[Command]:
    return [plan(write(folder / "recipe.yaml", PLAIN + "notes: " + "[" * 100_000))]


@case("YAML: a tag that makes a Python object", "refused", "unknown key", "executed")
def _(folder: Path) -> list[Command]:
    mark = folder / "executed"
    text = f"notes: !!python/object/apply:os.system ['touch {mark}']\n"
    return [plan(write(folder / "recipe.yaml", PLAIN + text))]


@case("YAML: a date, an octal number and a set where words belong", "refused", "dedup")
def _(folder: Path) -> list[Command]:
    return [plan(write(folder / "recipe.yaml", PLAIN + "dedup: 2024-01-01\n"))]


@case("recipe: a device without end", "refused", "no file")
def _(folder: Path) -> list[Command]:
    return [plan(Path("/dev/zero"))]


@case("recipe: a pipe that nobody writes to", "refused", "no file")
def _(folder: Path) -> list[Command]:
    os.mkfifo(folder / "recipe.yaml")
    return [plan(folder / "recipe.yaml")]


@case("recipe: 300 MB", "refused", "MB|bytes")
def _(folder: Path) -> list[Command]:
    with (folder / "recipe.yaml").open("w") as stream:
        for _ in range(300):
            stream.write("# " + "x" * 1_000_000 + "\n")
    return [plan(folder / "recipe.yaml")]


@case("recipe: extends a file of secrets", "refused", "map of sections|not YAML")
def _(folder: Path) -> list[Command]:
    return [plan(write(folder / "recipe.yaml", "extends: /etc/passwd\n"))]


@case("recipe: a name that leads out of the store", "refused", "name")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    text = PLAIN.replace("name: hostile", "name: ../../outside")
    return [plan(write(folder / "recipe.yaml", text))]


@case("recipe: a source's name that leads out of the store", "refused", "source")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    text = PLAIN.replace("web: {", '"../../outside": {')
    return [plan(write(folder / "recipe.yaml", text))]


@case("recipe: orders to the terminal in keys, values and an override", "refused", "unknown|Extra")
def _(folder: Path) -> list[Command]:
    text = PLAIN + f'"{ESCAPES}": "{ESCAPES}"\n'
    return [(*plan(write(folder / "recipe.yaml", text)), "-s", "dedup=\x1b[2J\x9b31m")]


@case("recipe: HTML as its name", "refused", "name")
def _(folder: Path) -> list[Command]:
    rows(folder / "web.jsonl")
    text = PLAIN.replace("name: hostile", "name: <script>alert(1)</script>")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: the store within the input's pattern", "refused", "store")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    text = PLAIN.replace("web.jsonl", "data/**/*.jsonl")
    recipe = write(folder / "recipe.yaml", text)
    return [(PUNA, "plan", str(recipe), "--store", str(folder / "data" / "store"))]


@case("input: the store within the input's pattern, by a symbolic link", "refused", "store")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    rows(folder / "store" / "ingest" / "web" / "part.jsonl")
    (folder / "data" / "more").symlink_to(folder / "store")
    text = PLAIN.replace("web.jsonl", "data/**/*.jsonl")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: a file of the store by a symbolic link", "refused", "store")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    rows(folder / "store" / "ingest" / "web" / "part.jsonl")
    (folder / "data" / "more.jsonl").symlink_to(folder / "store/ingest/web/part.jsonl")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: a pipe among the files", "refused", "is a pipe")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    os.mkfifo(folder / "data" / "more.jsonl")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: a device among the files", "refused", "is a device")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    (folder / "data" / "more.jsonl").symlink_to("/dev/zero")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: symbolic links in a circle", "refused", "leads nowhere")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "web.jsonl")
    (folder / "data" / "again").symlink_to(folder / "data")
    (folder / "data" / "loop.jsonl").symlink_to("loop.jsonl")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    return [plan(write(folder / "recipe.yaml", text))]


@case("input: orders to the terminal in a file's name", "done", "ingest")
def _(folder: Path) -> list[Command]:
    rows(folder / "data" / "a\x1b]0;owned\x07\n\u202eb.jsonl")
    text = PLAIN.replace("web.jsonl", "data/*.jsonl")
    recipe = write(folder / "recipe.yaml", text)
    store = str(folder / "store")
    return [
        build(recipe),
        (PUNA, "inspect", "--stage", "ingest", "--store", store),
    ]
