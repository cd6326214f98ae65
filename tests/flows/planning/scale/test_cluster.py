"""Clusters: those shipped, files, maps, and what is wrong with them, each in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.planning.scale.cluster import Cluster, read_cluster, shipped
from flows.recipe.file import RecipeError

OWN = "{nodes: 2, cores: 8, memory: 32G, network_gbit: 10, disk: 1T, disk_mb_s: 500, price_hour: 1"


def test_all_shipped_clusters_can_be_read_and_prices_say_whose_they_are() -> None:
    assert set(shipped()) == {"two-cores", "workstation", "aws-16", "aws-100"}
    for name in shipped():
        found = read_cluster(name)
        assert found.name == name
        assert not found.price_hour or (found.price_from and found.price_date)
    assert read_cluster("aws-100").all_cores == 6_400
    assert "6.4" not in read_cluster("two-cores").in_words()
    assert "factualminds" in read_cluster("aws-16").in_words()


def test_a_map_extends_a_cluster_and_its_own_price_is_its_own() -> None:
    found = read_cluster("{extends: aws-16, nodes: 4, price_hour: 1.5}")
    assert (found.nodes, found.cores, found.price_hour) == (4, 64, 1.5)
    assert found.price_from == "" and found.in_words().endswith("(yours)")
    assert read_cluster("{extends: aws-16, nodes: 4}").price_from
    stated = read_cluster("{extends: aws-16, price_hour: 1.5, price_date: 2026-11-30}")
    assert stated.price_date == "2026-11-30"


def test_a_file_of_the_same_keys(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"{OWN}, store: network, name: mine}}")
    found = read_cluster(str(file))
    assert (found.name, found.memory, found.store_bytes_s) == ("mine", 32 * 10**9, 2.5e9)
    assert found.source_bytes_s == 2.5e9
    assert found.model_copy(update={"source_gbit": 1.0}).source_bytes_s == 0.125e9


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("aws-61", "'aws-61' is no cluster (did you mean 'aws-16'?)"),
        ("{nodes: 2}", "lacks cores, memory, network_gbit, disk, disk_mb_s, price_hour"),
        ("{extends: aws}", "extends: 'aws' is no cluster"),
        ("{extends: aws-16, core: 3}", "knows no key core (did you mean 'cores'?)"),
        ("{extends: aws-16, nodes: 0}", "nodes is 0"),
        ("{extends: aws-16, memory: lots}", "memory is 'lots'"),
        ("{extends: two-cores, nodes: 3}", "store is disk, which 3 nodes do not share"),
        ("{nodes: [", "is not YAML"),
        ("{extends: aws-16, costs: 3}", "costs is 3"),
        ("{extends: [aws-16]}", "extends: ['aws-16'] is no cluster"),
        ("{extends: aws-16, price_date: 2024-99-99}", "is not YAML"),
        (f"{{extends: aws-16, nodes: {'9' * 5000}}}", "is not YAML"),
        ("~nobody-of-that-name/x", "is no cluster"),
        ("x" * 300, "is no cluster"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(given: str, said: str) -> None:
    with pytest.raises(RecipeError) as problem:
        read_cluster(given)
    assert said in str(problem.value) and "\n" not in str(problem.value)


def test_a_file_that_is_no_map(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(RecipeError, match="is no map"):
        read_cluster(str(tmp_path / "list.yaml"))
    (tmp_path / "large.yaml").write_text("#" * 70_000)
    with pytest.raises(RecipeError, match="at most 64,000"):
        read_cluster(str(tmp_path / "large.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_cluster(str(tmp_path / "bytes.yaml"))


def test_workers_are_bounded_by_cores_memory_and_parts() -> None:
    found = Cluster(
        nodes=3,
        cores=8,
        memory=10**10,
        network_gbit=1,
        disk=1,
        disk_mb_s=1,
        price_hour=0,
        store="network",
    )
    assert found.workers(10**9, 1_000) == 24
    assert found.workers(4 * 10**9, 1_000) == 6
    assert found.workers(10**9, 5) == 5
    assert found.workers(10**12, 5) == 1
    assert found.open_s == 0.001
