"""Asks what no earlier run has asked, round by round: first all documents, then those whose answer
was malformed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.context import Context
from infra.stage import StageError
from infra.store import Shard
from tasks.checkpoints.base import folder_of
from tasks.documents.sampling import sample_hash
from tasks.labels import endpoint
from tasks.labels.answers import Answer, Answers
from tasks.labels.rubric import (
    Request,
    asked_again,
    first_messages,
    read_score,
    settings_of,
)
from tasks.labels.stage import LabelsParameters, ScoreReading

SHARD_REQUESTS = 64
"""Requests to a model that runs here, of one shard."""

SHOWN = 300
"""Characters of an answer in an error or an example."""

MOST_REFUSED = 20
"""Refused requests after which, with none answered, the run ends."""


MOST_UNREADABLE = 50
"""Answers without a score after which, with no other among them, the run ends: before all is asked,
and asked again, by a prompt or a pattern that is wrong.
"""


@dataclass
class Question:
    """One document, or its second time. `score` is None until an answer has one."""

    row: int
    request: Request
    score: float | None = None
    answer: str = ""
    asked: int = 0


@dataclass
class Account:
    """What was asked: now, and by earlier runs; `again`: after malformed answers."""

    asked: int = 0
    cached: int = 0
    again: int = 0
    malformed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    wall_s: float = 0.0
    """Time in which what is `asked` was answered."""
    problems: list[str] = field(default_factory=list)


@dataclass
class Unreadable:
    """Looks at first answers until one has a score. Raises StageError where none has."""

    name: str
    reading: ScoreReading
    seen: int = 0
    first: str = ""
    some: bool = False

    def look(self, answer: Answer) -> None:
        """Count an answer."""
        self.some = self.some or read_score(answer.text, self.reading) is not None
        if self.some:
            return
        self.first = self.first or answer.text
        self.seen += 1
        if self.seen == MOST_UNREADABLE:
            raise StageError(
                f"labels/{self.name}: none of the first {self.seen} answers has a score from "
                f"{self.reading.low:g} to {self.reading.high:g}; the first is "
                f"{self.first[:SHOWN]!r}. Change score.pattern or the prompt (answers that are "
                "there are not asked for again), or raise max_tokens"
            )


def questions(parameters: LabelsParameters, model: str, documents: Sequence[Any]) -> list[Question]:
    """The first questions: each document's, and the second of `repeat` of them, by a hash."""
    settings = settings_of(parameters, model)
    found = []
    for row, document in enumerate(documents):
        messages = first_messages(parameters, document["text"])
        found.append(Question(row, Request(messages, 0, settings)))
        unit = sample_hash(f"repeat/{document['id']}", parameters.seed) / 2.0**64
        if unit < parameters.repeat:
            found.append(Question(row, Request(messages, 1, settings)))
    return found


def ask_all(context: Context, asked: list[Question]) -> Account:
    """Ask every question until it has a score or `again` is used up; fills the questions in."""
    parameters: LabelsParameters = context.parameters
    if context.answers is None:
        raise StageError("labels needs a store that keeps answers; run it with `puna run`")
    answers, account = Answers(context.answers), Account()
    todo = asked
    for turn in range(parameters.again + 1):
        if not todo:
            break
        found = _round(context, answers, {q.request.key: q.request for q in todo}, account, turn)
        malformed = []
        for question in todo:
            answer = found[question.request.key]
            question.asked += 1
            question.answer = answer.text or answer.problem
            question.score = read_score(answer.text, parameters.score)
            if question.score is None:
                account.malformed += 1
                messages = asked_again(question.request.messages, answer.text, parameters.reminder)
                question.request = Request(
                    messages, question.request.number, question.request.settings
                )
                malformed.append(question)
        todo = malformed
    return account


def _round(
    context: Context,
    answers: Answers,
    requests: Mapping[str, Request],
    account: Account,
    turn: int,
) -> dict[str, Answer]:
    """The answers to these requests; what no run has asked yet is asked."""
    known = answers.read(requests)
    account.cached += len(known)
    missing = [request for key, request in requests.items() if key not in known]
    account.again += len(missing) if turn else 0
    found: dict[str, Answer] = dict(known)
    unreadable = Unreadable(context.name, context.parameters.score)
    if not turn:
        for answer in known.values():
            unreadable.look(answer)
    unit = "answers" if not turn else f"answers, asked again {turn}"
    context.progress(len(found), len(requests), unit)

    def keep(request: Request, answer: Answer) -> None:
        if not answer.problem:  # a refusal costs nothing, and may pass
            answers.put(request.key, answer)
        found[request.key] = answer
        account.asked += 1
        if answer.problem:
            account.problems.append(answer.problem)
            if len(account.problems) == account.asked >= MOST_REFUSED:
                raise StageError(
                    f"labels/{context.name}: of the first {account.asked} requests none was "
                    f"answered: {answer.problem}; correct the request (max_tokens, "
                    "max_characters, endpoint.extra), or name another model"
                )
        elif not turn:
            unreadable.look(answer)
        context.progress(len(found), len(requests), unit)

    started = time.monotonic()
    _ask(context, missing, keep, turn)
    account.wall_s += time.monotonic() - started
    for answer in found.values():
        account.input_tokens += answer.input_tokens
        account.output_tokens += answer.output_tokens
    return found


def _ask(
    context: Context,
    missing: list[Request],
    keep: Callable[[Request, Answer], None],
    turn: int,
) -> None:
    parameters: LabelsParameters = context.parameters
    if parameters.endpoint is not None:
        endpoint.ask_all(missing, parameters.endpoint, context.access, keep)
        return
    if not missing or context.answers is None:
        return
    folder = context.folder("model", folder_of)
    shards = {
        f"ask.{turn}.{missing[at].key[:16]}": LocalWork(
            folder, tuple(missing[at : at + SHARD_REQUESTS]), Answers(context.answers)
        )
        for at in range(0, len(missing), SHARD_REQUESTS)
    }
    results = context.map(ask_here, shards)
    kept = Answers(context.answers).read(request.key for request in missing)
    problems = {key: why for found in results.values() for key, why in found["problems"].items()}
    for request in missing:
        keep(request, kept.get(request.key) or Answer("", problem=problems.get(request.key, "")))


@dataclass(frozen=True)
class LocalWork:
    """Requests to a model in a local folder."""

    folder: Path
    requests: tuple[Request, ...]
    answers: Answers


def ask_here(work: LocalWork, shard: Shard) -> dict[str, Any]:
    """Ask a model that runs in this process, and keep its answers; returns refusals."""
    from tasks.labels import local_model

    step, problems = local_model.BATCH, {}
    for start in range(0, len(work.requests), step):
        some = work.requests[start : start + step]
        for request, answer in zip(some, local_model.ask_all(work.folder, some), strict=True):
            if answer.problem:
                problems[request.key] = answer.problem
            else:
                work.answers.put(request.key, answer)
    return {"problems": problems}
