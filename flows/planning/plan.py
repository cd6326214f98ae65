"""From the graph, its pins and the store to a plan: what exists, what must run, and why."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from flows.planning.graph import Graph, Node
from flows.planning.request import Selection
from flows.planning.resolve import Pins, Unresolved
from flows.planning.selecting import asked_pins, expand, wanted
from flows.recipe.file import RecipeError
from flows.recipe.references import ArtifactReference
from infra.differences import differences
from infra.stage import NOT_IDENTITY, Pin
from infra.store import Artifact, ArtifactMissing, Store, damage
from infra.store.identity import source_digest, version_of

State = Literal["hit", "run", "unresolved", "skipped"]


@dataclass(frozen=True)
class Step:
    """One node, its version, and whether the store holds it."""

    node: Node
    version: str | None
    state: State
    why: str
    pins: Mapping[str, tuple[Pin, ...]]
    artifact: Artifact | None = None
    forced: bool = False
    follows: bool = False
    """Whether it is there, and is built again only if an input comes out otherwise than it did."""
    external: Mapping[str, tuple[Artifact, ...]] = field(default_factory=dict)
    """Inputs that another recipe made, by role."""

    @property
    def id(self) -> str:
        """`stage/name`."""
        return self.node.id


@dataclass(frozen=True)
class Plan:
    """Steps in running order."""

    recipe: str
    steps: dict[str, Step]

    def to_run(self) -> list[Step]:
        """Steps that must run."""
        return [step for step in self.steps.values() if step.state == "run"]

    def to_json(self) -> list[dict[str, Any]]:
        """The stages of `puna plan --json`."""
        return [
            {
                "stage": step.node.stage.name,
                "name": step.node.name,
                "version": step.version,
                "result": step.state,
                "why": step.why,
            }
            for step in self.steps.values()
        ]


def make_plan(
    graph: Graph,
    pins: Pins,
    store: Store,
    recipe: str,
    selection: Selection | None = None,
    stated: Mapping[str, Artifact] | None = None,
) -> Plan:
    """Compute every node's version and state. Raises `RecipeError` for selectors and inputs that do
    not exist.

    `stated`: node id -> the artifact that the recipe itself pins; --pin counts before it.
    """
    selection = selection or Selection()
    left, forced = wanted(graph, selection), expand(graph, selection.force, "--force")
    asked, stated = asked_pins(graph, store, recipe, selection), stated or {}
    pinned = {**stated, **asked}
    needed = graph.ancestors(sorted(left))
    steps: dict[str, Step] = {}
    unsure: set[str] = set()  # may come out otherwise than what was read of them before
    for id, node in graph.nodes.items():
        step = (
            _pinned(node, pinned[id], "pinned" if id in asked else "pinned by the recipe")
            if id in pinned
            else _step(node, pins[id], store, recipe, steps)
        )
        if id in forced and step.state in ("hit", "run"):
            step = _replace(
                step,
                "run",
                "forced" if step.artifact else step.why,
                forced=step.artifact is not None,
            )
        elif step.state == "hit" and id in left and id not in pinned:
            step = _as_its_inputs_are(step, steps, unsure)
        comes_out_anew = not node.stage.bitwise or step.follows or unsure & _read_by(node)
        if step.state == "run" and id in left and comes_out_anew:
            unsure.add(id)
        if (id not in left and step.state == "run") or (
            id not in needed and step.state == "unresolved"
        ):
            step = _replace(step, "skipped", "not selected")
        steps[id] = step
    _check_selection(steps)
    return Plan(recipe, steps)


def _replace(step: Step, state: State, why: str, forced: bool = False) -> Step:
    return replace(step, state=state, why=why, forced=forced)


def _as_its_inputs_are(step: Step, steps: Mapping[str, Step], unsure: Set[str]) -> Step:
    """A hit, or what it is instead because a numeric stage before it was built again in its place,
    or will be: the version of what follows does not tell, what was read does.
    """
    given = {
        role: [
            found
            for source in sources
            if isinstance(source, str) and (found := steps[source].artifact) is not None
        ]
        for role, sources in step.node.inputs.items()
    }
    if changed := _read_otherwise(step, given):
        why = f"{changed} was built again since and holds other data"
        return replace(step, state="run", why=why, forced=True, follows=True)
    numeric = not step.node.stage.bitwise
    rebuilt = [
        up for up in step.node.upstream() if steps[up].forced and not steps[up].node.stage.bitwise
    ]
    if numeric and rebuilt:
        return _replace(step, "run", f"{rebuilt[0]} is rebuilt", forced=True)
    if again := [up for up in step.node.upstream() if up in unsure & _read_by(step.node)]:
        why = f"{again[0]} is rebuilt, unless it turns out to hold the same"
        return replace(step, state="run", why=why, follows=True)
    return step


def _read_by(node: Node) -> set[str]:
    """The steps that decide what a node writes."""
    return {
        source
        for role, sources in node.inputs.items()
        for source in sources
        if isinstance(source, str) and node.stage.role(role).identity
    }


def _read_otherwise(step: Step, given: Mapping[str, Sequence[Artifact]]) -> str:
    """The first input, `stage/name`, that held other data when the step's artifact was made of it;
    "" for none. `given`: role -> the artifacts as they are now.
    """
    if step.artifact is None:
        return ""
    for role, artifacts in given.items():
        if not step.node.stage.role(role).identity:
            continue
        read: dict[str, set[str]] = {}  # of one name there may be several, as of crawls
        for one in step.artifact.manifest.inputs.get(role, ()):
            read.setdefault(f"{one.stage}/{one.name}", set()).add(one.digest)
        for artifact in (*artifacts, *step.external.get(role, ())):
            name = f"{artifact.stage}/{artifact.name}"
            if artifact.digest not in read.get(name, {artifact.digest}):
                return name
    return ""


def _check_selection(steps: Mapping[str, Step]) -> None:
    """Refuse steps to run whose inputs are neither in the store nor about to be built."""
    problems = [
        f"{step.id} is selected, but its input {up} (version {steps[up].version}) is not in the "
        f"store; build it first, with what it needs: puna run RECIPE --until {up}"
        for step in steps.values()
        if step.state == "run"
        for up in step.node.upstream()
        if steps[up].state == "skipped"
    ]
    if problems:
        raise RecipeError(problems)


def _pinned(node: Node, artifact: Artifact, why: str) -> Step:
    return Step(node, artifact.version, "hit", why, {}, artifact)


def _step(
    node: Node,
    pins: Mapping[str, tuple[Pin, ...] | Unresolved],
    store: Store,
    recipe: str,
    steps: Mapping[str, Step],
) -> Step:
    resolved = {path: files for path, files in pins.items() if not isinstance(files, Unresolved)}
    identities, external, problem = _inputs(node, store, steps)
    if problem is None:
        problem = next(
            (f"{u.reference}: {u.why}" for u in pins.values() if isinstance(u, Unresolved)), None
        )
    if problem is not None:
        return Step(node, None, "unresolved", problem, resolved, external=external)
    version = version_of(node.stage, node.name, node.parameters, identities, resolved)
    artifact = store.find(node.stage.name, node.name, version)
    if artifact is not None:
        return Step(
            node, version, "hit", _drift(node, artifact), resolved, artifact, external=external
        )
    why = _why(node, identities, resolved, store, recipe)
    if why.startswith("input ") and _may_stay(node, steps):
        why += ", unless it turns out to hold the same"
    return Step(node, version, "run", why, resolved, external=external)


def settled(step: Step, artifacts: Mapping[str, Artifact], store: Store) -> Step:
    """A step that is to run, now that its inputs are there: with the version that follows from what
    they hold, and a hit where the store has that.

    `artifacts`: node id -> artifact. A forced step stays as it is.
    """
    if step.forced:
        return step
    external = {role: iter(given) for role, given in step.external.items()}
    given = {
        role: [artifacts[s] if isinstance(s, str) else next(external[role]) for s in sources]
        for role, sources in step.node.inputs.items()
    }
    identities = {
        role: [_identity(step.node, role, artifact) for artifact in given[role]] for role in given
    }
    version = version_of(
        step.node.stage, step.node.name, step.node.parameters, identities, step.pins
    )
    if version == step.version and not step.follows:
        return step
    artifact = store.find(step.node.stage.name, step.node.name, version)
    found = replace(step, version=version, artifact=artifact)
    if artifact is None:
        return found
    if changed := _read_otherwise(found, given):
        return replace(found, why=f"{changed} was built again and holds other data", forced=True)
    return replace(found, state="hit", why="what it reads holds the same as before")


def _recipe_file(name: str) -> Path | None:
    """The recipe of that name in the working directory or its folder `configs`, if there is one."""
    stated = re.compile(rf"^name:\s*{re.escape(name)}\s*(#.*)?$", re.MULTILINE)
    for file in sorted((*Path().glob("*.yaml"), *Path("configs").rglob("*.yaml"))):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if stated.search(file.read_text(encoding="utf-8")):
                return file
    return None


def _identity(node: Node, role: str, artifact: Artifact) -> str:
    """What stands for an input in a node's version."""
    by_content = node.stage.role(role).content
    return artifact.content_identity if by_content else artifact.identity


