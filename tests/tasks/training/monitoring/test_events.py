"""Event files: framing, resuming, and TensorBoard's own reader where it is installed."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import pytest

from tasks.training.monitoring.events import EventFile, crc32c, cut_after, event, record


def read(folder: Path) -> dict[str, list[tuple[int, float | str]]]:
    """Tag -> (step, value) of all files in a folder, as TensorBoard's loader reads them."""
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    points: dict[str, list[tuple[int, float | str]]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for found in loader.EventFileLoader(str(path)).Load():
            for value in found.summary.value:
                tensor = value.tensor
                is_text = value.metadata.plugin_data.plugin_name == "text"
                what = tensor.string_val[0].decode() if is_text else tensor.float_val[0]
                points.setdefault(value.tag, []).append((found.step, what))
    return points


def test_crc32c_gives_the_published_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_record_frames_length_and_data() -> None:
    framed = record(b"abc")
    assert framed[:8] == struct.pack("<Q", 3) and framed[12:15] == b"abc" and len(framed) == 19


def test_tensorboard_reads_scalars_and_texts(tmp_path: Path) -> None:
    file = EventFile(tmp_path, 0)
    file.scalars(3_000_000_000, {"loss": 2.5, "loss/zh": 1.25, "gap": math.nan, "none": None})
    file.texts(7, {"samples": "从前有座山\n\n*and* so on"})
    file.close()
    assert read(tmp_path) == {
        "loss": [(3_000_000_000, 2.5)],
        "loss/zh": [(3_000_000_000, 1.25)],
        "samples": [(7, "从前有座山\n\n*and* so on")],
    }


def test_a_resumed_phase_has_each_point_once(tmp_path: Path) -> None:
    file = EventFile(tmp_path, 0)
    for step in (10, 20, 30, 40):
        file.scalars(step, {"loss": float(step)})
    file.close()
    (first,) = tmp_path.iterdir()
    with first.open("ab") as stream:
        stream.write(record(event(50, b""))[:-3])  # what a kill leaves
    for resumed_at, until in ((20, 50), (30, 60)):
        file = EventFile(tmp_path, resumed_at)
        for step in range(resumed_at + 10, until + 1, 10):
            file.scalars(step, {"loss": 100.0 + step})
        file.close()
    points = read(tmp_path)["loss"]
    assert points == [(10, 10.0), (20, 20.0), (30, 130.0), (40, 140.0), (50, 150.0), (60, 160.0)]


def test_the_accumulator_of_the_page_sees_the_resumed_curve(tmp_path: Path) -> None:
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    file = EventFile(tmp_path, 0)
    file.scalars(10, {"loss": 1.0})
    file.scalars(20, {"loss": 2.0})
    accumulator = module.EventAccumulator(str(tmp_path))
    accumulator.Reload()  # a page that is open while the phase is killed and resumed
    file.close()
    file = EventFile(tmp_path, 10)
    file.scalars(20, {"loss": 3.0})
    file.close()
    accumulator.Reload()
    points = [(point.step, point.value) for point in accumulator.Scalars("loss")]
    assert points == [(10, 1.0), (20, 3.0)]


def test_a_damaged_file_is_cut_where_the_damage_begins(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.x"
    good = record(event(1, b""))
    path.write_bytes(good + b"\0" * 40)
    cut_after(path, 99)
    assert path.read_bytes() == good


def test_an_unwritable_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        EventFile(tmp_path / "file" / "tensorboard", 0)
