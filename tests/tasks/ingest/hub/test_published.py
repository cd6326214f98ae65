"""C4, SlimPajama and SkyPile by name, in the layouts that are published: folders, names of files,
compression and fields as in their cards and listings.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import zstandard

from tests.loopback.hub_fixture import HubServer
from tests.tasks.ingest.hub.test_stage import build, rows

C4_CARD = """---
license: odc-by
configs:
- config_name: en
  data_files:
  - split: train
    path: en/c4-train.*.json.gz
  - split: validation
    path: en/c4-validation.*.json.gz
- config_name: realnewslike
  data_files:
  - split: train
    path: realnewslike/c4-train.*.json.gz
---
# C4
"""


def write(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    data = "".join(json.dumps(one) + "\n" for one in records).encode()
    if name.endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    elif name.endswith(".zst"):
        data = zstandard.compress(data)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def test_c4(hub: HubServer, tmp_path: Path) -> None:
    folder = hub.dataset("allenai/c4")
    (folder / "README.md").write_text(C4_CARD)
    for variant, split, of in (
        ("en", "train", 2),
        ("en", "validation", 1),
        ("realnewslike", "train", 1),
    ):
        for shard in range(of):
            text = f"{variant} {split} {shard}"
            row = {
                "text": text,
                "timestamp": "2019-04-25T12:57:54Z",
                "url": f"https://a.test/{shard}",
            }
            write(folder, f"{variant}/c4-{split}.{shard:05d}-of-{of:05d}.json.gz", [row])
    found = rows(build(tmp_path / "train", format="hf", dataset="allenai/c4", name="en"))
    assert [(row["text"], row["date"], row["url"]) for row in found] == [
        (f"en train {shard}", "2019-04-25T12:57:54Z", f"https://a.test/{shard}") for shard in (0, 1)
    ]
    given = {"format": "hf", "dataset": "allenai/c4", "name": "en", "split": "validation"}
    assert [row["text"] for row in rows(build(tmp_path / "v", **given))] == ["en validation 0"]


def test_slimpajama_and_skypile(hub: HubServer, tmp_path: Path) -> None:
    """Without configurations in their cards: splits are folders, or all is for training."""
    slim = hub.dataset("cerebras/SlimPajama-627B")
    meta = {"redpajama_set_name": "RedPajamaCommonCrawl"}
    for chunk in (1, 10):
        row = {"text": f"train {chunk}", "meta": meta}
        write(slim, f"train/chunk{chunk}/example_train_0.jsonl.zst", [row])
    held = {"text": "held out", "meta": meta}
    write(slim, "validation/chunk1/example_holdout_0.jsonl.zst", [held])
    found = rows(build(tmp_path / "slim", format="hf", dataset="cerebras/SlimPajama-627B"))
    assert sorted(row["text"] for row in found) == ["train 1", "train 10"]
    assert {(row["url"], row["date"], row["dump"]) for row in found} == {("", "", None)}
    sky = hub.dataset("Skywork/SkyPile-150B")
    for part in ("2020-40_zh_head_0000", "2021-04_zh_middle_0001"):
        write(sky, f"data/{part}.jsonl", [{"text": part}])
    pile = rows(build(tmp_path / "sky", format="hf", dataset="Skywork/SkyPile-150B"))
    assert [row["text"] for row in pile] == ["2020-40_zh_head_0000", "2021-04_zh_middle_0001"]
