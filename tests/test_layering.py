"""The import rules of the house: flows -> tasks -> infra, stages apart, light modules light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = {
    "documents",
    "text",
    "benchmarks",
    "checkpoints",
    "duplicates",
    "export",
    "scorers",
}
ORCHESTRATION = {"prefect", "ray", "typer"}


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Absolute module names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the absolute one"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules("infra"), ids=lambda p: str(p.relative_to(ROOT)))
def test_infra_imports_neither_tasks_nor_flows(path: Path) -> None:
    found = {name.split(".")[0] for name in imports(path)}
    own = {"ray"} if path.parent.name == "ray_cluster" else set()
    assert not (found - own) & {"tasks", "flows", *ORCHESTRATION}


@pytest.mark.parametrize("path", modules("tasks"), ids=lambda p: str(p.relative_to(ROOT)))
def test_stages_import_only_infra_shared_packages_and_themselves(path: Path) -> None:
    found = list(imports(path))
    assert not {name.split(".")[0] for name in found} & {"flows", *ORCHESTRATION}
    own = path.relative_to(ROOT / "tasks").parts[0]
    others = {name.split(".")[1] for name in found if name.startswith("tasks.")} - SHARED - {own}
    assert not others, f"{own} imports the stages {others}"


ROOMS = {
    "flows": ("recipe", "planning", "monitoring", "running", "inspecting", "", "deploying", "cli"),
    "tasks.training": (
        "recipe",
        "planning",
        "stage",
        "phases",
        "predict",
        "spec",
        "errors",
        "model",
        "distributed",
        "adapters",
        "step",
        "checkpoints",
        "monitoring",
        "supervision",
        "",
    ),
}
"""The rooms of a package (folders, or single modules), each of which imports from those before it;
"" stands for the package's other modules.
"""


def room(package: str, name: str) -> str:
    """The room of a module of `package`, given by its dotted name."""
    first = name.removeprefix(f"{package}.").split(".")[0]
    return first if first in ROOMS[package] else ""


def in_rooms() -> list[tuple[str, Path]]:
    return [(package, path) for package in ROOMS for path in modules(package.replace(".", "/"))]


@pytest.mark.parametrize(
    ("package", "path"), in_rooms(), ids=lambda p: str(p.relative_to(ROOT)) if p != str(p) else ""
)
def test_rooms_import_one_way(package: str, path: Path) -> None:
    own = room(package, ".".join(path.relative_to(ROOT).with_suffix("").parts))
    later = ROOMS[package][ROOMS[package].index(own) + 1 :]
    inside = {name for name in imports(path) if name.startswith(f"{package}.")}
    found = {name for name in inside if room(package, name) in later}
    assert not found, f"{path.relative_to(ROOT)} imports from a later room: {found}"


WITH_PREFECT = {
    "pipeline.py",
    "stage.py",
    "dashboard.py",
    "cards.py",
    "outages.py",
    "run_page.py",
    "deployments.py",
}


@pytest.mark.parametrize("path", modules("flows"), ids=lambda p: str(p.relative_to(ROOT)))
def test_flows_read_only_stage_modules_and_light_ones(path: Path) -> None:
    if path.name in WITH_PREFECT or path.parent.name == "deploying":
        return
    found = {name.split(".")[0] for name in imports(path, top_level_only=True)}
    assert not found & {"prefect", "torch", "transformers", "pyarrow"}


@pytest.mark.parametrize(
    "module",
    [
        "flows",
        "flows.recipe.sections",
        "flows.planning.resolve",
        "flows.planning.plan",
        "flows.cli",
        "flows.planning.wiring",
    ],
)
def test_planning_imports_no_heavy_library(module: str) -> None:
    heavy = (
        "('torch', 'prefect', 'transformers', 'datasets', 'pyarrow', 'numpy', 'numba', "
        "'matplotlib')"
    )
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "[]", f"{module} imports {done.stdout}"


BARE_NODE = {
    "torch",
    "transformers",
    "tokenizers",
    "pyarrow",
    "numpy",
    "safetensors",
    "pydantic",
    "yaml",
}


@pytest.mark.parametrize("package", ["tasks/training", "tasks/evaluation"])
def test_training_and_evaluation_import_on_a_bare_gpu_node(package: str) -> None:
    """What these packages import at module level, directly or through ours, is on a node with only
    `BARE_NODE`.

    `run.py`, `supervise.py` and `sharing.py` belong to the machine that launches them.
    """
    here = ("run.py", "supervise.py", "sharing.py")
    todo = [path for path in modules(package) if path.name not in here]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imports(path, top_level_only=True):
            if name.split(".")[0] in ("flows", "tasks", "infra"):
                inside = ROOT.joinpath(*name.split("."))
                todo += [
                    file
                    for file in (inside.with_suffix(".py"), inside / "__init__.py")
                    if file.exists()
                ]
            else:
                top = name.split(".")[0]
                assert top in BARE_NODE or top in sys.stdlib_module_names, (
                    f"{path.relative_to(ROOT)} imports {name}"
                )
