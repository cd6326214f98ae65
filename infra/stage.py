"""What a stage is: a name, a hand-bumped version, parameters, and a function from a context to an
outcome.

A stage never sees the recipe, Prefect or the engine's kind. It receives pinned files and committed
artifacts of earlier stages, writes shards, and returns what it measured. Its parameters, inputs and
pins decide its output bytes; they, with its name and version, are what its artifact's version is
computed from.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import pydantic

JSON = Any
"""A value that `json` can write: None, bool, int, float, str, lists and string-keyed dicts."""


@dataclass(frozen=True)
class Marker:
    """Annotates a parameter field; see `NOT_IDENTITY` and `FILE`."""

    name: str


NOT_IDENTITY = Marker("not-identity")
"""`Annotated[int, NOT_IDENTITY]`: affects how the work is done (workers, micro-batch) and not the
output; not part of the version.
"""

FILE = Marker("file")
"""`Annotated[str, FILE]`: a path, glob or name of a file. The version uses the file's name and
sha256 in place of the path.
"""

FilePath = Annotated[str, FILE]
FilePaths = Annotated[tuple[str, ...], FILE]


class StageError(Exception):
    """A stage cannot continue. The message names the value, the limit and the next action."""


class GateError(StageError):
    """A result exceeds a limit of the recipe (`puna run` exits with 3). The message shows examples
    and how to accept the result.
    """


class Parameters(pydantic.BaseModel):
    """Base class of every stage's parameters: frozen, and refuses unknown keys. The recipe reader
    adds file and line to its errors.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def identity(self) -> dict[str, JSON]:
        """The parameters that enter the version: all fields but those marked `NOT_IDENTITY` or
        `FILE`.
        """
        return {
            name: _identity(getattr(self, name))
            for name, info in type(self).model_fields.items()
            if not any(isinstance(note, Marker) for note in info.metadata)
        }

    def file_references(self) -> dict[str, tuple[str, ...]]:
        """Dotted path of every `FILE` field that is set -> the paths it names."""
        return dict(_file_references(self, ""))


def _identity(value: Any) -> JSON:
    if isinstance(value, Parameters):
        return value.identity()
    if isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): _identity(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_identity(item) for item in value]
    return value


def _file_references(value: Any, prefix: str) -> list[tuple[str, tuple[str, ...]]]:
    references: list[tuple[str, tuple[str, ...]]] = []
    if isinstance(value, Parameters):
        for name, info in type(value).model_fields.items():
            item = getattr(value, name)
            path = f"{prefix}{name}"
            if FILE in info.metadata:
                if item is not None:
                    references.append((path, (item,) if isinstance(item, str) else tuple(item)))
            else:
                references.extend(_file_references(item, f"{path}."))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            references.extend(_file_references(item, f"{prefix}{key}."))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            references.extend(_file_references(item, f"{prefix}{index}."))
    return references


@dataclass(frozen=True)
class Pin:
    """One file as it was when the plan was made: its path or URL, name and content.

    `sha256` is "" for a remote object whose content has not been read; `etag` is then what its
    server identifies it by (an ETag, or the time of its last change), "" where its name alone does.
    `bytes` is `UNKNOWN_BYTES` where no listing states the size. `modified_ns` is when a local file
    was last written, 0 where that is not known; it tells a change, and is no part of what a pin is.
    """

    path: str
    name: str
    sha256: str
    bytes: int
    etag: str = ""
    modified_ns: int = field(default=0, compare=False)

    @property
    def identity(self) -> str:
        """What stands for the content in a version: the sha256, or the best that was known without
        reading it.
        """
        if self.sha256:
            return self.sha256
        return f"etag:{self.etag}:{self.bytes}" if self.etag else f"name:{self.name}"

    def to_json(self) -> dict[str, JSON]:
        """The pin as manifests hold it; local files have no `etag`."""
        found = dict(vars(self))
        del found["modified_ns"]
        if not self.etag:
            del found["etag"]
        return found

    @classmethod
    def from_json(cls, found: Mapping[str, JSON]) -> Pin:
        """The pin of a manifest; `KeyError` where something is missing."""
        return cls(
            found["path"], found["name"], found["sha256"], found["bytes"], found.get("etag", "")
        )


UNKNOWN_BYTES = -1


@dataclass(frozen=True)
class Fault:
    """What is wrong with files that a parameter names, found before the stage runs.

    `parameter`: the dotted path of a `FILE` parameter. `certain`: whether the stage would fail, so
    that the plan is refused; else the plan warns.
    """

    parameter: str
    what: str
    certain: bool = True


@dataclass(frozen=True)
class Outcome:
    """What a stage returns for its manifest: statistics (JSON), and a ledger where it handles
    documents.
    """

    statistics: dict[str, JSON] = field(default_factory=dict)
    ledger: dict[str, JSON] | None = None


EVERY_STAGE = "*"
"""Name of a role that means one role per stage, each named after its stage."""


