"""What a run writes down beside its artifacts."""

from __future__ import annotations

from pathlib import Path

from flows.planning.plan import make_plan
from flows.planning.resolve import resolve
from flows.running.record import tag_found
from infra.store import Store
from tests.flows.planning.test_plan import diamond, run


def test_what_another_recipe_built_is_latest_of_this_one_where_it_has_none(tmp_path: Path) -> None:
    store = Store.at(str(tmp_path / "store"))
    first = run(diamond(), store).steps["toy/b"].version
    plan = make_plan(diamond(), resolve(diamond()), store, "variant")
    tag_found(store, plan, "run-1")
    assert store.open("toy/b@latest", "variant").version == first
    run(diamond(b="B"), store)  # of recipe r
    other = make_plan(diamond(b="B"), resolve(diamond(b="B")), store, "variant")
    tag_found(store, other, "run-2")  # found too, but what the variant built or had stays
    assert store.reference("variant", "toy", "b") == first
