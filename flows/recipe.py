"""The recipe: one YAML file that says everything. Composes the stages' parameters; holds none of its own logic.

A section of a source holds the parameters of an annotator and, under `keep`, what `cut` makes of its columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic

from flows.graph import ARTIFACT_SCHEME, ArtifactReference
from flows.recipe_checks import (
    check_dedup,
    check_evaluation,
    check_language_models,
    check_languages,
    check_names,
    check_sources,
    check_training,
)
from flows.recipe_errors import nearest, problems_of
from flows.recipe_file import Document, RecipeError, dotted, load
from flows.recipe_file import Path as DataPath
from flows.recipe_nulls import settle_nulls
from flows.resolve import NAMED_FILES
from infra.engine.config import EngineConfig
from infra.stage import FILE, Parameters
from tasks.benchmarks.model import Benchmark
from tasks.binning.stage import BinningParameters
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.dedup.stage import DedupParameters
from tasks.documents.keep import BucketKeep, LanguageKeep, RulesKeep
from tasks.documents.selected import RESERVED_FOLDERS
from tasks.evaluation.stage import EvaluationParameters
from tasks.ingest.stage import IngestParameters
from tasks.langid.stage import LangidParameters
from tasks.language_model.stage import LanguageModelParameters
from tasks.line_dedup.stage import LineDedupParameters
from tasks.model.stage import ModelParameters
from tasks.perplexity.stage import PerplexityParameters
from tasks.quality.stage import QualityParameters
from tasks.select.stage import SelectParameters
from tasks.signatures.stage import SignaturesParameters
from tasks.text.lsh import bands_for
from tasks.tokenizer.stage import TokenizerParameters
from tasks.training.plan import PlanError
from tasks.training.stage import TrainingSection

Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Names become folders and dashboard keys."""


class LangidSection(LangidParameters):
    """Language identification of a source, and which languages stay."""

    keep: LanguageKeep | None = None


class QualitySection(QualityParameters):
    """Quality rules of a source, and which of them drop documents."""

    keep: RulesKeep | None = None

    @pydantic.model_validator(mode="after")
    def _keeps_by_what_it_measures(self) -> Self:
        for name in self.keep.unknown(self.rules) if self.keep else ():
            groups = dict.fromkeys(rule.partition(".")[0] for rule in self.rules)
            guess = nearest(name, [*groups, *self.rules])
            raise ValueError(
                f"keep names {name!r}, which `rules` does not measure{guess}; add it to `rules`, or name one of "
                f"{', '.join(groups)} or of {', '.join(self.rules)}"
            )
        return self


class PerplexitySection(PerplexityParameters):
    """Perplexity of a source under the recipe's `language_models`, and which buckets stay."""

    keep: BucketKeep | None = None


class Source(Parameters):
    """A named input corpus. Without a category it is reference text only: for language models, never for training."""

    ingest: IngestParameters
    line_dedup: LineDedupParameters | None = None
    langid: LangidSection | None = None
    quality: QualitySection | None = None
    perplexity: PerplexitySection | None = None
    category: Name | dict[Name, Name] | None = None

    def categories(self) -> tuple[str, ...]:
        """The categories this source feeds."""
        if self.category is None:
            return ()
        return (self.category,) if isinstance(self.category, str) else tuple(dict.fromkeys(self.category.values()))


class LanguageModelSection(LanguageModelParameters):
    """A language model trained on the reference text of `sources`; its key is the language."""

    language: str = ""
    sources: tuple[Name, ...] = pydantic.Field(min_length=1)


class Percentiles(Parameters):
    """Percentiles of perplexity that part head from middle and middle from tail, per language."""

    head: float = pydantic.Field(default=30.0, ge=0.0, le=100.0)
    middle: float = pydantic.Field(default=60.0, ge=0.0, le=100.0)

    @pydantic.model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.head > self.middle:
            raise ValueError(f"head is percentile {self.head:g}, above middle's {self.middle:g}; head is the lower one")
        return self


