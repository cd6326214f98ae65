"""Stage tokenizer: from `select` and `base` to `tokenizer/`, `new_tokens.json`, `report.json`.

`tokenizer/` is a folder that `AutoTokenizer` loads; where the base has a sentencepiece file, it
also holds a grown `tokenizer.model`.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store.attempt import Shard
from tasks.checkpoints.base import (
    MODEL_FILE,
    BaseTokenizer,
    folder_of,
    naming,
    open_base,
    read_base_tokenizer,
)
from tasks.checkpoints.sentencepiece_model import SentencePieceModel
from tasks.checkpoints.tokenizer_files import size_of, write_tokenizer
from tasks.checkpoints.tokenizer_settings import named_by_config, read_settings
from tasks.tokenizer.append import unreachable
from tasks.tokenizer.expand import GrownTokenizer, grow
from tasks.tokenizer.given_pieces import read_pieces
from tasks.tokenizer.measure import measure, report, write_report
from tasks.tokenizer.model_file import differences, grown_model
from tasks.tokenizer.piece_account import PieceAccount
from tasks.tokenizer.pieces import add_pieces
from tasks.tokenizer.rules import SplittingRules
from tasks.tokenizer.stage import TokenizerParameters
from tasks.tokenizer.texts import (
    SampleText,
    TextFile,
    measured_texts,
    training_files,
    training_texts,
)
from tasks.tokenizer.train import SETTINGS, bytes_only

MEASURED_CHARACTERS = 500_000
"""Per category."""


@dataclass(frozen=True)
class TokenizerWork:
    """Input of the stage's only shard."""

    parameters: TokenizerParameters
    base: Path | None
    pieces: Path | None
    files: tuple[TextFile, ...]


def run(context: Context) -> Outcome:
    """See the module docstring."""
    parameters: TokenizerParameters = context.parameters
    base: Path | None = None
    if context.optional("base"):
        artifact = context.input("base")
        base = artifact.folder("checkpoint" if artifact.files("checkpoint/") else "tokenizer")
    elif parameters.base is not None:
        base = context.folder("base", folder_of)
    files = tuple(
        file
        for artifact in context.many("select")
        for name in artifact.files()
        if (file := TextFile.of(name, artifact.path(name), artifact.name)) is not None
    )
    given = parameters.expand is not None and parameters.expand.method == "pieces"
    if parameters.learns and not training_files(files, parameters.categories, parameters.weights):
        raise StageError(
            "there is no text to learn the tokenizer from in the categories "
            f"{parameters.categories or 'of the inputs'}; name sources or categories that have "
            "documents in `from`"
        )
    pieces = context.pin("expand.pieces") if given else None
    work = TokenizerWork(parameters, base, pieces, files)
    return Outcome(statistics=context.map(make, {"tokenizer": work})["tokenizer"])


