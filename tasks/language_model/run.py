"""Trains a language's models in two shards: the SentencePiece model, then an n-gram model on it.

Written to `data/`: sp.model, lm.arpa (builtin) or lm.bin (lmplz), and unit.json
(`tasks.language_model.unit`). Models trained elsewhere are taken over in their place.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import sentencepiece

from infra.context import Context
from infra.io.files import sha256_file
from infra.stage import Outcome, StageError
from infra.store import Shard
from infra.store.exchange import Exchange
from tasks.language_model import lmplz, pieces
from tasks.language_model.corpus import Reference, reference_parts, up_to_characters
from tasks.language_model.kneser_ney import DegenerateDiscount, estimate
from tasks.language_model.ngram_counts import Corpus, TooManyTokens
from tasks.language_model.pretrained import Pretrained, take_over
from tasks.language_model.stage import LanguageModelParameters
from tasks.language_model.unit import SENTENCEPIECE_FILE, write_unit
from tasks.text.normalise import Steps


def run(context: Context) -> Outcome:
    """Train, or take over, the two models of `parameters.language`."""
    parameters: LanguageModelParameters = context.parameters
    if parameters.pretrained:
        files = Pretrained(
            parameters.language,
            context.pin("sentencepiece"),
            context.pin("lm"),
            steps_of(parameters),
        )
        taken = context.map(take_over, {"unit": files})["unit"]
        return Outcome({"language": parameters.language, **taken})
    if parameters.estimator == "lmplz":
        lmplz.find(parameters.lmplz)  # refused here, before any work
    documents = context.many("documents")
    langid, line_dedup = map(context.many, ("langid", "line_dedup"))
    parts = reference_parts(documents, langid, line_dedup, parameters.held_out)
    reference = Reference(
        tuple(parts), parameters.language, parameters.held_out, steps_of(parameters)
    )
    train = functools.partial(train_pieces, parameters)
    trained = context.map(train, {"sentencepiece": reference})["sentencepiece"]
    model = context.attempt.data.local(SENTENCEPIECE_FILE)
    build = functools.partial(
        train_ngrams, parameters, model, context.exchange, context.cpu_threads
    )
    estimated = context.map(build, {"ngrams": reference})["ngrams"]
    return Outcome({"language": parameters.language, "sentencepiece": trained, **estimated})


def steps_of(parameters: LanguageModelParameters) -> Steps:
    """How the text of a language's models is normalised."""
    return Steps(**dict.fromkeys(parameters.normalise_without, False))


def train_pieces(
    parameters: LanguageModelParameters, reference: Reference, shard: Shard
) -> dict[str, Any]:
    """Train and publish the SentencePiece model."""
    documents = up_to_characters(
        reference.documents(parameters.sentencepiece_documents), parameters.sentencepiece_characters
    )
    first = next(documents, None)
    if first is None:
        raise StageError(
            f"the reference sources have no text in language {parameters.language!r}; check the "
            "langid statistics of the sources, or name other sources"
        )
    counts = {"documents": 0, "characters": 0}

    def counted() -> Iterator[str]:
        for document in itertools.chain([first], documents):
            counts["documents"] += 1
            counts["characters"] += len(document)
            yield document

    try:
        model = pieces.train(counted(), parameters.vocabulary, parameters.character_coverage)
    except pieces.VocabularyTooSmall as error:
        raise StageError(f"language_model/{parameters.language}: {error}") from error
    with shard.create(SENTENCEPIECE_FILE) as path:
        path.write_bytes(model)
    size = len(sentencepiece.SentencePieceProcessor(model_proto=model))
    return {
        **counts,
        "vocabulary": size,
        "vocabulary_requested": parameters.vocabulary,
        "clipped": size < parameters.vocabulary,
    }


def train_ngrams(
    parameters: LanguageModelParameters,
    model: Path,
    exchange: Exchange,
    threads: int,
    reference: Reference,
    shard: Shard,
) -> dict[str, Any]:
    """Estimate and publish the n-gram model, and unit.json."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    batches = (
        pieces.encode(processor, batch, threads)
        for batch in reference.first_batches(parameters.documents)
    )
    if parameters.estimator != "lmplz":
        name, statistics = "lm.arpa", _builtin(parameters, batches, shard)
    else:
        name, statistics = "lm.bin", _with_lmplz(parameters, batches, exchange, shard)
    unit = write_unit(
        shard,
        language=parameters.language,
        steps=steps_of(parameters),
        lm=name,
        order=parameters.order,
        sentencepiece_sha256=sha256_file(model),
        training_tokens=statistics["tokens"],
    )
    return {
        "unit": unit,
        "estimator": parameters.estimator,
        "order": parameters.order,
        "ngrams": statistics,
    }


def _builtin(
    parameters: LanguageModelParameters, batches: Iterable[list[list[str]]], shard: Shard
) -> dict[str, Any]:
    corpus = Corpus()
    try:
        for batch in batches:
            corpus.add(batch)
        model = estimate(corpus, parameters.order, parameters.discount_fallback)
    except (DegenerateDiscount, TooManyTokens) as error:
        raise StageError(f"language_model/{parameters.language}: {error}") from error
    with shard.create("lm.arpa") as path:
        model.write_arpa(path)
    return {
        "documents": corpus.sentences,
        "tokens": corpus.tokens,
        "ngrams": [len(order.word) for order in model.orders],
        "discounts": [
            [round(amount, 6) for amount in discount.amounts] for discount in model.discounts
        ],
        "fallback_orders": [
            order for order, discount in enumerate(model.discounts, 1) if discount.fallback
        ],
    }


def _with_lmplz(
    parameters: LanguageModelParameters,
    batches: Iterable[list[list[str]]],
    exchange: Exchange,
    shard: Shard,
) -> dict[str, Any]:
    program = lmplz.find(parameters.lmplz)
    documents = tokens = 0
    with exchange.staging("pieces.txt") as text:
        with text.open("w", encoding="utf-8") as stream:
            for batch in batches:
                lines = [" ".join(document) for document in batch if document]
                documents += len(lines)
                tokens += sum(map(len, batch))
                stream.writelines(line + "\n" for line in lines)
        with shard.create("lm.bin") as path:
            lmplz.estimate(
                program,
                text,
                path,
                text.parent,
                order=parameters.order,
                fallback=parameters.discount_fallback,
                memory=parameters.lmplz_memory,
            )
    return {"documents": documents, "tokens": tokens, "program_sha256": sha256_file(program)}
