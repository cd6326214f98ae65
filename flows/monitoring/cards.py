"""Cards (Prefect's artifacts) of a flow run's page: each is made once, and its content replaced. A
server that is away shows none, and no stage fails for it.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from flows.monitoring.outages import unless_away

Kind = Literal["progress", "table", "image", "markdown"]

EVERY_S = 5.0
"""Seconds between two updates of a card; each costs the server about 15 ms."""


def card_key(*words: str) -> str:
    """A key that Prefect accepts: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


class Card:
    """One card of a flow run. May be shown from several threads."""

    def __init__(self, flow_run: UUID, kind: Kind, *key: str) -> None:
        self._flow_run, self._kind, self._key = flow_run, kind, card_key(*key)
        self._id: UUID | None = None
        self._shown = -math.inf
        self._lock = threading.Lock()

    def is_due(self) -> bool:
        """Whether the last try to show it was `EVERY_S` ago or earlier, or there was none."""
        return time.monotonic() - self._shown >= EVERY_S

    def show(self, content: Any, description: str) -> None:
        """Make the card, or replace its content: a percentage, rows with the same keys, an image's
        URL, Markdown.
        """
        data = json.dumps(content) if self._kind == "table" else content
        self._shown = time.monotonic()
        with self._lock, unless_away(description), get_client(sync_client=True) as client:
            if self._id is None:
                made = ArtifactCreate(
                    key=self._key,
                    type=self._kind,
                    description=description,
                    data=data,
                    flow_run_id=self._flow_run,
                )
                self._id = client.create_artifact(made).id
            else:
                client.update_artifact(self._id, ArtifactUpdate(data=data, description=description))

    def remove(self) -> None:
        """Take it off the page."""
        with self._lock, unless_away(self._key), get_client(sync_client=True) as client:
            if self._id is not None:
                client.delete_artifact(self._id)
                self._id = None
