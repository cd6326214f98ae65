"""A hub with a small FineWeb, a small FineWeb-2 and a small base, under their real names.

    python -m tests.loopback.fineweb FOLDER

writes the repositories below FOLDER and serves them; the first line on stdout is the address for
`HF_ENDPOINT`. configs/fineweb-small.yaml runs on it. The texts are made by code, the layouts
(configurations, folders, columns, row groups of a thousand rows) are the published ones, as the
data sets' cards and listings of files have them.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.end_to_end.world import paragraph

BASE = "HuggingFaceTB/SmolLM2-135M"
FINEWEB, FINEWEB_2 = "HuggingFaceFW/fineweb", "HuggingFaceFW/fineweb-2"

FINEWEB_CARD = """---
license: odc-by
task_categories:
- text-generation
language:
- en
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*/*
- config_name: sample-10BT
  data_files:
  - split: train
    path: sample/10BT/*
- config_name: CC-MAIN-2024-51
  data_files:
  - split: train
    path: data/CC-MAIN-2024-51/*
---
# FineWeb
"""
FINEWEB_2_CARD = """---
license: odc-by
configs:
- config_name: deu_Latn
  data_files:
  - split: train
    path: data/deu_Latn/train/*
  - split: test
    path: data/deu_Latn/test/*
- config_name: deu_Latn_removed
  data_files:
  - split: train
    path: data/deu_Latn_removed/train/*
---
# FineWeb 2
"""
_GERMAN = (
    "Die Leute von {place} stellen seit dem Jahr {year} Waren aus Ton her und sind stolz darauf.",
    "Im Herbst ist der Markt von {place} voller Händler, die für die Orte im Tal einkaufen wollen.",
    "Eine alte Straße führt über den Berg nach {place}, und der Weg dauert etwa {number} Stunden.",
    "Das Museum von {place} wurde {year} eröffnet und zeigt, wie man früher über den Fluss kam.",
    "Wer {place} im Winter besucht, sollte einen warmen Mantel mitnehmen, denn der Wind ist stark.",
    "Es gibt {number} kleine Werkstätten in {place}, und jede von ihnen bildet junge Leute aus.",
)
_PLACES = ("Arnfeld", "Birkau", "Dornheim", "Eschbach", "Falkenau", "Grundmühle")


def german(rng: random.Random, sentences: int = 8) -> str:
    """A few sentences about random places."""
    return " ".join(
        rng.choice(_GERMAN).format(
            place=rng.choice(_PLACES), year=rng.randint(1500, 1990), number=rng.randint(2, 90)
        )
        for _ in range(sentences)
    )


def fineweb_rows(count: int, seed: int, language: str = "en") -> pa.Table:
    """Rows with FineWeb's columns; German ones with FineWeb-2's."""
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for at in range(count):
        paragraphs = [
            german(rng) if language == "de" else paragraph(rng, "en")
            for _ in range(rng.randint(1, 3))
        ]
        text = "\n".join(paragraphs)
        date = f"2024-12-{1 + at % 28:02d}T0{at % 10}:15:00Z"
        score = round(rng.uniform(0.7, 1.0), 4)
        own: dict[str, Any] = {
            "language": "en",
            "language_score": score,
            "token_count": len(text.split()),
        }
        if language == "de":
            own = {
                "language": "deu",
                "language_score": score,
                "language_script": "Latn",
                "minhash_cluster_size": 1 + at % 3,
                "top_langs": json.dumps({"deu_Latn_score": score}),
            }
        rows.append(
            {
                "text": text,
                "id": f"<urn:uuid:{rng.getrandbits(128):032x}>",
                "dump": "CC-MAIN-2024-51",
                "url": f"https://{language}{at % 97}.test/{seed}/{at}",
                "date": date,
                "file_path": "s3://commoncrawl/crawl-data/CC-MAIN-2024-51/segments/1733066/warc/"
                f"CC-MAIN-20241201162023-20241201192023-{seed:05d}.warc.gz",
                **own,
            }
        )
    return pa.Table.from_pylist(rows)


def write_hub(root: Path, rows: int = 2_500) -> None:
    """Write the repositories: four files of FineWeb and three of FineWeb-2, `rows` rows each."""
    english = root / "datasets" / FINEWEB
    (english / "sample/10BT").mkdir(parents=True)
    (english / "data/CC-MAIN-2024-51").mkdir(parents=True)
    (english / "README.md").write_text(FINEWEB_CARD)
    places = ("sample/10BT/000_00000", "sample/10BT/001_00000", "data/CC-MAIN-2024-51/000_00000")
    for seed, place in enumerate(places):
        pq.write_table(fineweb_rows(rows, seed), english / f"{place}.parquet", row_group_size=1_000)
    other = root / "datasets" / FINEWEB_2
    for seed, place in enumerate(("deu_Latn/train", "deu_Latn/test", "deu_Latn_removed/train"), 7):
        (other / "data" / place).mkdir(parents=True)
        table = fineweb_rows(rows // 5 if "test" in place else rows, seed, "de")
        pq.write_table(table, other / "data" / place / "000_00000.parquet", row_group_size=1_000)
    (other / "README.md").write_text(FINEWEB_2_CARD)
    write_base(root / "models" / BASE)


def write_base(folder: Path) -> None:
    """A Llama with random weights and a byte-level BPE tokenizer, and what repositories have beside
    them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    rng = random.Random(0)
    tokenizer.train_from_iterator([paragraph(rng, "en") for _ in range(40)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    config = LlamaConfig(
        vocab_size=384,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "README.md").write_text("# a small base\n")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"never read")


def main() -> None:
    """Write and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    if not (folder / "datasets").is_dir():
        write_hub(folder)
    sys.exit(subprocess.call([sys.executable, "-m", "tests.loopback.hub", str(folder)]))


if __name__ == "__main__":
    main()
