"""Plans: versions, hits, reasons, selections; and walking a plan."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from flows.planning.graph import Graph
from flows.planning.plan import Plan, Step, make_plan, settled
from flows.planning.request import Selection
from flows.planning.resolve import resolve
from flows.recipe.file import RecipeError
from flows.recipe.references import ArtifactReference
from flows.running.walk import StepFailed, walk
from infra.build import Order, build
from infra.context import Context
from infra.engine.base import Inline
from infra.stage import FilePath, Outcome, Parameters, Role, Stage, StageError
from infra.store import Artifact, Store
from tests.toy import READER, TOY, ToyParameters, _copy, read

OTHER = ArtifactReference.parse("artifact:other/toy/a@latest")


def as_it_is(step: Step, artifacts: Mapping[str, Artifact]) -> Step:
    return step


def diamond(**words: str) -> Graph:
    """a -> b, c -> d."""
    graph = Graph()
    a = graph.add(TOY, "a", ToyParameters(word=words.get("a", "a")))
    b = graph.add(TOY, "b", ToyParameters(word=words.get("b", "b")), up=a)
    c = graph.add(TOY, "c", ToyParameters(word=words.get("c", "c")), up=a)
    graph.add(TOY, "d", ToyParameters(word=words.get("d", "d")), up=[b, c])
    return graph


def run(graph: Graph, store: Store, selection: Selection | None = None) -> Plan:
    """Plan and build everything that must run, as a pipeline does."""
    plan = make_plan(graph, resolve(graph), store, "r", selection)

    def one(step: object, inputs: Mapping[str, tuple[Artifact, ...]]) -> Artifact:
        order = Order(
            step.node.stage, step.node.name, step.version, step.node.parameters, inputs, step.pins
        )  # type: ignore[attr-defined]
        artifact = build(order, store, Inline(), force=step.forced)  # type: ignore[attr-defined]
        store.set_reference("r", artifact, "latest")
        return artifact

    settle = functools.partial(settled, store=store)
    walk(plan, one, {}, settle=settle, side_by_side=2)
    return plan


def states(plan: Plan) -> dict[str, str]:
    return {step.node.name: step.state for step in plan.steps.values()}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.at(str(tmp_path / "store"))


def test_a_second_run_is_all_hits_and_a_change_reruns_it_and_what_follows(store: Store) -> None:
    assert set(states(run(diamond(), store)).values()) == {"run"}
    assert set(states(run(diamond(), store)).values()) == {"hit"}
    plan = run(diamond(b="B"), store)
    assert states(plan) == {"a": "hit", "b": "run", "c": "hit", "d": "run"}
    assert (
        plan.steps["toy/b"].why == "word: b -> B"
        and plan.steps["toy/d"].why == "input toy/b changed"
    )
    graph = Graph()
    remarks = {"word": "as the song goes", "shards": "untold"}
    graph.remark(graph.add(TOY, "b", ToyParameters(word="C")), remarks)
    told = make_plan(graph, resolve(graph), store, "r").steps["toy/b"].why
    assert told == "word: B -> C (as the song goes)"
    quiet = Graph()
    quiet.add(TOY, "b", ToyParameters(word="B!", hang=(7,)))  # `hang` decides no byte, and no why
    assert make_plan(quiet, resolve(quiet), store, "r").steps["toy/b"].why == "word: B -> B!"
    back = make_plan(diamond(), {id: {} for id in diamond().nodes}, store, "r")
    assert set(states(back).values()) == {"hit"}


def test_selections(store: Store) -> None:
    with pytest.raises(RecipeError, match=r"its input toy/a .* is not in the store"):
        run(diamond(), store, Selection(only=("toy/b",)))
    assert states(run(diamond(), store, Selection(until="toy/b"))) == {
        "a": "run",
        "b": "run",
        "c": "skipped",
        "d": "skipped",
    }
    assert states(run(diamond(), store, Selection(only=("toy/c",)))) == {
        "a": "hit",
        "b": "hit",
        "c": "run",
        "d": "skipped",
    }
    assert states(run(diamond(), store, Selection(start="toy/d")))["d"] == "run"
    forced = run(diamond(), store, Selection(force=("toy/b",)))
    assert states(forced) == {"a": "hit", "b": "run", "c": "hit", "d": "hit"}
    with pytest.raises(RecipeError, match="no such stage; it has: toy/a"):
        run(diamond(), store, Selection(only=("nothing",)))


def test_a_pinned_older_version_enters_what_follows(store: Store) -> None:
    old = run(diamond(), store).steps["toy/b"].version
    run(diamond(b="B"), store)
    plan = make_plan(
        diamond(b="B"), resolve(diamond()), store, "r", Selection(pins={"toy/b": str(old)})
    )
    assert plan.steps["toy/b"].version == old and states(plan) == {
        "a": "hit",
        "b": "hit",
        "c": "hit",
        "d": "hit",
    }
    with pytest.raises(RecipeError, match="--pin toy/b=ffff: the store has"):
        make_plan(diamond(), resolve(diamond()), store, "r", Selection(pins={"toy/b": "ffff"}))


def test_another_recipes_artifact_is_an_input(store: Store) -> None:
    graph = Graph()
    graph.add(TOY, "e", ToyParameters(), up=OTHER)
    plan = make_plan(graph, resolve(graph), store, "r")
    assert (
        plan.steps["toy/e"].state == "unresolved"
        and "run the recipe other" in plan.steps["toy/e"].why
    )
    built = run(diamond(), store)
    found = store.find("toy", "a", str(built.steps["toy/a"].version))
    assert found is not None
    store.set_reference("other", found, "latest")
    plan = make_plan(graph, resolve(graph), store, "r")
    assert plan.steps["toy/e"].state == "run" and plan.steps["toy/e"].external == {"up": (found,)}


def test_what_is_missing_only_for_stages_that_are_not_selected_stops_nothing(store: Store) -> None:
    graph = diamond()
    graph.add(TOY, "e", ToyParameters(), up=["toy/d", OTHER])
    graph.add(TOY, "f", ToyParameters(), up="toy/e")
    plan = make_plan(graph, resolve(graph), store, "r", Selection(until="toy/d"))
    assert [plan.steps[f"toy/{n}"].state for n in "def"] == ["run", "skipped", "skipped"]
    plan = make_plan(graph, resolve(graph), store, "r", Selection(only=("toy/f",)))
    assert plan.steps["toy/e"].state == "unresolved", "f reads what it makes"


def test_the_recipe_that_makes_a_missing_artifact_is_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs/deep").mkdir(parents=True)
    (tmp_path / "configs/deep/any.yaml").write_text("# it\nname: other  # this one\n")
    graph = Graph()
    graph.add(TOY, "e", ToyParameters(), up=OTHER)
    plan = make_plan(graph, resolve(graph), store, "r")
    assert "make it first: puna run configs/deep/any.yaml" in plan.steps["toy/e"].why


class FileParameters(Parameters):
    """One file."""

    path: FilePath


def test_a_files_content_enters_the_version_and_its_place_does_not(
    store: Store, tmp_path: Path
) -> None:
    def version(path: Path) -> str | None:
        graph = Graph()
        graph.add(Stage("file", 1, FileParameters, "x:y", ""), "a", FileParameters(path=str(path)))
        return make_plan(graph, resolve(graph), store, "r").steps["file/a"].version

    for folder, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.txt").write_text(text)
    one, two, three = (version(tmp_path / folder / "f.txt") for folder in ("one", "two", "three"))
    assert one == two != three
    assert version(tmp_path / "nowhere" / "f.txt") is None


def test_independent_steps_run_side_by_side_but_exclusive_ones_do_not(store: Store) -> None:
    lone = Stage("lone", 1, ToyParameters, "tests.toy:run", "", exclusive=True)
    graph = Graph()
    for name in "ab":
        graph.add(TOY, name, ToyParameters(word=name))
        graph.add(lone, name, ToyParameters(word=name))
    plan = make_plan(graph, {id: {} for id in graph.nodes}, store, "r")
    running: dict[str, int] = {"toy": 0, "lone": 0}
    most: dict[str, int] = {"toy": 0, "lone": 0}
    lock, both = threading.Lock(), threading.Barrier(2)

    def one(step: object, inputs: object) -> Artifact:
        stage = step.node.stage.name  # type: ignore[attr-defined]
        with lock:
            running[stage] += 1
            most[stage] = max(most[stage], running[stage])
        if stage == "toy":
            both.wait(timeout=120)  # neither ends before the other has begun
        else:
            time.sleep(0.1)
        with lock:
            running[stage] -= 1
        return None  # type: ignore[return-value]

    walk(plan, one, {}, settle=as_it_is, side_by_side=4)
    assert most == {"toy": 2, "lone": 1}


def test_the_first_failure_stops_what_has_not_begun(store: Store) -> None:
    plan = make_plan(diamond(), resolve(diamond()), store, "r")
    begun: list[str] = []

    def one(step: object, inputs: object) -> Artifact:
        begun.append(step.node.name)  # type: ignore[attr-defined]
        if step.node.name == "b":  # type: ignore[attr-defined]
            raise ValueError("b is bad")
        return None  # type: ignore[return-value]

    with pytest.raises(StepFailed, match="toy/b failed: b is bad"):
        walk(plan, one, {}, settle=as_it_is, side_by_side=1)
    assert begun == ["a", "b"]


@pytest.mark.parametrize(
    ("selector", "guess"),
    [
        ("a", "'toy/a'"),
        ("other/b", "'toy/b'"),
        ("tyo", "'toy'"),
        ("toy/aa", "'toy/a'"),
        ("injct", "'toy/inject'"),
    ],
)
def test_a_selector_that_names_no_stage_is_told_the_one_of_that_name(
    selector: str, guess: str, store: Store
) -> None:
    graph = diamond()
    graph.add(TOY, "inject", ToyParameters())
    for selection in (
        Selection(only=(selector,)),
        Selection(pins={selector: "1"}),
        Selection(force=(selector,)),
    ):
        with pytest.raises(RecipeError) as refused:
            make_plan(graph, resolve(graph), store, "r", selection)
        assert f"(did you mean {guess}?)" in str(refused.value)


def test_an_artifact_that_was_deleted_was_built(store: Store) -> None:
    plan = run(diamond(), store)
    version = plan.steps["toy/b"].version
    store.root.child(f"toy/b/{version}").remove()
    after = make_plan(diamond(), resolve(diamond()), store, "r")
    assert after.steps["toy/b"].why == f"its artifact is gone from the store (version {version})"
    other = make_plan(diamond(b="B"), resolve(diamond(b="B")), store, "r")
    assert other.steps["toy/b"].why == f"its artifact is gone from the store (version {version})"
    graph = diamond()
    graph.add(TOY, "new", ToyParameters())
    assert make_plan(graph, resolve(graph), store, "r").steps["toy/new"].why == "never built"


def chain(first: str, second: str = "b") -> Graph:
    """a -> b -> c, where b's data is its word's alone, and c reads what b holds."""
    by_content = replace(READER, inputs=(Role("up", many=True, content=True),))
    graph = Graph()
    a = graph.add(TOY, "a", ToyParameters(word=first))
    b = graph.add(TOY, "b", ToyParameters(word=second), up=a)
    graph.add(by_content, "c", ToyParameters(), up=b)
    return graph


def test_what_holds_the_same_when_it_is_built_again_changes_nothing_after_it(store: Store) -> None:
    first = run(chain("a"), store)
    plan = make_plan(chain("A"), resolve(chain("A")), store, "r")
    assert states(plan) == {"a": "run", "b": "run", "c": "run"}
    told = plan.steps["reader/c"]
    assert told.why == "input toy/b changed, unless it turns out to hold the same"
    run(chain("A"), store)
    again = make_plan(chain("A"), resolve(chain("A")), store, "r")
    assert states(again) == {"a": "hit", "b": "hit", "c": "hit"}
    assert again.steps["reader/c"].version == first.steps["reader/c"].version != told.version
    b = again.steps["toy/b"].artifact
    assert b is not None and b.manifest.same_as == first.steps["toy/b"].version != b.version
    assert store.find("reader", "c", told.version or "") is None
    third = run(chain("third"), store).steps["toy/b"].version  # as the first, not as the second
    built = store.find("toy", "b", third or "")
    assert built is not None and built.manifest.same_as == first.steps["toy/b"].version
    run(chain("A", "other"), store)  # other bytes
    (c,) = store.root.child("reader/c").folders()[1:]
    found = store.find("reader", "c", c)
    assert len(store.root.child("reader/c").folders()) == 2 and found is not None


def test_a_forced_step_is_built_although_its_inputs_hold_the_same(store: Store) -> None:
    run(chain("a"), store)
    before = store.open("reader/c")
    run(chain("A"), store, Selection(force=("reader/c",)))
    run(chain("A"), store, Selection(force=("reader/c",)))
    again = store.open("reader/c")
    assert again.version == before.version and again.manifest.finished >= before.manifest.finished


def learned(folder: Path) -> Graph:
    """a -> b (numeric: it holds what the file `drawn` says) -> c -> d."""
    numeric = replace(READER, name="numeric", run=f"{__name__}:draw", bitwise=False)
    by_content = replace(READER, name="content", inputs=(Role("up", many=True, content=True),))
    graph = Graph()
    a = graph.add(TOY, "a", ToyParameters(word=str(folder)))
    b = graph.add(numeric, "b", ToyParameters(), up=a)
    c = graph.add(READER, "c", ToyParameters(), up=b)
    graph.add(by_content, "d", ToyParameters(), up=c)
    return graph


def draw(context: Context) -> Outcome:
    folder = context.input("up").path("part-00000.txt").read_text().rpartition(" ")[0]
    context.map(_copy, {"all": (Path(folder) / "drawn").read_bytes()})
    return Outcome({})


def found(store: Store) -> list[str]:
    """What b, c and d hold."""
    made = (store.open(step) for step in ("numeric/b", "reader/c", "content/d"))
    return [artifact.path("all.txt").read_text() for artifact in made]


def test_what_follows_a_forced_numeric_step_is_built_again_if_that_holds_other_data(
    store: Store, tmp_path: Path
) -> None:
    drawn, force = tmp_path / "drawn", Selection(force=("numeric/b",))
    drawn.write_text("first")
    run(learned(tmp_path), store)
    assert found(store) == ["first"] * 3
    plan = make_plan(learned(tmp_path), resolve(learned(tmp_path)), store, "r", force)
    assert states(plan) == {"a": "hit", "b": "run", "c": "run", "d": "run"}
    assert (
        plan.steps["reader/c"].why == "numeric/b is rebuilt, unless it turns out to hold the same"
    )
    before = store.open("reader/c").manifest.finished
    run(learned(tmp_path), store, force)
    assert store.open("reader/c").manifest.finished == before, "the same bytes change nothing"
    drawn.write_text("second")
    run(learned(tmp_path), store, force)
    assert found(store) == ["second"] * 3
    assert states(run(learned(tmp_path), store))["d"] == "hit"


def test_what_was_read_of_a_step_that_was_built_again_alone_is_told_by_the_next_run(
    store: Store, tmp_path: Path
) -> None:
    drawn, graph = tmp_path / "drawn", learned(tmp_path)
    drawn.write_text("first")
    run(graph, store)
    drawn.write_text("second")
    run(graph, store, Selection(only=("numeric/b",), force=("numeric/b",)))
    assert found(store) == ["second", "first", "first"]
    assert states(make_plan(graph, resolve(graph), store, "r", Selection(only=("toy/a",)))) == {
        "a": "hit",
        "b": "hit",
        "c": "hit",
        "d": "hit",
    }
    told = make_plan(graph, resolve(graph), store, "r").steps
    assert told["reader/c"].why == "numeric/b was built again since and holds other data"
    assert told["content/d"].why == "reader/c is rebuilt, unless it turns out to hold the same"
    run(graph, store)
    assert found(store) == ["second"] * 3
    assert set(states(make_plan(graph, resolve(graph), store, "r")).values()) == {"hit"}


def test_inputs_of_one_name_are_told_apart(store: Store, tmp_path: Path) -> None:
    (tmp_path / "drawn").write_text("first")
    run(learned(tmp_path), store)
    drawn = store.open("numeric/b")
    store.set_reference("other", drawn, "latest")
    graph = Graph()
    a = graph.add(TOY, "a", ToyParameters(word=str(tmp_path), shards=2))
    numeric = replace(READER, name="numeric", run=f"{__name__}:draw", bitwise=False)
    b = graph.add(numeric, "b", ToyParameters(word="another"), up=a)
    earlier = ArtifactReference.parse("artifact:other/numeric/b@latest")
    graph.add(READER, "e", ToyParameters(), up=[b, earlier])
    (tmp_path / "drawn").write_text("second")
    run(graph, store)
    assert set(states(make_plan(graph, resolve(graph), store, "r")).values()) == {"hit"}


def test_shards_made_of_what_a_numeric_step_held_before_are_made_again(
    store: Store, tmp_path: Path
) -> None:
    drawn, graph = tmp_path / "drawn", learned(tmp_path)
    drawn.write_text("first")
    run(graph, store, Selection(until="numeric/b"))
    reading = graph.nodes["reader/c"]
    plan = make_plan(graph, resolve(graph), store, "r")
    b = plan.steps["numeric/b"].artifact
    order = Order(
        reading.stage,
        "c",
        plan.steps["reader/c"].version or "",
        ToyParameters(fail=(1,)),
        {"up": (b,) if b else ()},
        {},
    )
    broken = replace(order, stage=replace(reading.stage, run=f"{__name__}:read_and_break_off"))
    with pytest.raises(StageError, match="of all things"):
        build(broken, store, Inline())
    drawn.write_text("second")
    run(graph, store, Selection(force=("numeric/b",)))
    assert found(store) == ["second"] * 3


def read_and_break_off(context: Context) -> Outcome:
    read(context)
    raise StageError("of all things")
