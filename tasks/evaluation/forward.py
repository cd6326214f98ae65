"""Logits of many token sequences that share their beginnings, each of which is read once.

Two beginnings are shared:

- worked examples, which begin all prompts of a group of requests: their keys and values are
  computed once and reused for every batch of the group;
- a question, after which several answers are scored: question and answers are one row, in which an
  answer sees the question and itself, at the positions that it has without the others.

So a row is `beginning (cached) | padding | question | answer | answer ...`. Where a model's
attention depends on more than which tokens may see each other (sliding windows, rope angles by the
longest row, flash attention), every sequence is a row of its own.

Logits are computed of wanted positions only: of a large vocabulary they cost more than the layers.

Array suffixes: B rows of a batch, T tokens of a row, S tokens of the cached beginning, N wanted
positions of a batch, H width of the layers, V width of the logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from tasks.evaluation.bits_per_byte import LOGITS_ELEMENTS
from tasks.evaluation.cuts import cuts
from tasks.evaluation.model import LoadedModel

WORTH_CACHING = 16
"""Shared beginnings of fewer tokens are read with every row."""

_PREFIX = 0
_PADDING = -1


@dataclass(frozen=True)
class Request:
    """Sequences of token ids, usually with a common beginning, of whose `wanted` last positions the
    logits are asked for (one number per sequence). `group`: requests of one group share worked
    examples.
    """

    sequences: tuple[tuple[int, ...], ...]
    wanted: tuple[int, ...]
    group: str = ""


class Place(NamedTuple):
    """Which rows of a batch's logits are those of a request's sequence, in order.

    Sequences that want the same position of what they share have the same row.
    """

    request: int
    sequence: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class _Row:
    """A common prefix, and what follows it in each sequence of a request.

    `sequences`: indices of these. `wanted`: as in `Request`.
    """

    request: int
    prefix: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    sequences: tuple[int, ...]
    wanted: tuple[int, ...]

    def length(self, cached: int) -> int:
        """Tokens, without the first `cached`."""
        return len(self.prefix) - cached + sum(map(len, self.branches))

    def own(self) -> int:
        """Last tokens of the prefix at which something is wanted; at least one."""
        pairs = zip(self.wanted, self.branches, strict=True)
        return max(1, *(wanted - len(branch) for wanted, branch in pairs))


def logits_of(
    requests: Sequence[Request], model: LoadedModel, batch_size: int
) -> Iterator[tuple[torch.Tensor, list[Place]]]:
    """Yield (logits of wanted positions, shape (N, V) in float32 without padding rows of the
    matrix, and whose they are), longest rows first within a group.
    """
    trees = sees_by_mask_only(model)
    groups: dict[str, list[_Row]] = {}
    for index, request in enumerate(requests):
        groups.setdefault(request.group, []).extend(_rows(index, request, trees))
    pool: list[_Row] = []
    for rows in groups.values():
        shareable = [row.prefix[: len(row.prefix) - row.own()] for row in rows]
        shared = common(shareable) if trees and len(rows) > 1 else ()
        if len(shared) < WORTH_CACHING:
            pool.extend(rows)
        else:
            yield from _batches(rows, shared, model, batch_size)
    yield from _batches(pool, (), model, batch_size)


def sees_by_mask_only(model: LoadedModel) -> bool:
    """Whether a token's output depends on nothing but its position and the tokens it may see."""
    config = model.model.config
    windows = getattr(config, "sliding_window", None) and getattr(
        config, "use_sliding_window", True
    )
    kinds = set(getattr(config, "layer_types", None) or ())
    return (
        not model.one_length_at_a_time
        and not windows
        and kinds <= {"full_attention"}
        and getattr(config, "_attn_implementation", "") in ("sdpa", "eager")
    )


def _rows(index: int, request: Request, trees: bool) -> list[_Row]:
    """One row for all sequences, or one for each where they share less than a quarter of the
    longest: then a row of all is long for what it saves.
    """
    sequences = request.sequences
    prefix = common(sequences)
    everything = range(len(sequences))
    if trees and 4 * len(prefix) >= max(map(len, sequences)):
        branches = tuple(sequence[len(prefix) :] for sequence in sequences)
        return [_Row(index, prefix, branches, tuple(everything), request.wanted)]
    return [
        _Row(index, sequences[number], ((),), (number,), (request.wanted[number],))
        for number in everything
    ]


