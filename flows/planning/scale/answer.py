"""The answer of `puna plan --scale`: everything predicted, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flows.planning.plan import Plan
from flows.planning.scale import attention, grouping, history
from flows.planning.scale.cluster import Cluster
from flows.planning.scale.costs import Costs, read_costs
from flows.planning.scale.grouping import Grouping
from flows.planning.scale.sizes import Size, language_share, sizes
from flows.planning.scale.walls import Bottleneck, Timed, Wall
from flows.planning.scale.works import DATA_STAGES, Funnel, Work, works
from flows.recipe.file import RecipeError
from flows.recipe.sections import Recipe
from infra.store import Store
from tasks.dedup.stage import STAGE as DEDUP
from tasks.ingest.stage import STAGE as INGEST


@dataclass(frozen=True)
class Stage:
    """A stage over all its nodes. Money in the cluster's currency."""

    name: str
    documents: float
    kept: float
    core_hours: float
    hours: float
    workers: int
    worker_bytes: float
    one_process_hours: float
    one_process_bytes: float
    reads: float
    writes: float
    requests: float
    store_requests: float
    money: float
    known_from: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """`unfit`: what does not fit this cluster or Puna, and what to do; `notes`: what is assumed."""

    cluster: Cluster
    sources: Mapping[str, Size]
    stages: tuple[Stage, ...]
    bottlenecks: tuple[Bottleneck, ...]
    unfit: tuple[str, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Of all stages, one after the other."""
        return sum(stage.hours for stage in self.stages)

    @property
    def core_hours(self) -> float:
        """Of processor time."""
        return sum(stage.core_hours for stage in self.stages)

    @property
    def money(self) -> float:
        """Nodes while they run, and requests of the store."""
        return sum(stage.money for stage in self.stages)

    @property
    def stored(self) -> float:
        """Bytes that all stages write."""
        return sum(stage.writes for stage in self.stages)

    @property
    def store_month(self) -> float:
        """Price of keeping them for a month."""
        return self.stored / 1e9 * self.cluster.price_gb_month

    def to_json(self) -> dict[str, Any]:
        """As `puna plan --scale --json` has it: sizes in bytes, times in hours."""
        return {
            "cluster": self.cluster.model_dump(mode="json", exclude={"costs"}),
            "sources": {name: asdict(size) for name, size in self.sources.items()},
            "stages": [asdict(stage) for stage in self.stages],
            "hours": self.hours,
            "core_hours": self.core_hours,
            "money": self.money,
            "stored_bytes": self.stored,
            "store_month": self.store_month,
            "bottlenecks": [asdict(one) for one in self.bottlenecks],
            "unfit": list(self.unfit),
            "notes": list(self.notes),
            "not_predicted": list(self.skipped),
        }


def answer(
    recipe: Recipe,
    plan: Plan,
    store: Store,
    readings: Mapping[str, Mapping[str, Any]],
    cluster: Cluster,
) -> Answer:
    """Predict a plan on a cluster. Raises `RecipeError` for a recipe without data stages, and where
    sizes cannot be known.
    """
    if not any(step.node.stage.name == INGEST.name for step in plan.steps.values()):
        raise RecipeError(
            [
                f"{recipe.name} has no stage that reads documents"
                f"{' now' if recipe.loop else ''}, so there is nothing to predict for "
                f"{cluster.name}; puna plan without --scale predicts training"
            ]
        )
    costs = read_costs().replaced(cluster.costs)
    by_source = sizes(recipe, plan, readings, costs)
    told = history.measured(plan, store, costs)
    told = {id: cost for id, cost in told.items() if id.partition("/")[0] not in cluster.costs}
    funnel, shares = _funnel(recipe, plan, store, by_source, costs, cluster)
    todo = works((step.node for step in plan.steps.values()), by_source, costs, funnel, told)
    grouped, wanted = _grouped(recipe, todo, cluster)
    timed = Timed(todo, cluster, costs.network, recipe.remote.connections, grouped)
    walls = timed.walls()
    return Answer(
        cluster,
        by_source,
        tuple(_stages(walls, cluster)),
        tuple(timed.bottlenecks()),
        tuple(attention.unfit(todo, cluster, recipe, grouped, wanted)),
        (*attention.notes(by_source, todo, told), *shares),
        tuple(dict.fromkeys(_skipped(plan))),
    )


def _skipped(plan: Plan) -> list[str]:
    return [
        step.node.stage.name
        for step in plan.steps.values()
        if step.node.stage.name not in DATA_STAGES
    ]


def _funnel(
    recipe: Recipe,
    plan: Plan,
    store: Store,
    by_source: Mapping[str, Size],
    costs: Costs,
    cluster: Cluster,
) -> tuple[Funnel, list[str]]:
    """Shares kept, and what they are known from: this store, else what is stated or assumed."""
    kept = history.shares(plan, store)
    cut: dict[str, float] = {}
    lines = []
    cut_cost, dedup_cost = costs.stage("cut"), costs.stage(DEDUP.name)
    for name in by_source:
        if ("cut", name) in kept and "cut" not in cluster.costs:
            cut[name], whose = kept["cut", name]
            lines.append(f"cut keeps {cut[name]:.0%} of {name}, as {whose} did")
        elif "kept" in cluster.costs.get("cut", {}):
            assert cut_cost is not None
            cut[name] = cut_cost.kept
            lines.append(f"cut keeps {cut[name]:.0%} of {name}, as stated")
        else:
            cut[name], reasons = assumed_cut(recipe, name, costs)
            why = f" ({'; '.join(reasons)})" if reasons else ""
            lines.append(f"cut keeps {cut[name]:.0%} of {name}{why}")
    known = [share for (stage, _), (share, _) in kept.items() if stage == DEDUP.name]
    share = dedup_cost.kept if dedup_cost is not None else 1.0
    if any(step.node.stage.name == DEDUP.name for step in plan.steps.values()):
        if known and DEDUP.name not in cluster.costs:
            share = sum(known) / len(known)
            lines.append(f"dedup keeps {share:.0%}, as it did in this store")
        else:
            assert dedup_cost is not None
            lines.append(f"dedup keeps {share:.0%} ({dedup_cost.origin})")
    return Funnel(cut, share), lines


def assumed_cut(recipe: Recipe, name: str, costs: Costs) -> tuple[float, list[str]]:
    """The share of a source that passes its keeps, and why so."""
    source = recipe.sources[name]
    share, reasons = 1.0, []
    keep = source.langid.keep if source.langid is not None else None
    if keep is not None and keep.languages is not None:
        crawl = source.ingest.format == "commoncrawl"
        if crawl and not (source.ingest.select and source.ingest.select.languages):
            by_language = language_share(keep.languages, costs)
            reasons.append(f"{by_language:.0%} of a crawl's pages are {', '.join(keep.languages)}")
        else:
            key = "languages_of_select" if crawl else "languages_of_files"
            by_language = costs.kept[key]
            reasons.append(f"{by_language:.0%} by language, {costs.kept_from[key]}")
        share *= by_language
    if source.quality is not None and source.quality.keep is not None:
        share *= costs.kept["quality"]
        reasons.append(f"{costs.kept['quality']:.0%} by quality, {costs.kept_from['quality']}")
    if source.perplexity is not None and source.perplexity.keep is not None:
        buckets = len(source.perplexity.keep.root)
        by_bucket = min(buckets * costs.kept["perplexity_bucket"], 1.0)
        share *= by_bucket
        reasons.append(f"{by_bucket:.0%} by perplexity, {costs.kept_from['perplexity_bucket']}")
    return share, reasons


def _grouped(
    recipe: Recipe, todo: Sequence[Work], cluster: Cluster
) -> tuple[Grouping | None, float]:
    """Dedup's division of work with the memory it needs or the recipe states, and that memory."""
    work = next((work for work in todo if work.stage == DEDUP.name), None)
    if work is None or recipe.dedup is None:
        return None, 0.0
    workers = cluster.workers(work.worker_bytes, work.parts)
    shape = recipe.dedup.bands, recipe.dedup.rows
    needed = grouping.needed_memory(
        work.documents, work.documents / max(work.parts, 1), workers, *shape
    )
    memory = float(recipe.dedup.memory)
    if needed > memory:
        memory = max(needed, min(2 * needed, cluster.nodes * cluster.memory / 2))
    return grouping.grouping(
        work.documents,
        work.parts,
        work.meeting,
        memory,
        workers,
        *shape,
        len(recipe.dedup.prefer),
    ), memory


def _stages(walls: Sequence[Wall], cluster: Cluster) -> list[Stage]:
    found = []
    for name in dict.fromkeys(wall.work.stage for wall in walls):
        mine = [wall for wall in walls if wall.work.stage == name]
        work = [wall.work for wall in mine]
        hours = sum(wall.seconds for wall in mine) / 3600
        puts, gets = sum(w.puts for w in work), sum(w.gets for w in work)
        asked = puts * cluster.price_put_1000 + gets * cluster.price_get_1000
        found.append(
            Stage(
                name,
                sum(w.documents for w in work),
                sum(w.kept for w in work),
                sum(w.core_s + w.one_process_s for w in work) / 3600,
                hours,
                max(wall.workers for wall in mine),
                max(w.worker_bytes for w in work),
                sum(wall.one_process for wall in mine) / 3600,
                max(w.one_process_bytes for w in work),
                sum(w.reads + w.source_bytes for w in work),
                sum(w.writes for w in work),
                sum(w.requests for w in work),
                puts + gets,
                hours * cluster.nodes * cluster.price_hour + asked / 1000,
                tuple(dict.fromkeys(w.known_from for w in work)),
            )
        )
    return found
