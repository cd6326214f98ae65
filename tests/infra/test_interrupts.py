"""Work that is saved when a run is interrupted."""

import os

import pytest

from infra import interrupts
from infra.interrupts import saved_on_interrupt


def test_what_is_under_way_is_saved_once_and_nothing_else() -> None:
    assert interrupts.save_all() == []
    with saved_on_interrupt(lambda: "one"), saved_on_interrupt(lambda: "two"):
        with saved_on_interrupt(lambda: "three"):
            pass
        assert interrupts.save_all() == ["one", "two"] and interrupts.save_all() == []


def test_it_is_told_where_the_next_run_continues(capfd: pytest.CaptureFixture[str]) -> None:
    with saved_on_interrupt(lambda: "a checkpoint at step 3"):
        interrupts.save_aloud()
        interrupts.save_aloud()
    told = capfd.readouterr().err
    assert told.startswith("interrupted; ") and told.count("a checkpoint at step 3") == 1


def test_what_is_to_be_saved_is_saved_though_nobody_reads_stderr() -> None:
    """As after ^C on `puna run 2>&1 | tee log`, which ends tee first."""
    saved: list[str] = []
    reader, writer = os.pipe()
    kept = os.dup(2)
    os.close(reader)
    os.dup2(writer, 2)
    try:
        with interrupts.saved_on_interrupt(lambda: saved.append("checkpoint") or "saved"):
            interrupts.save_aloud()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writer)
    assert saved == ["checkpoint"]
