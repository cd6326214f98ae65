"""The recipe, one YAML file that describes a whole run: composed of the stages' parameters.

A section of a source has the parameters of an annotator and, under `keep`, what `cut` does with its
columns.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pydantic

from flows.recipe.duplicates import DedupSection, EmbeddingsSection, SemanticSection
from flows.recipe.errors import nearest
from flows.recipe.evaluated import EvaluationSection, Name, OtherModel
from flows.recipe.language_models import LanguageModelSection, Percentiles
from flows.recipe.mixing import MixtureSection
from flows.recipe.quality import ClassifierSection, LabelsSection
from flows.recipe.suites import Absent
from infra.engine.config import EngineConfig
from infra.remote.config import RemoteConfig
from infra.stage import Parameters
from tasks.benchmarks.model import Benchmark
from tasks.binning.stage import BinningParameters
from tasks.cut.stage import BlockList
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.documents.categories import Category, FieldCategory, categories_fed
from tasks.documents.keep import BucketKeep, LanguageKeep, RulesKeep
from tasks.documents.scoring import SourceClassifier
from tasks.ingest.stage import IngestParameters, JsonlFields
from tasks.langid.stage import LangidParameters
from tasks.line_dedup.stage import LineDedupParameters
from tasks.model.stage import ModelParameters
from tasks.perplexity.stage import PerplexityParameters
from tasks.pii.stage import PiiParameters
from tasks.quality.stage import QualityParameters
from tasks.scorecard.stage import ScorecardParameters
from tasks.select.stage import SelectParameters
from tasks.tokenizer.stage import TokenizerParameters
from tasks.training.phases.section import TrainingSection


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
                f"keep names {name!r}, which `rules` does not measure{guess}; add it to `rules`, "
                f"or name one of {', '.join(groups)} or of {', '.join(self.rules)}"
            )
        return self


class PerplexitySection(PerplexityParameters):
    """Perplexity of a source under the recipe's `language_models`, and which buckets stay."""

    keep: BucketKeep | None = None


class Source(Parameters):
    """A named input corpus. Without a category it is reference text: language models are trained on
    it, the model is not.
    """

    ingest: IngestParameters
    line_dedup: LineDedupParameters | None = None
    langid: LangidSection | None = None
    quality: QualitySection | None = None
    classifiers: dict[Name, SourceClassifier] = pydantic.Field(
        default_factory=dict,
        description="the recipe's classifiers that score this source, and what becomes of its "
        "documents by their scores",
    )
    perplexity: PerplexitySection | None = None
    pii: PiiParameters | None = None
    category: Category | None = None
    dedup: bool = pydantic.Field(
        default=True,
        description="whether the section dedup compares its documents with others; false: they are "
        "neither dropped as duplicates nor a reason to drop others, and none is held out",
    )
    again: bool = pydantic.Field(
        default=False,
        description="with `loop`: read whole in every run, such as text to replay; its documents "
        "are not history, so later runs do not drop them as duplicates",
    )
    block: dict[Name, BlockList | None] = pydantic.Field(
        default_factory=dict,
        description="lists of URLs to leave out of this source; null: without the recipe's list of "
        "that name",
    )

    def categories(self) -> tuple[str, ...]:
        """The categories this source feeds."""
        return categories_fed(self.category)

    def reading(self) -> IngestParameters:
        """How its files are read, with the field that holds categories."""
        if not isinstance(self.category, FieldCategory):
            return self.ingest
        fields = (self.ingest.fields or JsonlFields()).model_copy(
            update={"category": self.category.field}
        )
        return self.ingest.model_copy(update={"fields": fields})


class DecontaminateSection(DecontaminateParameters):
    """Which of the recipe's benchmarks to look for (all by default), and what to do with
    contaminated documents.

    `action`: `drop` drops them; `passage` removes only the passage, and drops documents that would
    lose more than `passage_share` of their text; `report` only counts them.
    """

    against: tuple[Name, ...] | None = None  # type: ignore[assignment]  # names here, benchmarks in the stage
    action: Literal["drop", "passage", "report"] = "drop"
    passage_share: float = pydantic.Field(default=0.5, gt=0.0, le=1.0)

    @pydantic.field_validator("against", mode="before")
    @classmethod
    def _files_only(cls, against: Any) -> Any:
        return against


class LoopSection(ScorecardParameters):
    """The recipe runs once per crawl: a run reads what the promoted run and those before it have
    not read, continues training from the promoted model, and is promoted itself (its artifacts
    become `latest`, all at once) if no score fell beyond its limit.

    `phases`: names of the phases that later crawls go through again; all by default. A phase that
    only aligns new embeddings is for the first run alone.
    """

    phases: tuple[Name, ...] | None = pydantic.Field(default=None, min_length=1)