@dataclass(frozen=True)
class Role:
    """An input of a stage: its name, which stages' artifacts it takes, and how many.

    No `stages` means any stage's. One artifact is required unless `many` (one or more) or
    `optional` (none is allowed too). `check` names a function
    ("tasks.binning.category:refuse_nothing") that a run calls as soon as the role's artifacts
    exist, with the node's name and them; its `StageError` ends the run before the node's other
    inputs are built. Without `identity`, what is given decides no byte of the output and is not
    part of the version. With `content`, the version depends on what the artifacts hold: one that
    was made again of other inputs, and holds what an earlier version of it does, changes nothing.
    """

    name: str
    stages: tuple[str, ...] = ()
    many: bool = False
    optional: bool = False
    check: str = ""
    identity: bool = True
    content: bool = False

    def problem(self, given: Sequence[str]) -> str:
        """What is wrong with artifacts of these stages in this role; "" for nothing."""
        if not given and not self.optional:
            return f"input {self.name!r} is missing"
        if len(given) > 1 and not self.many:
            return f"input {self.name!r} takes one artifact, not {len(given)}"
        wrong = sorted({stage for stage in given if self.stages and stage not in self.stages})
        if wrong:
            taken = " or ".join(self.stages)
            return f"input {self.name!r} takes artifacts of {taken}, not of {', '.join(wrong)}"
        return ""

    def check_artifacts(self, node: str, artifacts: Sequence[Any]) -> None:
        """Raise `StageError` where the role's `check` refuses these artifacts."""
        if self.check:
            _function(self.check)(node, artifacts)


@dataclass(frozen=True)
class Output:
    """Data files that a stage writes: a pattern for their names below `data/`, and what they hold.

    `columns`, for Parquet files: name -> Arrow type as pyarrow prints it.
    """

    files: str
    what: str
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A kind of node in the plan, and the contract it keeps.

    Attributes:
        version: bumped by hand when output bytes change.
        run: the function ("tasks.langid.run:run"). It is imported when the stage runs, so that
            planning imports no heavy library.
        section: the part of a recipe that the parameters come from ("sources.*.langid"), or "".
        bitwise: whether the output bytes are equal for any engine, worker count and interruption;
            other stages (training, evaluation, report) are numeric.
        exclusive: whether the stage starts a process with `cpu_threads` threads; only as many of
            these run at once as there are processors for.
        compiles: modules whose loops a new machine has to compile. They are imported once, before
            workers are forked, and not by every worker.
        pins: names a function ("tasks.ingest.pinning:pins") that pins what parameters name that is
            no file: (parameters, `infra.remote.listing.Listing`) -> parameter path -> pins, or the
            `StageError` why there are none.
        check: names a function ("tasks.model.check:faults") that looks into the files that
            parameters name, before anything runs, and yields what is wrong with them: (parameters,
            parameter path -> pins, `infra.remote.access.Access`) -> `Fault`s. What cannot be
            reached is no fault.
    """

    name: str
    version: int
    parameters: type[Parameters]
    run: str
    summary: str
    section: str = ""
    inputs: tuple[Role, ...] = ()
    outputs: tuple[Output, ...] = ()
    bitwise: bool = True
    exclusive: bool = False
    compiles: tuple[str, ...] = ()
    pins: str = ""
    check: str = ""

    def role(self, name: str) -> Role:
        """The input role of that name; `ValueError` for one that the stage does not declare."""
        for role in self.inputs:
            if role.name in (name, EVERY_STAGE):
                return role
        declared = ", ".join(role.name for role in self.inputs) or "none"
        raise ValueError(f"stage {self.name} declares no input {name!r}; it declares: {declared}")

    def check_inputs(self, given: Mapping[str, Sequence[str]]) -> None:
        """Raise `ValueError` unless role -> names of stages is what the stage declares."""
        for name in given:
            self.role(name)
        problems = [
            role.problem(given.get(role.name, ()))
            for role in self.inputs
            if role.name != EVERY_STAGE
        ]
        if wrong := [problem for problem in problems if problem]:
            raise ValueError(f"stage {self.name}: {'; '.join(wrong)}")

    def load(self) -> Callable[[Any], Outcome]:
        """Import and return the run function, which takes an `infra.context.Context`."""
        loaded: Callable[[Any], Outcome] = _function(self.run)
        return loaded

    def declared_pins(
        self, parameters: Parameters, listing: Any
    ) -> dict[str, tuple[Pin, ...] | StageError]:
        """What the stage's `pins` function finds; nothing for a stage without one."""
        found: dict[str, tuple[Pin, ...] | StageError] = (
            _function(self.pins)(parameters, listing) if self.pins else {}
        )
        return found

    def faults(
        self, parameters: Parameters, pins: Mapping[str, tuple[Pin, ...]], access: Any
    ) -> list[Fault]:
        """What the stage's `check` function finds; nothing for a stage without one."""
        return list(_function(self.check)(parameters, pins, access)) if self.check else []


def _function(locator: str) -> Callable[..., Any]:
    module, _, name = locator.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