@dataclass(frozen=True)
class Made:
    """A tokenizer before (None: trained from scratch) and after, its settings and statistics."""

    before: BaseTokenizer | None
    grown: GrownTokenizer
    settings: dict[str, Any]
    account: PieceAccount | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def make(work: TokenizerWork, shard: Shard) -> dict[str, Any]:
    """Make the tokenizer, prove it and write it."""
    with tempfile.TemporaryDirectory() as scratch:
        with naming(work.base or Path(), Path(scratch) / "base"):
            made = _made(work, Path(scratch))
        before = made.before.tokenizer if made.before else None
        after, learned = made.grown.tokenizer, made.grown.tokens
        tokens = learned if before is not None else []
        sample = measured_texts(work.files, MEASURED_CHARACTERS)
        lost = unreachable(after, learned)
        statistics = {
            "headline": f"{size_of(after):,} tokens, {len(tokens):,} of them new",
            "size": size_of(after),
            "base_size": size_of(before) if before is not None else 0,
            "new_tokens": len(tokens),
            "unreachable": len(lost),
            **measure(before, after, tokens, sample),
            **made.notes,
        }
        if lost or statistics["coarsening_violations"]:
            raise StageError(
                f"{len(lost)} new tokens cannot be reached ({[token.token for token in lost[:5]]}) "
                f"and {statistics['coarsening_violations']} texts no longer segment as with the "
                "base; this is a defect of the stage, please report it"
            )
        target = Path(scratch) / "tokenizer"
        write_tokenizer(after, target, made.settings)
        if made.before is not None and made.before.model is not None:
            statistics |= _write_model(made.before.model, after, target, sample)
        shard.publish(target, "tokenizer")
        with shard.create("new_tokens.json") as path:
            rows = ",\n".join(json.dumps(asdict(token), ensure_ascii=False) for token in tokens)
            path.write_text(f"[\n{rows}\n]\n" if tokens else "[]\n", encoding="utf-8")
        with shard.create("report.json") as path:
            content = report(
                before, after, learned, made.grown.steps, made.grown.tokens_before, sample
            )
            write_report(
                path, {**content, "given_pieces": made.account.summary() if made.account else None}
            )
    return statistics


def _made(work: TokenizerWork, scratch: Path) -> Made:
    parameters = work.parameters
    learned_from = training_files(work.files, parameters.categories, parameters.weights)
    texts = training_texts(learned_from, parameters.sample_bytes)
    if parameters.train is not None:
        grown = grow(bytes_only(), texts, parameters.train.size, parameters.train.longest_piece)
        return Made(None, grown, SETTINGS)
    folder = open_base(work.base or Path(), scratch)
    before = read_base_tokenizer(folder)
    settings = {**named_by_config(folder, before.tokenizer), **read_settings(folder)}
    rules = SplittingRules(before.model.trainer) if before.model is not None else None
    notes: dict[str, Any] = {"corrected_in_base": list(before.corrected)}
    if before.model is not None:
        notes["base_pieces_of_equal_score"] = before.model.equal_scores()
    expand = parameters.expand
    if expand is None:
        return Made(before, GrownTokenizer(before.tokenizer, [], [], 0), settings, notes=notes)
    notes["splitting_rules"] = _rules_of(before, rules)
    if work.pieces is not None:
        given = read_pieces(work.pieces, expand.longest_piece)
        tokenizer, tokens, account = add_pieces(before.tokenizer, given, rules)
        summary = {key: value for key, value in account.summary().items() if key != "examples"}
        return Made(
            before,
            GrownTokenizer(tokenizer, tokens, [], 0),
            settings,
            account,
            {**notes, "pieces": summary},
        )
    size = expand.size if isinstance(expand.size, int) else None
    grown = grow(
        before.tokenizer,
        texts,
        size,
        expand.longest_piece,
        rules,
        maximum=expand.maximum,
        scripts=expand.scripts,
    )
    return Made(before, grown, settings, notes=notes)


def _rules_of(base: BaseTokenizer, rules: SplittingRules | None) -> dict[str, Any]:
    """Where the rules for what a piece may hold come from, and a sentencepiece base's rules."""
    if not json.loads(base.tokenizer.to_str())["model"].get("byte_fallback"):
        return {"from": "the base's pre-tokenizer"}
    stated = (
        f"trainer_spec of {MODEL_FILE}"
        if rules is not None
        else f"assumed as Llama-2's: the base has no {MODEL_FILE}"
    )
    return {"from": stated, **asdict((rules or SplittingRules()).spec)}


def _write_model(
    model: SentencePieceModel, after: Tokenizer, target: Path, sample: dict[str, list[SampleText]]
) -> dict[str, Any]:
    """Write the grown sentencepiece file; count the texts it segments differently."""
    blob = grown_model(model, after)
    (target / MODEL_FILE).write_bytes(blob)
    texts = [document.text for documents in sample.values() for document in documents]
    return {"sentencepiece_differences": len(differences(blob, after, texts))}