class Recipe(Parameters):
    """A whole recipe. The stages of a missing section are left out, except dedup, which only null
    leaves out.
    """

    name: Name
    store: str = "artifacts"
    engine: EngineConfig = EngineConfig()
    remote: RemoteConfig = RemoteConfig()
    sources: dict[Name, Source] = pydantic.Field(default_factory=dict)
    language_models: dict[Name, LanguageModelSection] = pydantic.Field(default_factory=dict)
    percentiles: Percentiles = Percentiles()
    labels: dict[Name, LabelsSection] = pydantic.Field(default_factory=dict)
    classifiers: dict[Name, ClassifierSection] = pydantic.Field(default_factory=dict)
    block: dict[Name, BlockList] = pydantic.Field(
        default_factory=dict, description="lists of URLs to leave out of every source"
    )
    benchmarks: dict[Name, Benchmark] = pydantic.Field(default_factory=dict)
    dedup: DedupSection | None = DedupSection()
    embeddings: EmbeddingsSection | None = None
    semantic: SemanticSection | None = None
    decontaminate: DecontaminateSection | None = None
    select: SelectParameters = SelectParameters()
    tokenizer: TokenizerParameters | None = None
    model: ModelParameters | None = None
    binning: BinningParameters | None = None
    mixtures: dict[Name, MixtureSection] = pydantic.Field(
        default_factory=dict,
        description="searches for the shares of a mixture, which phases name: {from: NAME}",
    )
    training: TrainingSection | None = None
    evaluation: EvaluationSection | None = None
    loop: LoopSection | None = None
    pin: dict[str, Annotated[str, pydantic.Field(min_length=1)]] = pydantic.Field(
        default_factory=dict,
        description="stage or stage/name -> the version (its first digits are enough) or tag of "
        "its artifact that is used instead of building it, as with --pin, which counts first",
    )
    _places: dict[str, str] = pydantic.PrivateAttr(default_factory=dict)
    _absent: Absent = pydantic.PrivateAttr(default_factory=Absent)

    @property
    def absent(self) -> Absent:
        """What of the files of `evaluation.suite` is not there."""
        return self._absent

    def place_of(self, reference: str) -> str:
        """`file:line: ` of the place that names a file, as the prefix of a problem; "" if unknown.

        `reference`: the file, or the path of the parameter, such as `model.base`, if several
        parameters name the file.
        """
        return f"{self._places[reference]}: " if reference in self._places else ""

    def categories(self) -> dict[str, tuple[str, ...]]:
        """Category -> the sources that feed it."""
        found: dict[str, tuple[str, ...]] = {}
        for name, source in self.sources.items():
            for category in source.categories():
                found[category] = (*found.get(category, ()), name)
        return found

    def searched(self) -> dict[str, tuple[str, ...]]:
        """Name in `mixtures` -> the categories that it proposes shares of."""
        own = tuple(self.categories())
        return {name: section.categories or own for name, section in self.mixtures.items()}

    def growing(self) -> tuple[str, ...]:
        """The sources of a loop that bring new text: those with a category that are not read
        again.
        """
        return tuple(
            name for name, source in self.sources.items() if source.category and not source.again
        )

    def compared(self) -> tuple[str, ...]:
        """The sources whose documents dedup compares; none without it."""
        if self.dedup is None:
            return ()
        return tuple(
            name for name, source in self.sources.items() if source.category and source.dedup
        )

    def embedded(self) -> tuple[str, ...]:
        """The sources whose documents get vectors."""
        if self.embeddings is None:
            return ()
        by_vectors = {name for name, one in self.classifiers.items() if one.kind == "linear"}
        learned = {name for one in by_vectors for name in self.learned_from(one)}
        return tuple(
            name
            for name, source in self.sources.items()
            if (source.category and name not in self.apart())
            or name in learned
            or by_vectors & source.classifiers.keys()
        )

    def near(self) -> tuple[str, ...]:
        """The sources whose documents are compared by vectors, where the recipe does that."""
        return tuple(name for name in self.compared() if self.semantic and name not in self.apart())

    def apart(self) -> tuple[str, ...]:
        """The sources whose documents are compared by their text alone."""
        return self.semantic.without if self.semantic else ()

    def learned_from(self, classifier: str) -> tuple[str, ...]:
        """The sources whose documents a classifier learns from; none for one trained elsewhere."""
        section = self.classifiers[classifier]
        if section.labels is None:
            return (*section.good, *section.bad)
        rubric = self.labels.get(section.labels)
        return rubric.sources if rubric is not None else ()

    def searched_for(self) -> tuple[str, ...]:
        """The benchmarks that documents are searched for."""
        if self.decontaminate is None:
            return ()
        return (
            tuple(self.benchmarks)
            if self.decontaminate.against is None
            else self.decontaminate.against
        )

    def evaluated_models(self) -> tuple[str, ...]:
        """The models the evaluation section asks for."""
        phases = tuple(phase.name for phase in self.training.phases) if self.training else ()
        if self.evaluation is None:
            return ()
        models = self.evaluation.models or phases or ("model",)
        return tuple(one if isinstance(one, str) else one.name for one in models)

    def other_models(self) -> dict[str, str]:
        """Name of an evaluated model of elsewhere -> what it is."""
        models = self.evaluation.models if self.evaluation else None
        return {one.name: one.model for one in models or () if isinstance(one, OtherModel)}

    def warnings(self) -> list[str]:
        """What is allowed but probably not meant."""
        if self.training is None or self.binning is None:
            return []
        return self.training.warnings(self.binning.sequence_length)

    def data(self) -> dict[str, Any]:
        """The recipe with defaults filled in, as JSON."""
        return self.model_dump(mode="json", by_alias=True)