def _may_stay(node: Node, steps: Mapping[str, Step]) -> bool:
    """Whether all that is built anew for a node may come out as it was."""
    new = [
        node.stage.role(role).content
        for role, sources in node.inputs.items()
        for source in sources
        if isinstance(source, str) and steps[source].state == "run"
    ]
    return bool(new) and all(new)


def _inputs(
    node: Node, store: Store, steps: Mapping[str, Step]
) -> tuple[dict[str, list[str]], dict[str, tuple[Artifact, ...]], str | None]:
    """Identities of a node's inputs by role, those of them that other recipes made, and what is
    missing.
    """
    identities: dict[str, list[str]] = {}
    external: dict[str, tuple[Artifact, ...]] = {}
    problem = None
    for role, sources in node.inputs.items():
        identities[role] = []
        for source in sources:
            if isinstance(source, ArtifactReference):
                try:
                    artifact = store.open(
                        f"{source.stage}/{source.name}@{source.selector}", source.recipe
                    )
                except ArtifactMissing:
                    file = _recipe_file(source.recipe)
                    action = (
                        f"puna run {file}"
                        if file is not None
                        else f"run the recipe {source.recipe} with that store"
                    )
                    problem = problem or (
                        f"{source} is not in the store {store.root.url}; make it first: {action}"
                    )
                    continue
                external[role] = (*external.get(role, ()), artifact)
                identities[role].append(_identity(node, role, artifact))
            elif steps[source].version is None:
                problem = problem or f"waits for {source}"
            elif (built := steps[source].artifact) is not None:
                identities[role].append(_identity(node, role, built))
            else:
                identities[role].append(f"{source}@{steps[source].version}")
    return identities, external, problem


