"""Why a group of ranks ended: the reason of the rank that failed first, in one sentence.

A rank that ends takes the others with it: they lose their connection, or the launcher stops them.
What each wrote about itself (`rank_record`) tells these from the one that failed by itself; a rank
that wrote nothing of its end was killed.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.training.supervision.rank_record import RankRecord

Kind = Literal["again", "memory", "died", "start", "outside"]
"""`again`: it would come again (data, plan, divergence); `memory` ran out; `died`: killed, or
failed in a way that may pass; `start`: the launcher did not start the ranks; `outside`: asked to
end by somebody else.
"""

_TORCHRUN_EXIT = re.compile(r"exitcode: (-?\d+)\) local_rank: (\d+)")


@dataclass(frozen=True)
class Failure:
    """Why an attempt ended before the last step."""

    kind: Kind
    reason: str
    """One sentence, or several; without the place to resume from."""
    rank: int | None = None
    """The rank whose stderr tells more."""
    returncode: int = 1
    """Exit status of that rank (negative: its signal), as far as it is known."""


@dataclass(frozen=True)
class Ended:
    """What is known of an attempt that has ended."""

    records: Sequence[RankRecord]
    error: str
    """Reason that the main rank printed; "" where it printed none."""
    returncode: int
    """Of the command that was started."""
    tail: str
    """Last lines of its stderr."""
    expected: int | None
    """Ranks asked for; None where the launcher decides."""
    launcher: str = ""
    """The recipe's launcher in one line; "" for our own."""
    less_memory: str = ""
    """How to use less memory."""
    oom_killed: int | None = None
    """Processes that the kernel killed meanwhile for lack of memory; None where it does not tell.
    """


def failure_of(ended: Ended) -> Failure:
    """The failure to report."""
    own = sorted(
        (r for r in ended.records if r.ending in ("error", "memory", "unforeseen")),
        key=lambda record: record.ended_at,
    )
    if own:
        first = own[0]
        several = first.world_size > 1 and first.rank > 0
        reason = f"{first.name} failed: {first.reason}" if several else first.reason
        kind: Kind = {"error": "again", "memory": "memory"}.get(first.ending, "died")  # type: ignore[assignment]
        return Failure(kind, reason, first.rank)
    if ended.error and not any(record.ending == "lost" for record in ended.records):
        return Failure("again", ended.error, 0)
    if not ended.records:
        return _never_started(ended)
    if silent := [record for record in ended.records if not record.ending]:
        return _killed(ended, silent)
    if any(record.ending == "interrupted" for record in ended.records):
        if ended.returncode < 0 and ended.records[0].world_size > 1:
            return Failure(
                "died",
                f"the command that started the ranks was ended by signal {-ended.returncode}; they "
                "have saved their work",
                returncode=ended.returncode,
            )
        return Failure(
            "outside",
            "the training processes were asked to end (SIGTERM) by somebody else than puna, and "
            "have saved their work; run again to continue",
        )
    lost = next((record for record in ended.records if record.ending == "lost"), None)
    if lost is not None:
        return Failure("died", f"{lost.name} lost the other ranks: {lost.reason}", lost.rank)
    return Failure(
        "died",
        f"the ranks have ended, but the main rank has not said that training is done (status "
        f"{ended.returncode} of the command that started them)",
        0,
        ended.returncode,
    )


def _killed(ended: Ended, silent: Sequence[RankRecord]) -> Failure:
    """One or several ranks ended without a word."""
    codes = {int(rank): int(code) for code, rank in _TORCHRUN_EXIT.findall(ended.tail)}
    # torchrun kills those that do not end; the one that it names was the first
    first = next((record for record in silent if record.rank in codes), silent[0])
    single = first.world_size == 1
    code = ended.returncode if single else codes.get(first.rank, -signal.SIGKILL)
    name = "the training process" if single else first.name
    if code >= 0:
        return Failure(
            "died", f"{name} exited with status {code} and gave no reason", first.rank, code
        )
    how = f"{name} was ended by signal {-code}"
    if code == -signal.SIGKILL:
        if ended.oom_killed:
            how += f": the kernel ended it because memory ran out. {ended.less_memory}"
            return Failure("memory", how, first.rank, code)
        if ended.oom_killed is None:
            how += f", which usually means that memory ran out. {ended.less_memory}"
        else:
            how += (
                "; the kernel counts no process ended for lack of memory, so somebody or something "
                "else killed it"
            )
    return Failure("died", how, first.rank, code)


def _never_started(ended: Ended) -> Failure:
    said = [line.strip() for line in ended.tail.splitlines() if line.strip()]
    last = f" (it said: {said[-1]})" if said else ""
    ending = (
        f"was ended by signal {-ended.returncode}"
        if ended.returncode < 0
        else f"exited with status {ended.returncode}"
    )
    if ended.launcher:
        return Failure(
            "start",
            f"the launcher `{ended.launcher}` {ending} and no rank has started{last}; correct "
            "devices.launcher so that it starts the command it is given, once a rank, on machines "
            "that see puna, its Python and the store under the same paths",
            returncode=ended.returncode,
        )
    return Failure(
        "died",
        f"the training process {ending} before it began{last}",
        returncode=ended.returncode,
    )


def waiting_for(
    records: Sequence[RankRecord], expected: int | None, launcher: str, waited_s: float
) -> str:
    """What a start waited for that did not come within `waited_s` seconds."""
    size = expected or max((record.world_size for record in records), default=0)
    missing = sorted(set(range(size)) - {record.rank for record in records})
    limit = f"within {waited_s:g} s (devices.start_timeout)"
    if not records:
        what = f"no rank has started {limit}"
    elif missing:
        what = (
            f"{limit} {len(records)} of {size} ranks have started: {_ranks(missing)} did not come"
        )
    else:
        late = [record for record in records if record.stage != "training"]
        stage = min(late, key=lambda record: _STAGES.index(record.stage)).stage
        slow = [record.rank for record in late if record.stage == stage]
        what = f"{_ranks(slow)} of {size} {_DOING[stage]} {limit} of the last step of the start"
    by = f" under the launcher `{launcher}`" if launcher else ""
    return (
        f"training did not begin{by}: {what}. See what these ranks say in records/, free or add "
        "the machines they need, correct devices.launcher or devices.ranks, or raise "
        "devices.start_timeout; then run again"
    )


_STAGES = ("started", "joined", "loading", "training")
_DOING = {
    "started": "have not found the other ranks",
    "joined": "waited for another run that holds this phase's files and has not ended",
    "loading": "have not loaded the model and the data",
    "training": "train",
}


def _ranks(numbers: Sequence[int], shown: int = 8) -> str:
    names = ", ".join(map(str, numbers[:shown]))
    more = f" and {len(numbers) - shown} more" if len(numbers) > shown else ""
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {names}{more}"
