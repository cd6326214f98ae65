"""Automations: a run whose process is gone ends as Crashed, and somebody is told of failures.

The server watches events; nothing of this needs a worker.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Iterator
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ActionTypes, CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

from flows.deploying.deployments import OUR_FLOWS
from flows.planning.wiring import STAGES

STAGE_FLOWS = tuple(stage.name for stage in STAGES)
"""Names of the flows of stages within a run."""

BLOCK = "puna"
"""Name of the blocks that are told: a webhook, and any notification block (mail, Slack, ...)."""

WEBHOOK_VARIABLE = "PUNA_WEBHOOK_URL"
"""Address of a webhook, of which `puna deploy` makes a block. Addresses often carry a secret, so it
is read from the environment."""

SILENCE = datetime.timedelta(seconds=180)
"""A living run sends a heartbeat every 30 s; after this long without any event it is dead. A call
into C may hold up a process's threads, and a server may be away for a minute."""

STARTING = datetime.timedelta(minutes=30)
"""A run that a worker took must have started by then: a cluster may have to find a machine."""

TAKEN = ("Submitting", "Pending", "InfrastructurePending")
"""Names of the states of a run that a worker has taken and that has not started."""

BAD_ENDS = ("Failed", "Crashed", "TimedOut", "Not promoted")
"""Names of a run's last state of which somebody is told; a gate's refusal is a failure."""

_TITLE = "{{ flow.name }}: {{ flow_run.name }} is {{ flow_run.state.name }}"
_BODY = "{{ flow_run.state.message }}\n{{ flow_run|ui_url }}"
_PAYLOAD = """\
{"text": {{ (flow.name ~ ": " ~ flow_run.name ~ " is " ~ flow_run.state.name ~ "\\n"
~ flow_run.state.message ~ "\\n" ~ flow_run|ui_url) | tojson }},
"flow": {{ flow.name | tojson }}, "run": {{ flow_run.name | tojson }},
"state": {{ flow_run.state.name | tojson }}, "url": {{ flow_run|ui_url | tojson }}}"""
"""What a webhook gets; `text` is what chat services read."""


def described() -> list[AutomationCore]:
    """Those that need no block."""
    return [
        AutomationCore(
            name="puna: no heartbeat",
            description="A run that sends no heartbeat is dead: its process was killed, or its "
            "machine is gone. The next run goes on where it stopped.",
            trigger=_silent(
                {"prefect.flow-run.heartbeat"},
                {"prefect.flow-run.*"},  # of any name, so that no state of ours is taken for death
                SILENCE,
                (*OUR_FLOWS, *STAGE_FLOWS),
            ),
            actions=[
                _crashed(
                    f"no heartbeat for {SILENCE.seconds} s: the process is gone; the next "
                    "run goes on where it stopped",
                )
            ],
        ),
        AutomationCore(
            name="puna: never started",
            description="A worker took the run and was killed before it started.",
            trigger=_silent(
                {f"prefect.flow-run.{name}" for name in TAKEN},
                {"prefect.flow-run.*"},
                STARTING,
                OUR_FLOWS,
            ),
            actions=[
                _crashed(
                    f"a worker took the run, and it did not start within "
                    f"{STARTING.seconds // 60} minutes; start it again",
                )
            ],
        ),
    ]


def telling(actions: list[ActionTypes]) -> AutomationCore:
    """The automation that tells of bad ends by the given actions."""
    return AutomationCore(
        name="puna: tell of failures",
        description=f"Tells the blocks named {BLOCK!r} of runs that failed, crashed, were stopped "
        "by a gate or not promoted.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{name}" for name in BAD_ENDS},
            match=_resources({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_of_flows(OUR_FLOWS),
            posture=Posture.Reactive,
            threshold=1,
            within=datetime.timedelta(0),
        ),
        actions=actions,
    )


def apply(client: SyncPrefectClient) -> list[str]:
    """Create or replace our automations; returns the blocks that are told, as `type/name`."""
    blocks = [*_blocks(client)]
    wanted = described()
    if blocks:
        wanted.append(telling([action for _, action in blocks]))
    for automation in wanted:
        found = client.read_automations_by_name(automation.name)
        if found:
            client.update_automation(found[0].id, automation)
        else:
            client.create_automation(automation)
    return [name for name, _ in blocks]


def save_webhook() -> None:
    """Keep the address of `PUNA_WEBHOOK_URL`, if there is one, as the block `webhook/puna`."""
    address = os.environ.get(WEBHOOK_VARIABLE)
    if address:
        from prefect.blocks.webhook import Webhook
        from prefect.types import SecretDict
        from pydantic import SecretStr

        webhook = Webhook(
            method="POST",
            url=SecretStr(address),
            headers=SecretDict({"Content-Type": "application/json"}),
        )
        webhook.save(BLOCK, overwrite=True)


def _silent(
    after: set[str], expect: set[str], within: datetime.timedelta, flows: Iterable[str]
) -> EventTrigger:
    """Fires for a run that sends none of `expect` within a time of one of `after`."""
    return EventTrigger(
        after=after,
        expect=expect,
        match=_resources({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=_of_flows(flows),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )


def _crashed(message: str) -> ChangeFlowRunState:
    return ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)


def _of_flows(names: Iterable[str]) -> ResourceSpecification:
    return _resources({"prefect.resource.role": "flow", "prefect.resource.name": [*names]})


def _resources(labels: dict[str, Any]) -> ResourceSpecification:
    return ResourceSpecification.model_validate(labels)


def _blocks(client: SyncPrefectClient) -> Iterator[tuple[str, ActionTypes]]:
    """The blocks named `BLOCK` that can be told, with the action that tells them."""
    found: list[dict[str, Any]] = client.request(
        "POST",
        "/block_documents/filter",
        json={"block_documents": {"name": {"any_": [BLOCK]}}, "include_secrets": False},
    ).json()
    for document in found:
        kind = document["block_type"]["slug"]
        if kind == "webhook":
            yield (
                f"{kind}/{BLOCK}",
                CallWebhook(block_document_id=document["id"], payload=_PAYLOAD),
            )
        elif "notify" in document["block_schema"]["capabilities"]:
            yield (
                f"{kind}/{BLOCK}",
                SendNotification(
                    block_document_id=document["id"],
                    subject=_TITLE,
                    body=_BODY,
                ),
            )
