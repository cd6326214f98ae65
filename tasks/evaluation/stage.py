"""The evaluation stage: what a recipe may say about it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic

from infra.quantities import Bytes
from infra.stage import FILE, NOT_IDENTITY, Output, Parameters, Role, Stage
from tasks.benchmarks.model import QUESTIONS_ONLY, Benchmark

Protocol = Literal["harness", "first-token", "bits-per-byte"]


class LongText(Parameters):
    """Loss by position on the first `documents` held-out documents of each category that have
    `length_bytes` of UTF-8.

    Bytes, since tokens are each tokenizer's own: so all models read the same text (a token of
    English is about four bytes). Positions are put together in buckets of `bucket_bytes`.
    """

    length_bytes: Bytes = pydantic.Field(default=16_384, ge=64)
    documents: int = pydantic.Field(default=20, gt=0)
    bucket_bytes: Bytes = pydantic.Field(default=2_048, ge=64)

    @pydantic.model_validator(mode="after")
    def _buckets_fit(self) -> Self:
        if self.length_bytes % self.bucket_bytes:
            raise ValueError(
                f"long_text: length_bytes {self.length_bytes} is no multiple of bucket_bytes "
                f"{self.bucket_bytes}; make it one, or change bucket_bytes"
            )
        return self


class HeldOutFloor(Parameters):
    """A category whose held-out text has fewer `documents` or `characters` is marked in every
    table, and told.
    """

    documents: int = pydantic.Field(default=30, ge=0)
    characters: int = pydantic.Field(default=10_000, ge=0)


class EvaluationParameters(Parameters):
    """One model's evaluation.

    `benchmarks`: local ones, by name; `tasks`: which of them to run (all by default); `hub`: tasks
    of lm-evaluation-harness by name, whose data comes from the Hugging Face hub.

    Protocols: `harness` is lm-evaluation-harness (likelihood of every answer); `first-token`
    compares the option letters' logits after a prompt that lists the options (local benchmarks);
    `bits-per-byte` is the cost of held-out text per category, comparable between vocabularies.

    `long_text`: loss by position in long held-out documents, also beyond the context that a model
    states.

    `shots`: task -> worked examples (over the benchmark's own `shots`). `limit`: the first N items
    of every task; `heldout_documents`: the first N documents of every category; `heldout_floor`:
    how few of them say little. `decontaminated`: tasks that the training data was cleaned of.
    `model`: the folder of a model that no stage of the recipe built.
    """

    benchmarks: dict[str, Benchmark] = pydantic.Field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    hub: tuple[str, ...] = ()
    protocols: tuple[Protocol, ...] = ("harness",)
    long_text: LongText | None = None
    shots: dict[str, int] = pydantic.Field(default_factory=dict)
    limit: int | None = pydantic.Field(None, gt=0)
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
    def _has_choices(self) -> Self:
        for name, benchmark in self.benchmarks.items():
            if benchmark.format in QUESTIONS_ONLY and name in (self.tasks or self.benchmarks):
                raise ValueError(
                    f"task {name!r}: format {benchmark.format} has questions only (for "
                    "decontaminate.against); take it out of tasks, or name the harness's own task "
                    "under hub"
                )
        return self

    def local_tasks(self) -> dict[str, Benchmark]:
        """The local benchmarks to run, in order."""
        return {name: self.benchmarks[name] for name in self.tasks or self.benchmarks}


STAGE = Stage(
    "evaluation",
    version=5,
    parameters=EvaluationParameters,
    run="tasks.evaluation.run:run",
    summary="benchmark scores, bits per byte and long-text loss of one model",
    section="evaluation",
    inputs=(
        Role("model", ("model", "training"), optional=True),
        Role("heldout", ("select",), many=True, optional=True),
    ),
    outputs=(
        Output("results.json", "task -> metric -> value"),
        Output("samples/*.jsonl", "a line an item"),
        Output("notes.json", "sentences, where there are any"),
    ),
    bitwise=False,
    exclusive=True,
)
