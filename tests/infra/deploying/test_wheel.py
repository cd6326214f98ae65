"""The wheel, as the image installs it: into an environment that holds nothing else of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("flows", "tasks", "infra", "configs")
NOT_READ = {"Dockerfile", "Dockerfile.dockerignore", "puna.sbatch", "apt.txt"}
"""Names of files that people and build tools read in the checkout, not puna."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # what the Dockerfile copies; setuptools leaves a folder behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    command = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True, capture_output=True)
    (built,) = folder.glob("puna-*.whl")
    return built


def test_the_wheel_holds_every_file_that_a_package_has(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    here = {name for name in listed.stdout.splitlines() if Path(name).name not in NOT_READ}
    assert len(here) > 300
    assert here - set(zipfile.ZipFile(wheel).namelist()) == set()


def test_puna_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """What puna needs is borrowed from this environment; puna itself is the wheel's."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *install], check=True, capture_output=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run(str(python), "-P", "-c", "import flows; print(flows.__file__)").startswith(str(site))
    puna = str(python.with_name("puna"))
    assert "deploy" in run(puna, "--help")
    assert "my.yaml written" in run(puna, "init", "my.yaml")
