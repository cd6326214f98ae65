"""`puna tokenizer`: compare tokenizers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import JsonOption, StoreUrl, open_artifact, refusals

app = typer.Typer(help="Compare tokenizers.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Compare tokenizers."""


@app.command()
def compare(
    tokenizers: Annotated[
        list[str],
        typer.Argument(
            help="Folders, tokenizer.json, sentencepiece .model, Llama-3 rank or llama2.c files, or artifacts of a "
            "store, such as tokenizer/main.",
            show_default=False,
        ),
    ],
    text: Annotated[
        list[Path],
        typer.Option("--text", help="JSONL or Parquet (`text` or `target`), or plain text by line; repeatable."),
    ],
    store: StoreUrl = "artifacts",
    as_json: JsonOption = False,
) -> None:
    """Print vocabulary, compression rate and average tokens a sample of each tokenizer on the same text."""
    from tasks.tokenizer.compare import compare as measure
    from tasks.tokenizer.compare import named, render
    from tasks.tokenizer.sample_files import read_texts

    with refusals():
        texts = read_texts(text)
        paths = {name: _path(name, store) for name in tokenizers}
        short = {
            path: label for label, path in named([path for name, path in paths.items() if path == Path(name)]).items()
        }
        rows = measure({short.get(path.absolute(), name): path for name, path in paths.items()}, texts)
    print(json.dumps({"tokenizers": [row.to_json() for row in rows]}, ensure_ascii=False) if as_json else render(rows))


def _path(name: str, store: str) -> Path:
    """A local path as it is; what is none, but looks like an artifact, from the store."""
    path = Path(name)
    folder = {"tokenizer": "tokenizer", "model": "checkpoint", "training": "checkpoint"}.get(name.partition("/")[0])
    return open_artifact(store, name).folder(folder) if folder and not path.exists() else path
