"""Engines and worker counts leave no trace in the data: every bitwise stage has equal digests."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.engine import EngineConfig
from tests.end_to_end.direct import digests, run_direct
from tests.end_to_end.fixtures import SmallRun

pytestmark = pytest.mark.timeout(
    900
)  # the whole runs behind a first test take minutes on a busy machine

BITWISE_ENDS = ("binning", "model")


@pytest.mark.parametrize(
    ("kind", "workers", "ends"),
    [
        ("inline", 1, (*BITWISE_ENDS, "training")),
        pytest.param("processes", 1, BITWISE_ENDS, marks=pytest.mark.duty),
        ("processes", 4, BITWISE_ENDS),
        ("ray", 2, BITWISE_ENDS),
    ],
)
def test_equal_digests(
    kind: str, workers: int, ends: tuple[str, ...], small_run: SmallRun, tmp_path: Path
) -> None:
    """`small_run` is `processes` with 2 workers; training is compared too, its `cpu_threads` being
    1 in both.
    """
    if kind == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: puna[ray]")
    engine = EngineConfig.model_validate({"kind": kind, "workers": workers, "cpu_threads": 1})
    found: dict[str, str] = {}
    for end in ends:
        found |= digests(run_direct(small_run.recipe, tmp_path / "store", engine, until=end))
    reference = digests(small_run.artifacts())
    numeric = {"evaluation", "report"} | ({"training"} - set(ends))
    assert found == {
        id: digest for id, digest in reference.items() if id.partition("/")[0] not in numeric
    }