class DedupSection(DedupParameters, SignaturesParameters):
    """Signatures and deduplication, which share their shape: `bands` and `rows` given, or derived from `threshold`.

    Where `threshold` is stated and `verify` is not, `verify` is the threshold too.
    """

    threshold: float | None = pydantic.Field(
        default=None,
        gt=0,
        lt=1,
        description="Jaccard similarity that bands and rows are to fit, instead of stating them; also `verify`, where "
        "that is not stated",
    )
    hashes: int = pydantic.Field(
        default=112, ge=1, le=1_024, description="with threshold: MinHash values to divide into bands, at most"
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _derive(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("threshold") is None:
            if isinstance(data, dict) and "hashes" in data:
                raise ValueError("`hashes` belongs to `threshold`; without it, bands * rows is their number")
            return data
        if stated := [name for name in ("bands", "rows") if name in data]:
            raise ValueError(f"state either `threshold` or {' and '.join(stated)}: the first is there to derive them")
        try:
            bands, rows = bands_for(
                float(data["threshold"]), int(data.get("hashes", cls.model_fields["hashes"].default))
            )
        except (TypeError, ValueError):
            return data  # the fields' own limits say what is wrong
        return {"verify": data["threshold"], **data, "bands": bands, "rows": rows}


class DecontaminateSection(DecontaminateParameters):
    """Which of the recipe's benchmarks to look for (all by default), and what becomes of contaminated documents.

    They `drop`; or only the `passage` goes, and documents that would lose more than `passage_share` of their text; or
    nothing goes and the `report` counts them.
    """

    against: tuple[Name, ...] | None = None  # type: ignore[assignment]  # names here, benchmarks in the stage
    action: Literal["drop", "passage", "report"] = "drop"
    passage_share: float = pydantic.Field(default=0.5, gt=0.0, le=1.0)

    @pydantic.field_validator("against", mode="before")
    @classmethod
    def _files_only(cls, against: Any) -> Any:
        return against


class EvaluationSection(EvaluationParameters):
    """Which models answer which benchmarks: `base`, `model` (before training) or a phase; all phases by default."""

    models: tuple[Name, ...] | None = None
    tasks: tuple[Name, ...] = ()
    benchmarks: dict[str, Benchmark] = pydantic.Field(default_factory=dict, exclude=True)
    """Filled from the recipe's `benchmarks`; not written here."""


class Recipe(Parameters):
    """A whole recipe; sections that are missing leave their stages out, but dedup: what leaves it out is null."""

    name: Name
    store: str = "artifacts"
    engine: EngineConfig = EngineConfig()
    sources: dict[Name, Source] = pydantic.Field(default_factory=dict)
    language_models: dict[Name, LanguageModelSection] = pydantic.Field(default_factory=dict)
    percentiles: Percentiles = Percentiles()
    benchmarks: dict[Name, Benchmark] = pydantic.Field(default_factory=dict)
    dedup: DedupSection | None = DedupSection()
    decontaminate: DecontaminateSection | None = None
    select: SelectParameters = SelectParameters()
    tokenizer: TokenizerParameters | None = None
    model: ModelParameters | None = None
    binning: BinningParameters | None = None
    training: TrainingSection | None = None
    evaluation: EvaluationSection | None = None
    _places: dict[str, str] = pydantic.PrivateAttr(default_factory=dict)

    def place_of(self, reference: str) -> str:
        """`file:line: ` of what names a file, to put before a problem with it; nothing where that is not known.

        `reference`: the file, or (where several parameters name it) the parameter's path, such as `model.base`.
        """
        return f"{self._places[reference]}: " if reference in self._places else ""

    def categories(self) -> dict[str, tuple[str, ...]]:
        """Category -> the sources that feed it."""
        found: dict[str, tuple[str, ...]] = {}
        for name, source in self.sources.items():
            for category in source.categories():
                found[category] = (*found.get(category, ()), name)
        return found

    def searched_for(self) -> tuple[str, ...]:
        """The benchmarks that documents are searched for."""
        if self.decontaminate is None:
            return ()
        return tuple(self.benchmarks) if self.decontaminate.against is None else self.decontaminate.against

    def evaluated_models(self) -> tuple[str, ...]:
        """The models the evaluation section asks for."""
        phases = tuple(phase.name for phase in self.training.phases) if self.training else ()
        if self.evaluation is None:
            return ()
        return self.evaluation.models or phases or ("model",)

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant."""
        if self.training is None or self.binning is None:
            return []
        return self.training.warnings(self.binning.sequence_length)

    def data(self) -> dict[str, Any]:
        """The recipe with defaults filled in, as JSON."""
        return self.model_dump(mode="json", by_alias=True)

    @pydantic.model_validator(mode="after")
    def _fits_together(self) -> Self:
        """References between sections name what exists."""
        checks = [
            *self._check_categories(),
            *check_languages(self),
            *check_language_models(self),
            *check_dedup(self),
            *check_names(
                "decontaminate.against", self.decontaminate.against if self.decontaminate else (), self.benchmarks
            ),
            "decontaminate: there is no benchmark to search for; add a benchmarks section"
            if self.decontaminate and self.decontaminate.against is None and not self.benchmarks
            else "",
            *check_names("evaluation.tasks", self.evaluation.tasks if self.evaluation else (), self.benchmarks),
            *self._check_models(),
            *self._check_training(),
            *check_sources(self),
            *check_training(self),
            *check_evaluation(self),
        ]
        problems = [problem for problem in checks if problem]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _check_categories(self) -> list[str]:
        return [
            f"sources: category {name!r} is what select calls a folder of its own; name it otherwise"
            for name in self.categories()
            if name in RESERVED_FOLDERS
        ]

    def _check_models(self) -> list[str]:
        problems: list[str] = []
        if self.tokenizer is not None:
            problems += self._check_tokenizer(self.tokenizer)
        elif self.model is not None and self.evaluated_models() != ("base",):
            base = self.model.base or "..."
            problems.append(f"model: needs a tokenizer; add `tokenizer: {{base: {base}}}` to keep the base's")
        if self.evaluation is not None:
            problems += [
                f"evaluation.{name}: the plan sets it; take it out"
                for name in ("benchmarks", "decontaminated", "model")
                if name in self.evaluation.model_fields_set
            ]
            phases = [phase.name for phase in self.training.phases] if self.training else []
            problems += [
                f"training.phases.{name}: {name!r} is what evaluation calls the {what} model; rename the phase"
                for name, what in (("base", "base"), ("model", "untrained"))
                if name in phases
            ]
            known_models = [
                *(["base"] if self.model and self.model.base else []),
                *(["model"] * bool(self.model)),
                *phases,
            ]
            problems += check_names("evaluation.models", self.evaluation.models, known_models)
            if not known_models:
                problems.append("evaluation: there is no model; add a model section")
        return problems

    def _check_tokenizer(self, section: TokenizerParameters) -> list[str]:
        """Text to learn from is text that was selected."""
        where = f"tokenizer.{'expand' if section.expand else 'train'}.from"
        categories, named = self.categories(), section.learn_from()
        problems = check_names(where, list(named), {**categories, **self.sources})
        problems += [
            f"tokenizer.{name}: the plan sets it; name sources or categories in `{where}`"
            for name in ("categories", "weights")
            if name in section.model_fields_set
        ]
        problems += [
            f"{where}: source {name!r} has no category, so nothing of it is selected; give it one, or take it out"
            for name in named
            if name in self.sources and self.sources[name].category is None and name not in categories
        ]
        try:
            section.shares({name: source.categories() for name, source in self.sources.items() if source.category})
        except ValueError as error:
            problems.append(f"{where}: {error}")
        if not categories and section.learns:
            problems.append("tokenizer: no source has a category, so there is no text to learn from")
        return problems

    def _check_training(self) -> list[str]:
        if self.training is None:
            return []
        missing = [s for s in ("tokenizer", "model", "binning") if getattr(self, s) is None]
        if missing or self.binning is None:
            return [f"training needs the sections tokenizer, model and binning; missing: {', '.join(missing)}"]
        problems, categories = [], self.categories()
        positions = self.model.positions if self.model else None
        if positions is not None and self.binning.sequence_length > positions:
            problems.append(
                f"binning.sequence_length: {self.binning.sequence_length} is more than the model's {positions} "
                "positions (model.create.max_position_embeddings or model.context.positions); lower it, or raise those"
            )
        for phase in self.training.phases:
            if phase.mixture != "buckets":
                problems += check_names(f"training.phases.{phase.name}.mixture", list(phase.mixture), categories)
            try:
                self.training.node(phase.name, self.binning.sequence_length)
            except (PlanError, pydantic.ValidationError) as error:
                detail = error.errors()[0]["msg"] if isinstance(error, pydantic.ValidationError) else str(error)
                problems.append(f"training.phases.{phase.name}: {detail.removeprefix('Value error, ')}")
        if not categories:
            problems.append("training: no source has a category, so there is nothing to train on")
        return problems


def read_recipe(file: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; file references come out absolute. Raises `RecipeError` with every problem found."""
    document = load(file, overrides)
    meaningless = settle_nulls(document, Recipe)
    for language, section in (document.data.get("language_models") or {}).items():
        if isinstance(section, dict):
            section.setdefault("language", language)
    try:
        recipe = Recipe.model_validate(document.data)
    except pydantic.ValidationError as error:
        raise RecipeError([*meaningless, *problems_of(error, Recipe, document)]) from None
    if meaningless:
        raise RecipeError(meaningless)
    located: Recipe = _locate(recipe, (), document)
    problems = _bad_references(located, document)
    if problems:
        raise RecipeError(problems)
    for path, references in located.file_references().items():
        place = str(document.place(tuple(path.split("."))))
        located._places.update(dict.fromkeys((*references, path), place))
    for number, reference in enumerate(located.dedup.history if located.dedup else ()):
        located._places[reference] = str(document.place(("dedup", "history", number)))
    return located


def recipe_schema() -> dict[str, Any]:
    """JSON schema of recipes, for editors."""
    return Recipe.model_json_schema()


def _locate(value: Any, path: DataPath, document: Document) -> Any:
    """Make relative file references absolute, from the folder of the file that states them."""
    if isinstance(value, Parameters):
        changes: dict[str, Any] = {}
        for name, info in type(value).model_fields.items():
            item, here = getattr(value, name), (*path, info.alias or name)
            if FILE not in info.metadata:
                changes[name] = _locate(item, here, document)
            elif isinstance(item, str):
                changes[name] = _absolute(item, here, document)
            elif item is not None:
                changes[name] = tuple(_absolute(one, (*here, index), document) for index, one in enumerate(item))
        changed = {name: item for name, item in changes.items() if item is not getattr(value, name)}
        return value.model_copy(update=changed) if changed else value
    if isinstance(value, dict):
        return {key: _locate(item, (*path, key), document) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(_locate(item, (*path, index), document) for index, item in enumerate(value))
    return value


def _absolute(reference: str, path: DataPath, document: Document) -> str:
    """A path made absolute; names of packaged files, hub names, URLs and artifacts stay as they are."""
    if reference in NAMED_FILES or "://" in reference or reference.startswith(ARTIFACT_SCHEME):
        return reference
    if not reference:
        raise RecipeError([f"{document.place(path)}: {dotted(path)}: is an empty path; name a file"])
    stated = Path(reference)
    with contextlib.suppress(RuntimeError):  # ~nobody stays as it is: a file that is not there
        stated = stated.expanduser()
    found = (document.place(path).folder / stated).absolute()
    looks_like_path = reference.startswith((".", "/", "~")) or any(sign in reference for sign in "*?[")
    if looks_like_path or "/" not in reference or Path(reference).suffix or found.exists() or glob(str(found)):
        return str(Path(*found.parts)) if ".." not in found.parts else str(_normal(found))
    return reference


def _normal(path: Path) -> Path:
    """Remove `..` without following links."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return Path(*parts)


def _bad_references(recipe: Recipe, document: Document) -> list[str]:
    problems = []
    for path, references in recipe.file_references().items():
        for reference in references:
            if reference.startswith(ARTIFACT_SCHEME):
                try:
                    ArtifactReference.parse(reference)
                except ValueError as error:
                    problems.append(f"{document.place(tuple(path.split('.')))}: {path}: {error}")
    return problems
