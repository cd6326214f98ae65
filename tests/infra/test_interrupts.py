"""Work that is saved when a run is interrupted."""

from infra import interrupts
from infra.interrupts import saved_on_interrupt


def test_what_is_under_way_is_saved_and_nothing_else() -> None:
    assert not interrupts.pending() and interrupts.save_all() == []
    with saved_on_interrupt(lambda: "one"):
        with saved_on_interrupt(lambda: "two"):
            assert interrupts.pending() and interrupts.save_all() == ["one", "two"]
        assert interrupts.save_all() == ["one"]
    assert not interrupts.pending()
