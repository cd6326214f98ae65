"""Checks of `puna doctor` on what runs and stores: the Prefect server, work pools, the store."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flows.cli.findings import Finding
from infra.remote.locations import shown

LOW_DISK_BYTES = 5 * 10**9
_TIMEOUT_S = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def services(store: str) -> Iterator[Finding]:
    """The server with its work pools, then the store."""
    yield from _server()
    yield from _store(store)


def _server() -> Iterator[Finding]:
    from flows.monitoring import server

    ours = server.running()
    api = os.environ.get("PREFECT_API_URL") or (ours.api_url if ours else "")
    if not api:
        yield Finding("ok", "server", "not running; `puna run` will start it")
        return
    api = api.rstrip("/")
    address = shown(api).removesuffix("/api")
    try:
        version = str(_ask(f"{api}/admin/version"))
        pools = _ask(f"{api}/work_pools/filter", {})
    except urllib.error.HTTPError as error:
        action = (
            "set PREFECT_API_AUTH_STRING to the server's user:password"
            if error.code in (401, 403)
            else "set PREFECT_API_URL to the address of a Prefect server, ending with /api"
        )
        yield Finding("bad", "server", f"{address} answers HTTP {error.code}", action)
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        action = "start it, or unset PREFECT_API_URL for one of this machine"
        yield Finding("bad", "server", f"{address} does not answer ({reason})", action)
        return
    yield _versions(address, version)
    if urlsplit(api).hostname not in _LOOPBACK and "PREFECT_API_AUTH_STRING" not in os.environ:
        yield Finding(
            "note",
            "server",
            "anybody who reaches its address can start and cancel runs",
            "set PREFECT_SERVER_API_AUTH_STRING there and PREFECT_API_AUTH_STRING here",
        )
    yield from _pools(pools)


def _versions(address: str, version: str) -> Finding:
    here = importlib.metadata.version("prefect")
    if version == here:
        return Finding("ok", "server", f"{address}, Prefect {version}")
    same_series = version.split(".")[:2] == here.split(".")[:2]
    return Finding(
        "note" if same_series else "bad",
        "server",
        f"{address} is Prefect {version}, and here is {here}",
        "install one version on both: pip install prefect==VERSION, then restart the server",
    )


def _pools(pools: list[dict[str, Any]]) -> Iterator[Finding]:
    if not pools:
        yield Finding("ok", "work pools", "none; only schedules need one")
    for pool in pools:
        name, status = pool["name"], pool.get("status") or "READY"
        told = f"{name} ({pool['type']})"
        if pool.get("is_paused"):
            action = f"prefect work-pool resume {name}"
            yield Finding("note", "work pool", f"{told} is paused", action)
        elif status != "READY":
            action = f"prefect worker start --pool {name}"
            yield Finding("note", "work pool", f"{told} has no worker that answers", action)
        else:
            yield Finding("ok", "work pool", f"{told} is ready")


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """The server's answer as plain data; loopback is reached without proxies."""
    parts = urlsplit(url)
    request = urllib.request.Request(
        parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    if auth := os.environ.get("PREFECT_API_AUTH_STRING"):
        request.add_header("Authorization", f"Basic {base64.b64encode(auth.encode()).decode()}")
    proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
    opener = urllib.request.build_opener(proxies)
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        return json.loads(answer.read())


def _store(url: str) -> Iterator[Finding]:
    from flows.recipe.secrets import ADVICE
    from infra.secrets import secret_in
    from infra.store import Store

    if what := secret_in(url):
        yield Finding("bad", "store", f"its address holds {what}", ADVICE)
        return
    try:
        store = Store.at(url)
        local = store.root.local_root
        if not store.root.is_store():
            yield Finding("ok", "store", f"{shown(url)} does not exist yet; a run makes it")
        else:
            store.make()
            runs = len(store.runs())
            yield Finding("ok", "store", f"{shown(url)}: can be read and written, {runs:,} runs")
    except Exception as error:  # of any library of remote storage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        action = "give credentials in the environment (AWS_* for s3://), or name another --store"
        yield Finding("bad", "store", f"{shown(url)}: {reason}", action)
        return
    yield _disk("disk of the store", _nearest(local if local is not None else Path.cwd()))


def _disk(what: str, folder: Path) -> Finding:
    usage = shutil.disk_usage(folder)
    low = usage.free < LOW_DISK_BYTES
    return Finding(
        "note" if low else "ok",
        what,
        f"{usage.free / 1e9:.0f} of {usage.total / 1e9:.0f} GB free ({folder})",
        "free some space: puna artifacts gc" if low else "",
    )


def _nearest(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
