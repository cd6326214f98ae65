"""`puna tokenizer`: compare tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import EXIT_USAGE, JsonOption, StoreUrl, find_artifact, put, refusals, say

app = typer.Typer(help="Compare tokenizers.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compare tokenizers."""


@app.command()
def compare(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            help="Folders, tokenizer.json, sentencepiece .model, Llama-3 rank or llama2.c files, "
            "or artifacts of a store, such as tokenizer/main.",
            show_default=False,
        ),
    ],
    text: Annotated[
        list[Path],
        typer.Option(
            "--text",
            help="JSONL or Parquet (`text` or `target`), or plain text by line; repeatable.",
        ),
    ],
    store: StoreUrl = "artifacts",
    as_json: JsonOption = False,
) -> None:
    """Print vocabulary, compression rate and average tokens a sample of each tokenizer on the same
    text.
    """
    from tasks.tokenizer.compare import compare as measure
    from tasks.tokenizer.compare import named, render
    from tasks.tokenizer.sample_files import read_texts

    with refusals():
        texts = read_texts(text)
        paths, unread = _paths(tokenizers, store)
        short = {
            path: label
            for label, path in named(
                [path for name, path in paths.items() if path == Path(name)]
            ).items()
        }
        rows, unreadable = measure(
            {short.get(path.absolute(), name): path for name, path in paths.items()}, texts
        )
    unread |= unreadable
    if as_json:
        put(
            json.dumps(
                {"tokenizers": [row.to_json() for row in rows], "unread": unread},
                ensure_ascii=False,
            )
        )
    elif rows:
        put(render(rows))
    for why in unread.values():
        say(f"error: {why}")
    if unread:
        raise typer.Exit(EXIT_USAGE)


def _paths(names: list[str], store: str) -> tuple[dict[str, Path], dict[str, str]]:
    """The path of each tokenizer, and why others have none."""
    from infra.stage import StageError

    paths: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for name in names:
        try:
            paths[name] = _path(name, store)
        except StageError as error:
            missing[name] = str(error)
    return paths, missing


def _path(name: str, store: str) -> Path:
    """An existing local path as it is; otherwise what looks like an artifact, from the store."""
    path = Path(name)
    folder = {"tokenizer": "tokenizer", "model": "checkpoint", "training": "checkpoint"}.get(
        name.partition("/")[0]
    )
    return find_artifact(store, name).folder(folder) if folder and not path.exists() else path
