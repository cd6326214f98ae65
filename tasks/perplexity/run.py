"""Annotates documents with perplexity under their language's model, and reports distributions."""

from __future__ import annotations

import functools
import json
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.context import Context
from infra.stage import Outcome, StageError
from infra.store import Artifact
from tasks.documents.annotate import annotate, ledger_of
from tasks.perplexity.score import ModelFiles, annotate_perplexity
from tasks.perplexity.stage import PerplexityParameters
from tasks.text.normalise import Steps

PERCENTILES = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99)


def run(context: Context) -> Outcome:
    """Score the documents of one source, each with the model of its language."""
    parameters: PerplexityParameters = context.parameters
    units: dict[str, dict[str, Any]] = {}
    models: dict[str, ModelFiles] = {}
    for artifact in context.many("models"):
        unit = read_unit(artifact)
        language = unit["language"]
        if language in models:
            raise StageError(
                f"perplexity/{context.name}: two language models for {language!r}; give one per "
                "language"
            )
        units[language] = unit
        models[language] = ModelFiles(
            artifact.path("sp.model"),
            artifact.path(unit["lm"]),
            Steps.parse(unit["normaliser"]),
        )
    function = functools.partial(annotate_perplexity, models, parameters.max_characters)
    results = annotate(context, function, annotations={"langid": ("language",)})
    return Outcome(
        {
            "units": {language: unit["unit"] for language, unit in units.items()},
            "languages": _distributions(context, models),
        },
        ledger_of(results),
    )


def read_unit(artifact: Artifact) -> dict[str, Any]:
    """A language model artifact's `unit.json`: normaliser, digests, name of the n-gram file."""
    unit: dict[str, Any] = json.loads(artifact.path("unit.json").read_text(encoding="utf-8"))
    return unit


def _distributions(context: Context, models: dict[str, ModelFiles]) -> dict[str, Any]:
    """Per language with a model: documents scored, and percentiles of their perplexity.

    A percentile is the value of the nearest document, not interpolated.
    """
    langid = context.input("langid")
    scored: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    unscored = dict.fromkeys(models, 0)
    for name in context.input("documents").files("part-"):
        languages = pq.read_table(langid.path(name), columns=["language"])["language"]
        perplexity = pq.read_table(context.attempt.data.local(name), columns=["perplexity"])[
            "perplexity"
        ]
        for language in models:
            values = perplexity.filter(pc.equal(languages, language))
            scored[language].append(values.drop_null().to_numpy())
            unscored[language] += values.null_count
    return {
        language: {**_summary(np.concatenate(scored[language])), "empty": unscored[language]}
        for language in scored
    }


def _summary(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    if not len(values):
        return {"documents": 0, "percentiles": {}}
    cuts = np.percentile(values, PERCENTILES, method="nearest")
    return {
        "documents": len(values),
        "percentiles": {
            str(percent): float(cut) for percent, cut in zip(PERCENTILES, cuts, strict=True)
        },
    }
