"""Stage evaluation: parameters, inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import pydantic

from infra.quantities import Bytes
from infra.stage import FILE, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.benchmarks.model import Benchmark, protocols_of

Protocol = Literal["harness", "first-token", "exact-match", "bits-per-byte"]


class LongText(Parameters):
    """Loss by position in long documents.

    Uses the first `documents` held-out documents of each category that have at least `length_bytes`
    of UTF-8, and averages positions over buckets of `bucket_bytes`. Lengths are in bytes so that
    models with different tokenizers read the same text; an English token is about four bytes.
    """

    length_bytes: Bytes = pydantic.Field(default=16_384, ge=64)
    documents: int = pydantic.Field(default=20, gt=0)
    bucket_bytes: Bytes = pydantic.Field(default=2_048, ge=64)

    @pydantic.model_validator(mode="after")
    def _buckets_fit(self) -> Self:
        if self.length_bytes % self.bucket_bytes:
            raise ValueError(
                f"long_text: length_bytes {self.length_bytes} is not a multiple of bucket_bytes "
                f"{self.bucket_bytes}; change either of them"
            )
        return self


class HeldOutFloor(Parameters):
    """Categories with fewer held-out `documents` or `characters` are marked in tables and noted."""

    documents: int = pydantic.Field(default=30, ge=0)
    characters: int = pydantic.Field(default=10_000, ge=0)


class GroupLimit(Parameters):
    """Ask `per_group` items of each group (subject) of a task, chosen by the hash of their ids."""

    per_group: int = pydantic.Field(gt=0)


def cannot_be_asked(benchmark: Benchmark, protocols: Sequence[str]) -> str:
    """Why none of the evaluation's protocols can ask a benchmark, and what to do."""
    possible = protocols_of(benchmark.format)
    if not possible:
        return (
            f"format {benchmark.format} has questions without choices, for decontaminate.against "
            "only; remove it from tasks, or use the harness's own task under hub"
        )
    return (
        f"format {benchmark.format} is asked by {' or '.join(possible)} only, and "
        f"evaluation.protocols is [{', '.join(protocols)}]; write protocols: [{possible[0]}] in "
        "the benchmark"
    )


class EvaluationParameters(Parameters):
    """One model's evaluation.

    `benchmarks`: local benchmarks by name. `tasks`: which of them to run (default: all). `hub`:
    names of lm-evaluation-harness tasks, whose data comes from the Hugging Face hub.

    Protocols: `harness` compares the likelihoods of the answers as lm-evaluation-harness does,
    which runs the tasks of `hub`; `first-token` compares the logits of option letters after a
    prompt that lists the options; `exact-match` compares an answer that the model writes;
    `bits-per-byte` measures held-out text per category, comparable between vocabularies. A
    benchmark with `protocols` of its own is asked by these, others by those that can ask it.

    `long_text`: loss by position in long held-out documents, also beyond the context that a model
    states.

    `shots`: task -> number of worked examples (overrides the benchmark's `shots`). `limit`: use the
    first N items of each task, or {per_group: N} of each of its groups (`GroupLimit`), whatever
    order they have in the file. `heldout_documents`: use the first N documents of each category.
    `heldout_floor`: less held-out text than this is marked as too little. `decontaminated`: tasks
    that the training data was decontaminated against. `model`: folder of a model that the recipe
    does not build.
    """

    benchmarks: dict[str, Benchmark] = pydantic.Field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ("harness",)
    long_text: LongText | None = None
    shots: dict[str, int] = pydantic.Field(default_factory=dict)
    limit: Annotated[int, pydantic.Field(gt=0)] | GroupLimit | None = None
    heldout_documents: int | None = pydantic.Field(None, gt=0)
    heldout_floor: HeldOutFloor = HeldOutFloor()
    max_length: int | None = pydantic.Field(None, gt=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = pydantic.Field(default=1234, ge=0, lt=2**32)
    decontaminated: tuple[str, ...] = ()
    model: Annotated[str | None, FILE] = None
    batch_size: Annotated[int, NOT_IDENTITY] = pydantic.Field(16, gt=0)
    device: Annotated[str, NOT_IDENTITY] = "auto"

    @pydantic.model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        asks = {"harness", "first-token", "exact-match"}.intersection(self.protocols)
        for name, benchmark in self.benchmarks.items():
            if name not in (self.tasks or self.benchmarks):
                continue
            if asks and not benchmark.asked_by(self.protocols):
                raise ValueError(f"task {name!r}: {cannot_be_asked(benchmark, self.protocols)}")
        return self

    def local_tasks(self) -> dict[str, Benchmark]:
        """The local benchmarks to run, by name and in order."""
        return {name: self.benchmarks[name] for name in self.tasks or self.benchmarks}


STAGE = Stage(
    "evaluation",
    version=8,
    parameters=EvaluationParameters,
    run="tasks.evaluation.run:run",
    check="tasks.evaluation.check:faults",
    summary="benchmark scores, bits per byte and long-text loss of one model",
    section="evaluation",
    inputs=(
        Role("model", ("model", "training"), optional=True),
        Role("heldout", ("select",), many=True, optional=True, content=True),
        Role("earlier", ("select",), many=True, optional=True, content=True),
    ),
    outputs=(
        Output("results.json", "task -> metric -> value"),
        Output("samples/*.jsonl", "one line per item, or per held-out document"),
        Output("notes.json", "notes, if there are any"),
    ),
    bitwise=False,
    exclusive=True,
)
