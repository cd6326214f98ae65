"""What a rubric will take, before anything is asked. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tasks.labels.stage import TEXT, LabelsParameters

BYTES_PER_TOKEN = 4.0
"""English text in today's vocabularies; other scripts take 2 to 3 bytes a token in theirs."""

TEMPLATE_TOKENS = 12
"""Of a chat template around a message."""


@dataclass(frozen=True)
class SourceSize:
    """Documents of a source and their mean bytes; None where not known before it is read."""

    documents: float | None = None
    mean_bytes: float | None = None


@dataclass(frozen=True)
class Cost:
    """`requests`: with those asked twice, without answers asked again. Tokens: of the input as
    expected, of the output at most. `documents_known`: whether the sources are known to have as
    many documents.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    dollars: float | None
    seconds: float | None
    documents_known: bool

    def to_json(self) -> dict[str, Any]:
        """As `puna plan --json` shows it."""
        return asdict(self)


def cost_of(
    parameters: LabelsParameters, sources: Iterable[SourceSize], answers_per_s: float | None = None
) -> Cost:
    """The cost of asking; `answers_per_s`: as an earlier run had them."""
    requests = text_bytes = 0.0
    known = True
    for source in sources:
        documents = float(parameters.sample)
        if source.documents is not None:
            documents = min(documents, source.documents)
        else:
            known = False
        size = float(parameters.max_characters)
        if source.mean_bytes is not None:
            size = min(size, source.mean_bytes)
        asked = documents * (1 + parameters.repeat)
        requests += asked
        text_bytes += asked * size
    frame = len((parameters.system + parameters.prompt.replace(TEXT, "")).encode())
    messages = 2 if parameters.system else 1
    tokens_in = (text_bytes + requests * frame) / BYTES_PER_TOKEN
    tokens_in += requests * messages * TEMPLATE_TOKENS
    tokens_out = requests * parameters.max_tokens
    endpoint = parameters.endpoint
    dollars = None
    if endpoint is not None and endpoint.price is not None:
        dollars = (tokens_in * endpoint.price.input + tokens_out * endpoint.price.output) / 1e6
    rates = [rate for rate in (answers_per_s, endpoint and endpoint.requests_per_second) if rate]
    return Cost(
        round(requests),
        round(tokens_in),
        round(tokens_out),
        dollars,
        requests / min(rates) if rates else None,
        known,
    )
