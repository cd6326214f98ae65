"""`puna export`: a trained model for other programs."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.common import JsonOption, RefArgument, find_artifact, put, refusals, say
from flows.cli.exporting_to_axolotl import export_to_axolotl

if TYPE_CHECKING:
    from infra.store import Artifact


def export(
    reference: RefArgument,
    folder: Annotated[
        Path,
        typer.Argument(help="The new folder, for transformers and vLLM.", show_default=False),
    ],
    gguf: Annotated[
        Path | None, typer.Option("--gguf", help="Also write this GGUF file, for llama.cpp.")
    ] = None,
    outtype: Annotated[
        str, typer.Option(help="Numbers of the GGUF file: f32, f16, bf16, q8_0 or auto.")
    ] = "auto",
    pre: Annotated[
        str,
        typer.Option(
            help="llama.cpp's name of the tokenizer's split into words, where it is not found."
        ),
    ] = "",
    to: Annotated[
        str,
        typer.Option(
            help="axolotl: what it needs to train a phase of --recipe, which need not be trained.",
        ),
    ] = "",
    recipe: Annotated[
        Path | None, typer.Option(help="The recipe that states the phase, with --to.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="URL of the store; by default artifacts, or the recipe's.",
            envvar="PUNA_STORE",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model (training/PHASE or model/main) as files that other programs load.

    The folder loads in transformers and vLLM as it is. With --to axolotl, the model that a phase
    begins with, its documents and axolotl's configuration.
    """
    from infra.stage import StageError
    from tasks.export import gguf as converter
    from tasks.export.folder import write_folder

    with refusals():
        if to or recipe:
            if to and to != "axolotl":
                raise StageError(f"--to {to}: is not known; write --to axolotl, or leave it out")
            if not to or recipe is None:
                lacking = "--to axolotl" if recipe else "--recipe FILE, the recipe of the phase"
                raise StageError(f"--to and --recipe go together; add {lacking}")
            export_to_axolotl(reference, recipe, folder, store)
            return
        if outtype not in converter.OUTPUT_TYPES:
            raise StageError(
                f"--outtype {outtype} is not one of {', '.join(converter.OUTPUT_TYPES)}"
            )
        if gguf is not None:
            converter.require_converter()
            if gguf.exists():
                raise StageError(f"{gguf} exists; name another file, or remove it first")
        artifact = find_artifact(store or "artifacts", reference)
        if not artifact.files("checkpoint/"):
            raise StageError(
                f"{artifact.identity} holds no model; name training/PHASE or model/main"
            )

        def convert(copy: Path) -> None:
            if gguf is not None:
                with tempfile.TemporaryDirectory() as scratch:
                    size = base_size(artifact)
                    converter.convert(
                        copy, gguf, Path(scratch), outtype=outtype, base_size=size, pre=pre
                    )

        facts = write_folder(artifact.folder("checkpoint"), folder, convert)
        say(
            f"{folder}: {facts['architecture']}, {facts['tokens']:,} tokens, {facts['rows']:,} rows"
        )
        if gguf is not None:
            say(f"{gguf}: {gguf.stat().st_size:,} bytes")
    if as_json:
        put(json.dumps({"folder": str(folder), "gguf": str(gguf) if gguf else None, **facts}))
    else:
        put(f"vllm serve {folder}")
        if gguf is not None:
            put(f"llama-cli -m {gguf} -p 'Once upon a time'")


def base_size(artifact: Artifact) -> int | None:
    """Tokens of the tokenizer before it was grown; None where it was not."""
    statistics = artifact.statistics
    if statistics.get("new_tokens"):
        return int(statistics["tokenizer_size"]) - int(statistics["new_tokens"])
    if artifact.files("state/"):
        rows = json.loads(artifact.path("state/state.json").read_text())["new_rows"]
        return int(rows[0]) if rows else None
    return None