def _drift(node: Node, artifact: Artifact) -> str:
    """A remark on a hit: its files are damaged, or the code has changed since it was built."""
    if damaged := damage.in_short(artifact):
        return f"{damaged}; --force {node.id} builds it again"
    built_by = artifact.manifest.code["source_digest"]
    return (
        "" if built_by == source_digest(node.stage) else "code changed since (same stage version)"
    )


def _why(
    node: Node,
    identities: Mapping[str, Sequence[str]],
    pins: Mapping[str, tuple[Pin, ...]],
    store: Store,
    recipe: str,
) -> str:
    """Why the node must run: what differs from this recipe's latest artifact of it."""
    latest = store.reference(recipe, node.stage.name, node.name)
    if latest is None:
        return "never built"
    artifact = store.find(node.stage.name, node.name, latest)
    if artifact is None:
        return f"its artifact is gone from the store (version {latest})"
    manifest = artifact.manifest
    if manifest.stage_version != node.stage.version:
        return f"stage version {manifest.stage_version} -> {node.stage.version}"
    fields = type(node.parameters).model_fields.items()
    undecisive = {name for name, info in fields if NOT_IDENTITY in info.metadata}
    changes = [
        f"{path}: {_short(before)} -> {_short(after)}{_remark(node, path)}"
        for path, before, after in differences(
            manifest.parameters, node.parameters.model_dump(mode="json")
        )
        if path.partition(".")[0] not in undecisive
    ]
    if changes:
        return "; ".join(changes[:3]) + (
            f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
        )
    for path, files in pins.items():
        before = [(pin.name, pin.identity) for pin in manifest.pins.get(path, ())]
        if before != [(pin.name, pin.identity) for pin in files]:
            return f"files of {path} changed ({len(before)} -> {len(files)} files)"
    inputs_before = {
        identity
        for inputs in manifest.inputs.values()
        for given in inputs
        for identity in (given.identity, given.content_identity)
    }
    changed = [
        identity.partition("@")[0]
        for role, inputs in identities.items()
        for identity in inputs
        if node.stage.role(role).identity and identity not in inputs_before
    ]
    return f"input {', '.join(changed[:3])} changed" if changed else "another set of inputs"


def _remark(node: Node, path: str) -> str:
    return f" ({node.remarks[path]})" if path in node.remarks else ""


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
