"""The machine that a prediction is for: a name of the shipped list, a YAML file, or a map."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml

from flows.recipe.errors import nearest
from flows.recipe.file import RecipeError
from infra.quantities import Bytes

SHIPPED = Path(__file__).with_name("clusters.yaml")
OPTION = "--scale"
MOST_BYTES = 64_000
"""Of a cluster's file, whose keys fill a page."""

Amount = Annotated[float, pydantic.Field(ge=1e-6, le=1e12, allow_inf_nan=False)]
"""Bounds within which no prediction becomes infinite."""
Price = Annotated[float, pydantic.Field(ge=0, le=1e12, allow_inf_nan=False)]


class Cluster(pydantic.BaseModel):
    """Equal nodes. Everything but `nodes`, `source_gbit` and `store_gbit` is of one node.

    `memory`, `disk`: bytes. `network_gbit`: gigabits a second, of sources and store together.
    `disk_mb_s`: megabytes a second, read or written. `store`: whether artifacts lie on the node's
    disk or behind the network. `source_gbit`, `store_gbit`: what sources and store deliver to all
    nodes together, where that is less than what the nodes take. `speed`: of a core, 1 for the
    machine that unit costs are measured on. `open_ms`: to open a file of scratch space; 0.1 on a
    disk, 1 behind the network. Prices: of a node's hour, of 1,000 writing and reading requests of
    the store, of 10^9 bytes in it for a month; `price_from`, `price_date`: whose they are.
    `costs`: stage -> unit costs that replace the shipped ones (see `costs.UnitCost`).
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str = "your cluster"
    nodes: Annotated[int, pydantic.Field(ge=1, le=100_000)]
    cores: Annotated[int, pydantic.Field(ge=1, le=10_000)]
    memory: Annotated[Bytes, pydantic.Field(gt=0)]
    network_gbit: Amount
    disk: Annotated[Bytes, pydantic.Field(gt=0)]
    disk_mb_s: Amount
    price_hour: Price
    store: Literal["disk", "network"] = "disk"
    source_gbit: Amount | None = None
    store_gbit: Amount | None = None
    speed: Amount = 1.0
    open_ms: Amount | None = None
    currency: str = "USD"
    price_put_1000: Price = 0.0
    price_get_1000: Price = 0.0
    price_gb_month: Price = 0.0
    price_from: str = ""
    price_date: str = ""
    costs: dict[str, dict[str, Any]] = pydantic.Field(default_factory=dict)

    @pydantic.model_validator(mode="after")
    def _shared(self) -> Self:
        if self.nodes > 1 and self.store == "disk":
            raise ValueError(
                f"store is disk, which {self.nodes} nodes do not share; write store: network"
            )
        return self

    @property
    def all_cores(self) -> int:
        """Cores of all nodes."""
        return self.nodes * self.cores

    @property
    def source_bytes_s(self) -> float:
        """Bytes a second from sources, all nodes together."""
        return _within(self.nodes * self.network_gbit, self.source_gbit) * 1e9 / 8

    @property
    def store_bytes_s(self) -> float:
        """Bytes a second from and to the store, all nodes together."""
        if self.store == "disk":
            return self.disk_mb_s * 1e6 * self.nodes
        return _within(self.nodes * self.network_gbit, self.store_gbit) * 1e9 / 8

    @property
    def open_s(self) -> float:
        """Seconds to open one file of scratch space."""
        default = 0.1 if self.store == "disk" else 1.0
        return (default if self.open_ms is None else self.open_ms) / 1000

    def workers(self, worker_bytes: float, parts: float) -> int:
        """Workers at a time: a core and its memory each, and no more than there are parts."""
        fitting = min(self.cores, int(self.memory // max(worker_bytes, 1)))
        return max(1, min(fitting * self.nodes, int(parts)))

    def in_words(self) -> str:
        """One line: what it is and whose its prices are."""
        nodes = f"{self.nodes:,} node{'' if self.nodes == 1 else 's'}"
        what = (
            f"{nodes} of {self.cores} cores, {self.memory / 1e9:,.0f} GB of memory, "
            f"{self.network_gbit:g} Gbit/s, store on {self.store}"
        )
        if not self.price_hour:
            return f"{self.name}: {what}; no price"
        whose = ", ".join(filter(None, (self.price_from, self.price_date)))
        return f"{self.name}: {what}; {self.price_hour:g} {self.currency} a node and hour" + (
            f" (assumed: {whose})" if whose else " (yours)"
        )


def _within(most: float, limit: float | None) -> float:
    return most if limit is None else min(most, limit)


def shipped() -> dict[str, dict[str, Any]]:
    """Name -> keys of the clusters that come with Puna."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return found


