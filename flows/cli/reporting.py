"""`puna report`: the page of a recipe's run, or of two runs side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import SetOption, StoreOption, put, refusals
from flows.cli.running import run


def report(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A recipe; with B also a run or report/NAME[@version].",
            show_default=False,
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(metavar="B", help="Another one, to compare A with.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="With B: the page's file, instead of report-A-B.html here."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Draw the page again.")] = False,
    set_: SetOption = None,
    store: StoreOption = None,
) -> None:
    """Print the path of a recipe's report; draw it first if the store does not have it. With B,
    draw one page that compares the two.
    """
    if other is not None:
        _compare(recipe, other, output, store)
    else:
        _report(Path(recipe), force, set_, store)


def _compare(first: str, second: str, output: Path | None, store: str | None) -> None:
    """Write the page of two runs and print its path."""
    from flows.inspecting.runs import side
    from infra.io.files import replacing
    from tasks.report.compare import compare

    with refusals():
        default = os.environ.get("PUNA_STORE", "artifacts")
        sides = (side(first, store, default), side(second, store, default))
        names = (one.title.replace("/", "-") for one in sides)
        page = output or Path("-".join(["report", *names]) + ".html")
        drawn = compare(*sides)
        with replacing(page.absolute()) as path:
            path.write_text(drawn, encoding="utf-8")
    put(page.absolute())


def _report(recipe: Path, force: bool, set_: list[str] | None, store: str | None) -> None:
    """Print the path of a recipe's report."""
    from flows.planning.prepare import prepare
    from flows.planning.request import RunRequest
    from flows.running.results import Results

    with refusals():
        prepared = prepare(
            RunRequest.of(
                recipe, set_, store, only=["report"], force=["report"] if force else None
            ),
            made=True,
        )
        prepared.refuse_unresolved()
    drawn = Results(prepared.plan).to_json(None, "")["report"]
    if prepared.plan.to_run() or drawn is None:
        run(
            recipe,
            only=["report"],
            force=["report"] if force or not prepared.plan.to_run() else None,
            set_=set_,
            store=store,
        )
        return
    put(drawn)
