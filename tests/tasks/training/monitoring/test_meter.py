"""MFU, time left, and which accelerator a device is."""

from __future__ import annotations

import pytest
import torch

from tasks.training.monitoring.meter import (
    TimeLeft,
    Utilisation,
    accelerator_of,
    attention_pairs,
    memory_bytes,
    peak_flops,
)
from tasks.training.monitoring.names import in_words
from tasks.training.predict.flops import MatmulShape


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", None),  # 756
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A800-SXM4-80GB", 312),
        ("NVIDIA RTX 6000 Ada Generation", 364),
        ("NVIDIA GeForce RTX 4090", 165),
        ("NVIDIA GeForce RTX 4090 D", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA L40S", 362),
        ("NVIDIA L40", None),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", None),
        ("AMD Instinct MI300X", 1307),
        ("Tesla T4", None),
    ],
)
def test_a_device_is_known_by_its_driver_s_name(name: str, tflops: float | None) -> None:
    found = accelerator_of(name)
    assert (found and found.peak_tflops) == tflops


def test_no_peak_is_invented_for_a_cpu() -> None:
    assert peak_flops(torch.device("cpu"), "bf16") is None
    assert Utilisation(MatmulShape(10, 1, 2), None).of(2, 3, 1.0) is None


def test_utilisation_is_operations_by_time_and_peak() -> None:
    # the example of training_flops: 192 operations; at 96 a second on a peak of 384, a quarter
    assert Utilisation(MatmulShape(10, 1, 2), 384.0).of(2, 3, 2.0) == 0.25
    frozen = Utilisation(MatmulShape(10, 1, 2, 0), 384.0).of(2, 3, 1.0)
    assert frozen == (4 * 10 * 2 + 72) / 384


def test_pairs_restart_with_documents() -> None:
    assert attention_pairs([torch.tensor([[0, 1, 0]]), torch.tensor([[0, 1, 2]])]) == 4 + 6


def test_time_left_follows_the_last_minutes() -> None:
    left = TimeLeft()
    assert left.after(100, 1000, now=0.0) is None
    assert left.after(200, 1000, now=10.0) == pytest.approx(80.0)
    for second in range(20, 400, 10):  # a third of the speed
        found = left.after(200 + (second - 10) * 100 // 30, 10_000, now=float(second))
    done = 200 + (390 - 10) * 100 // 30
    assert found == pytest.approx((10_000 - done) * 0.3, rel=0.02)


def test_times_in_words() -> None:
    words = [in_words(seconds) for seconds in (0.2, 40, 750, 12_000, 187_000)]
    assert words == ["0 s", "40 s", "12 min", "3 h 20 min", "2 d 4 h"]


def test_memory_is_this_process_s_peak_in_bytes() -> None:
    assert 5e7 < memory_bytes(torch.device("cpu"))["peak_rss"] < 1e12