def read_cluster(given: str) -> Cluster:
    """The cluster of a name, a path of a YAML file, or a map (`{nodes: 4, cores: 64, ...}`); a map
    may extend a name. Raises `RecipeError`: nothing like it, or what of its keys is wrong.
    """
    text = given.strip()
    if text.startswith("{"):
        return cluster_of(_parsed(text, OPTION), OPTION)
    known = shipped()
    if text in known:
        return cluster_of({"name": text, **known[text]}, f"{OPTION} {text}")
    if (file := _file(text)) is not None:
        if (size := file.stat().st_size) > MOST_BYTES:
            raise RecipeError([f"{file}: has {size:,} bytes, a cluster at most {MOST_BYTES:,}"])
        try:
            return cluster_of(_parsed(file.read_text(encoding="utf-8"), str(file)), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError([f"{file}: cannot be read as UTF-8 text ({error})"]) from None
    raise RecipeError(
        [
            f"{OPTION}: {text!r} is no cluster{nearest(text, list(known))}; there are "
            f"{', '.join(known)}, or name a YAML file, or write a map such as "
            "'{extends: workstation, cores: 16}'"
        ]
    )


def _file(text: str) -> Path | None:
    try:
        file = Path(text).expanduser()
        return file if file.is_file() else None
    except (OSError, RuntimeError):  # too long a name, or the home of nobody
        return None


def cluster_of(data: Any, place: str) -> Cluster:
    """A cluster from plain data. Raises `RecipeError`, with one sentence for all its keys."""
    if not isinstance(data, Mapping):
        raise RecipeError([f"{place}: is no map of keys such as nodes, cores and memory"])
    data, known = dict(data), shipped()
    if (base := data.pop("extends", None)) is not None:
        if not isinstance(base, str) or base not in known:
            hint = nearest(str(base), list(known))
            raise RecipeError(
                [f"{place}: extends: {base!r} is no cluster{hint}; there are {', '.join(known)}"]
            )
        changed_price = "price_hour" in data
        data = {"name": f"{base}, changed", **known[base], **data}
        if changed_price:  # what is known of the old price says nothing of the new one
            stated = data.keys() & {"price_from", "price_date"}
            data |= {key: "" for key in stated if known[base].get(key) == data[key]}
    if data.get("price_date") is not None:
        data["price_date"] = str(data["price_date"])  # YAML reads a whole date as one
    try:
        return Cluster.model_validate(data)
    except pydantic.ValidationError as error:
        raise RecipeError([f"{place}: {_problems(error)}"]) from None


def _problems(error: pydantic.ValidationError) -> str:
    """All that is wrong, in one sentence."""
    details = error.errors()
    missing = [str(d["loc"][0]) for d in details if d["type"] == "missing"]
    unknown = [str(d["loc"][0]) for d in details if d["type"] == "extra_forbidden"]
    said = []
    if missing:
        said.append(f"lacks {', '.join(missing)}; state them, or extend a cluster that has them")
    if unknown:
        fields = list(Cluster.model_fields)
        hints = (f"{name}{nearest(name, fields)}" for name in unknown)
        said.append(f"knows no key {', '.join(hints)}")
    for detail in details:
        if detail["type"] not in ("missing", "extra_forbidden"):
            key = ".".join(map(str, detail["loc"]))
            why = re.sub(r"^Value error, ", "", detail["msg"])
            said.append(f"{key} is {detail['input']!r}: {why}" if key else why)
    return "; ".join(said)


def _parsed(text: str, place: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # 2024-13-45, a huge number
        first = str(error).splitlines()[0]
        raise RecipeError([f"{place}: is not YAML: {first}"]) from None
