"""Stage tokenizer: inputs `select` and `base`; writes `tokenizer/` and `new_tokens.json`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store.attempt import Shard
from tasks.checkpoints.base import folder_of, open_base
from tasks.checkpoints.tokenizer_files import read_settings, read_tokenizer, size_of, write_tokenizer
from tasks.tokenizer.expand import NewToken, continue_bpe, unreachable
from tasks.tokenizer.measure import measure
from tasks.tokenizer.stage import TokenizerParameters
from tasks.tokenizer.texts import TextFile, measured_texts, training_files, training_texts
from tasks.tokenizer.train import SETTINGS, train

MEASURED_CHARACTERS = 500_000
"""Per category."""


@dataclass(frozen=True)
class Work:
    """All that the one shard of this stage needs."""

    parameters: TokenizerParameters
    base: str | None
    files: tuple[TextFile, ...]


def run(context: Context) -> Outcome:
    """See the module docstring."""
    parameters: TokenizerParameters = context.parameters
    base: Path | None = None
    if context.inputs.get("base"):
        base = context.input("base").folder("checkpoint")
    elif parameters.base is not None:
        base = folder_of(context.pins.get("base", ()))
    files = tuple(
        file
        for artifact in context.inputs.get("select", ())
        for name in artifact.files()
        if (file := TextFile.of(name, artifact.path(name))) is not None
    )
    grows = parameters.expand or parameters.train
    if grows and not training_files(files, parameters.categories):
        raise StageError(
            f"no text to learn the tokenizer from in the categories {parameters.categories or 'of the inputs'}; "
            "name sources or categories with documents in `from`"
        )
    work = Work(parameters, str(base) if base else None, files)
    return Outcome(statistics=context.map(make, {"tokenizer": work})["tokenizer"])


def make(work: Work, shard: Shard) -> dict[str, Any]:
    """Make the tokenizer, prove it and write it."""
    parameters = work.parameters
    with tempfile.TemporaryDirectory() as scratch:
        before = None
        tokens: list[NewToken] = []
        texts = training_texts(training_files(work.files, parameters.categories), parameters.sample_bytes)
        if parameters.train is not None:
            after, learned = train(texts, parameters.train.size, parameters.train.longest_piece)
            settings = SETTINGS
        else:
            folder = open_base(Path(work.base or ""), Path(scratch))
            before, settings = read_tokenizer(folder), read_settings(folder)
            after = before
            if parameters.expand is not None:
                after, tokens = continue_bpe(before, texts, parameters.expand.size, parameters.expand.longest_piece)
            learned = tokens
        lost = unreachable(after, learned)
        statistics = {
            "size": size_of(after),
            "base_size": size_of(before) if before is not None else 0,
            "new_tokens": len(tokens),
            "unreachable": len(lost),
            **measure(before, after, tokens, measured_texts(work.files, MEASURED_CHARACTERS)),
        }
        if lost or statistics["coarsening_violations"]:
            raise StageError(
                f"{len(lost)} new tokens cannot be reached ({[token.token for token in lost[:5]]}) and "
                f"{statistics['coarsening_violations']} texts segment otherwise than the base: a defect of this stage"
            )
        target = Path(scratch) / "tokenizer"
        write_tokenizer(after, target, settings)
        shard.publish(target, "tokenizer")
        with shard.create("new_tokens.json") as path:
            rows = ",\n".join(json.dumps(asdict(token), ensure_ascii=False) for token in tokens)
            path.write_text(f"[\n{rows}\n]\n" if tokens else "[]\n", encoding="utf-8")
    return statistics