def common(sequences: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The longest common beginning: that of the first and the last in order."""
    first, last = min(sequences), max(sequences)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[:length]


def _batches(
    rows: Sequence[_Row], shared: tuple[int, ...], model: LoadedModel, batch_size: int
) -> Iterator[tuple[torch.Tensor, list[Place]]]:
    if not rows:
        return
    order = sorted(rows, key=lambda row: (-row.length(len(shared)), row.request, row.sequences))
    fitting = LOGITS_ELEMENTS // (max(sum(row.wanted) for row in order) * model.vocabulary)
    most = max(1, min(batch_size, fitting))
    cached = read_beginning(shared, model) if shared else []
    lengths = [row.length(len(shared)) for row in order]
    alike = [slice(0, len(order))]
    if model.one_length_at_a_time:
        alike = list(model.batches(lengths, lambda _: len(order)))
    for part in alike:
        for cut in cuts(lengths[part], most, gpu=model.model.device.type == "cuda"):
            yield _forward(order[part][cut], len(shared), cached, model)


Cached = Sequence[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of a beginning by layer, each of shape (1, heads, S, width)."""


def read_beginning(shared: tuple[int, ...], model: LoadedModel) -> Cached:
    """Keys and values of the tokens of a beginning."""
    ids_1S = torch.tensor([shared], device=model.model.device)
    with torch.inference_mode():
        cache = model.model(input_ids=ids_1S, use_cache=True, logits_to_keep=1).past_key_values
    return [(layer.keys, layer.values) for layer in cache.layers]


def repeated(cached: Cached, rows: int) -> Any:
    """A cache with the same beginning for every row of a batch; None without one."""
    from transformers import DynamicCache

    if not cached:
        return None
    return DynamicCache(
        [
            (keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
            for keys, values in cached
        ]
    )


def _forward(
    rows: Sequence[_Row],
    shared: int,
    cached: Cached,
    model: LoadedModel,
) -> tuple[torch.Tensor, list[Place]]:
    length = max(row.length(shared) for row in rows)
    ids = torch.zeros((len(rows), length), dtype=torch.long)
    positions = torch.zeros_like(ids)
    parts = torch.full_like(ids, _PADDING)
    places: list[Place] = []
    chosen: dict[tuple[int, int], int] = {}
    for number, row in enumerate(rows):
        first, own = length - row.length(shared), row.prefix[shared:]
        row_ids, row_positions = list(own), list(range(shared, len(row.prefix)))
        row_parts = [_PREFIX] * len(own)
        for branch_number, branch in enumerate(row.branches, 1):
            begin = first + len(row_ids)
            row_ids += branch
            row_positions += range(len(row.prefix), len(row.prefix) + len(branch))
            row_parts += [branch_number] * len(branch)
            at = (*range(first, first + len(own)), *range(begin, begin + len(branch)))
            wanted = [(number, index) for index in at[-row.wanted[branch_number - 1] :]]
            found = tuple(chosen.setdefault(position, len(chosen)) for position in wanted)
            places.append(Place(row.request, row.sequences[branch_number - 1], found))
        ids[number, first:] = torch.tensor(row_ids)
        positions[number, first:] = torch.tensor(row_positions)
        parts[number, first:] = torch.tensor(row_parts)
    device = model.model.device
    given: Mapping[str, Any] = {
        "input_ids": ids.to(device),
        "position_ids": positions.to(device),
        "attention_mask": _mask(parts, shared, model).to(device),
    }
    given = {**given, "past_key_values": repeated(cached, len(rows)), "use_cache": bool(cached)}
    rows_N, at_N = torch.tensor(list(chosen), device=device).T
    with torch.inference_mode():
        logits_NV = _logits_at(rows_N, at_N, model.model, given).float()
        model.hide_padding(logits_NV)
    return logits_NV, places


def _logits_at(
    rows_N: torch.Tensor, at_N: torch.Tensor, model: Any, given: Mapping[str, Any]
) -> torch.Tensor:
    """Logits (N, V) of positions `at_N` of rows `rows_N`.

    Positions are chosen before the output matrix, by a hook, so that what a model does to its
    logits (a scale, a soft cap) is still done.
    """
    chose = False

    def choose(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        nonlocal chose
        if not inputs:
            return None
        chose = True
        hidden_BTH, *rest = inputs
        return (hidden_BTH[rows_N, at_N][None], *rest)

    hook = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        logits: torch.Tensor = model(**given).logits
    finally:
        hook.remove()
    return logits[0] if chose else logits[rows_N, at_N]


def _mask(parts_BT: torch.Tensor, shared: int, model: LoadedModel) -> torch.Tensor:
    """What each token sees: (B, 1, T, S + T), true where it does, or (B, T) where rows have no
    branches and no cached beginning.

    A token of padding sees itself, because a softmax over nothing is not a number.
    """
    if not shared and int(parts_BT.max()) <= _PREFIX:
        return (parts_BT != _PADDING).long()
    rows, length = parts_BT.shape
    keys_B1T, queries_BT1 = parts_BT[:, None, :], parts_BT[:, :, None]
    causal_TT = torch.ones((length, length), dtype=torch.bool).tril()
    own_BTT = (keys_B1T == _PREFIX) | (keys_B1T == queries_BT1)
    seen_BTT = causal_TT & own_BTT & (keys_B1T != _PADDING) | torch.eye(length, dtype=torch.bool)
    before_BTS = torch.ones((rows, length, shared), dtype=torch.bool)
    seen_B1TU = torch.cat([before_BTS, seen_BTT], -1)[:, None]
    if model.model.config._attn_implementation == "sdpa":
        return seen_B1TU
    hidden = torch.finfo(model.model.dtype).min
    return torch.zeros(seen_B1TU.shape, dtype=model.model.dtype).masked_fill(~seen_B1TU, hidden)
