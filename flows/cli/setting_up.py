"""Commands to get started: doctor, init, schema."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import EXIT_FAILED, EXIT_USAGE, StoreUrl, put, say


def doctor(store: StoreUrl = "artifacts") -> None:
    """Check that everything recipes need is installed, that the machine has room, and that server,
    work pools and store can be used; say what to do where not.
    """
    from rich.text import Text

    from flows.cli.doctor import examine
    from flows.monitoring.console import PlainConsole
    from flows.monitoring.server import prepare_environment

    prepare_environment()
    console, bad = PlainConsole(), 0
    for finding in examine(store):
        colour = {"ok": "green", "note": "yellow", "bad": "red"}[finding.verdict]
        action = f"  -> {finding.action}" if finding.action else ""
        said = f"  {finding.what}: {finding.found}{action}"
        console.print(Text.assemble((f"{finding.verdict:>4}", colour), said), soft_wrap=True)
        bad += finding.verdict == "bad"
    if bad:
        raise typer.Exit(EXIT_FAILED)


def init(
    file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml"),
    from_: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NAME",
            help="The recipe to copy: adapt, colossal-llama-2, tinyllama/chinese, ...; an unknown "
            "name lists them.",
        ),
    ] = "adapt",
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME=FILES",
            help="A source's own files, a path or a quoted pattern; repeatable.",
        ),
    ] = None,
    base: Annotated[
        str, typer.Option("--base", help="The base model: a folder, or a name of the hub.")
    ] = "",
) -> None:
    """Copy a recipe that comes with Puna to start from, with your files and base in it. At a
    terminal, what no option gives is asked for.
    """
    from flows.recipe.copying import base_of, copies, sources, to_be_named
    from flows.recipe.file import RecipeError

    try:
        files_of = _pairs(source or ())
        if not files_of and not base and _at_a_terminal():
            stated = sources(from_)
            asked = {n: typer.prompt(f"files of source {n}", default=stated[n]) for n in stated}
            files_of = {name: files for name, files in asked.items() if files != stated[name]}
            if named := base_of(from_):
                base = typer.prompt("base model (a folder, or a name of the hub)", default=named)
                base = "" if base == named else base
        written = copies(from_, file, files_of, base)
    except RecipeError as error:
        say(f"error: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    for path, text in written.items():
        if path == file or not _holds(path, text):
            _write_new(path, text)
    beside = f" (and beside it {', '.join(p.name for p in [*written][1:])})" * (len(written) > 1)
    put(f"{file} written{beside}; what would run: puna plan {file}")
    if absent := to_be_named(written):
        put(
            f"it names what is not here: {', '.join(absent)}; put yours there, or write where it is"
        )


def _at_a_terminal() -> bool:
    return sys.stdin.isatty()


def _pairs(stated: Sequence[str]) -> dict[str, str]:
    """`NAME=FILES` of each --source."""
    pairs = {}
    for pair in stated:
        name, equals, files = pair.partition("=")
        if not equals or not name or not files:
            say(f'error: --source {pair}: write NAME=FILES, such as "text=mine/*.jsonl"')
            raise typer.Exit(EXIT_USAGE)
        pairs[name] = files
    return pairs


def _holds(file: Path, text: str) -> bool:
    """Whether a file that an earlier copy extends is there already."""
    return file.is_file() and file.read_bytes() == text.encode()


def _write_new(file: Path, text: str) -> None:
    """Write a file that is not there yet."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        say(f"error: {file} already exists; name another file, or remove it")
        raise typer.Exit(EXIT_USAGE) from None
    except OSError as error:
        say(f"error: {file} cannot be written: {error.strerror}")
        raise typer.Exit(EXIT_USAGE) from None


def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from flows.recipe.read import recipe_schema

    put(json.dumps(recipe_schema(), indent=1))
