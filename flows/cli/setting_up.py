"""Commands to get started: doctor, init, schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import EXIT_FAILED, EXIT_USAGE, StoreUrl, say


def doctor(store: StoreUrl = "artifacts") -> None:
    """Check that everything recipes need is installed, that the machine has room, and that server,
    work pools and store can be used; say what to do where not.
    """
    from rich.console import Console
    from rich.markup import escape

    from flows.cli.doctor import examine
    from flows.monitoring.server import prepare_environment

    prepare_environment()
    console, bad = Console(), 0
    for finding in examine(store):
        colour = {"ok": "green", "note": "yellow", "bad": "red"}[finding.verdict]
        action = f"  -> {finding.action}" if finding.action else ""
        console.print(
            f"[{colour}]{finding.verdict:>4}[/]  {escape(finding.what)}: {escape(finding.found)}"
            f"{escape(action)}",
            highlight=False,
            soft_wrap=True,
        )
        bad += finding.verdict == "bad"
    if bad:
        raise typer.Exit(EXIT_FAILED)


def init(
    file: Annotated[Path, typer.Argument(help="The recipe to write.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented recipe to start from."""
    text = Path(__file__).with_name("starter.yaml").read_text(encoding="utf-8")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-._") or "recipe"
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text.replace("{file}", str(file)).replace("name: {name}", f"name: {name}"))
    except FileExistsError:
        say(f"error: {file} already exists; name another file, or remove it")
        raise typer.Exit(EXIT_USAGE) from None
    except OSError as error:
        say(f"error: {file} cannot be written: {error.strerror}")
        raise typer.Exit(EXIT_USAGE) from None
    print(f"{file} written; fill in your paths, then: puna plan {file}")


def schema() -> None:
    """Print the JSON schema of recipes, for editors."""
    from flows.recipe.read import recipe_schema

    print(json.dumps(recipe_schema(), indent=1))
