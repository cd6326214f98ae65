"""Rows from `load_from_disk` train correctly with transformers; with `collate`, exactly as ours."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from tasks.binning.pack import pack
from tasks.binning.write import Documents, write_layout, write_rows
from tasks.documents.collate import collate
from tasks.documents.rows import IGNORE_INDEX, Rows, first_schema
from tasks.training.model.loss import LossModel
from tests.tasks.training.toys import VOCABULARY, save_model

LENGTH = 16
NAME = "data-00000-of-00001.arrow"

CUT = [(40, 0), (5, 0), (9, 3), (37, 20), (3, 0), (7, 7), (2, 0)]
"""(tokens, of them prompt): packed together, cut, a prompt over a cut, a document that is prompt
alone.
"""
ALONE = [(16, 0), (14, 5), (15, 0), (13, 0)]
"""Documents that fill a row each, none cut."""


def save(folder: Path, shapes: list[tuple[int, int]], *, loss_on_source: bool = False) -> Path:
    draw = np.random.default_rng(len(shapes))
    tokens = [draw.integers(1, VOCABULARY, size).astype(np.uint32) for size, _ in shapes]
    lengths = np.array([size for size, _ in shapes], np.int64)
    documents = Documents(
        ids=pa.array([f"d{n}" for n in range(len(shapes))]),
        tokens=np.concatenate(tokens),
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        prompts=np.array([prompt for _, prompt in shapes], np.int64),
    )
    folder.mkdir(parents=True)
    write_rows(
        folder / NAME,
        documents,
        pack(lengths, LENGTH),
        sequence_length=LENGTH,
        padding=0,
        loss_on_source=loss_on_source,
    )
    write_layout(folder, [NAME], LENGTH, "0")
    return folder


def save_first_layout(folder: Path, of: Path) -> Path:
    """The rows of a bin as written by version 1 of binning: targets in the column `labels`."""
    rows = Rows([of])
    batch = rows.batch(range(len(rows)))
    schema = first_schema(LENGTH)
    table = pa.Table.from_pylist(
        [
            {
                "input_ids": batch["input_ids"][n],
                "labels": batch["shift_labels"][n],
                "documents": [span._asdict() for span in rows.provenance(n)],
            }
            for n in range(len(rows))
        ],
        schema=schema,
    )
    folder.mkdir()
    with pa.ipc.new_stream(str(folder / NAME), schema) as writer:
        writer.write_table(table)
    write_layout(folder, [NAME], LENGTH, "0")
    info = folder / "dataset_info.json"
    info.write_text(
        info.read_text().replace(
            '"next_label": {\n      "dtype": "int32",\n      "_type": "Value"\n    },', ""
        )
    )
    return folder


def our_loss(model: Any, folder: Path) -> tuple[float, int]:
    """Mean loss of our training code over all rows of a bin, and its targets."""
    rows = Rows([folder])
    batch = {
        name: torch.from_numpy(values) for name, values in rows.batch(range(len(rows))).items()
    }
    with torch.no_grad():
        total, _ = LossModel(model)(
            batch["input_ids"], batch["shift_labels"], batch["position_ids"]
        )
    targets = int((batch["shift_labels"] != IGNORE_INDEX).sum())
    return float(total) / targets, targets


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_model(tmp_path_factory.mktemp("model"), initializer_range=0.5)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


@pytest.mark.parametrize("loss_on_source", [False, True])
def test_a_label_is_the_token_at_its_position_if_learned(
    tmp_path: Path, loss_on_source: bool
) -> None:
    folder = save(tmp_path / "bin", CUT, loss_on_source=loss_on_source)
    prompts = {f"d{n}": 0 if loss_on_source else prompt for n, (_, prompt) in enumerate(CUT)}
    seen = dict.fromkeys(prompts, 0)
    for row in datasets.load_from_disk(str(folder)):
        filled = 0
        for piece in row["documents"]:
            positions = range(piece["start"], piece["start"] + piece["length"])
            expected = [
                row["input_ids"][i]
                if i > positions[0] and i - positions[0] + piece["offset"] >= prompts[piece["id"]]
                else IGNORE_INDEX
                for i in positions
            ]
            assert [row["labels"][i] for i in positions] == expected
            seen[piece["id"]] += sum(label != IGNORE_INDEX for label in expected)
            filled = positions[-1] + 1
        assert set(row["labels"][filled:]) <= {IGNORE_INDEX}
        if row["next_label"] != IGNORE_INDEX:
            seen[row["documents"][-1]["id"]] += 1
    assert seen == {f"d{n}": size - max(1, prompts[f"d{n}"]) for n, (size, _) in enumerate(CUT)}


def test_rows_of_whole_documents_have_our_loss_with_plain_labels(
    tmp_path: Path, model: Any
) -> None:
    folder = save(tmp_path / "bin", ALONE)
    rows = datasets.load_from_disk(str(folder)).with_format("torch")
    with torch.no_grad():
        for batch in (rows[:], rows.select_columns(["input_ids", "labels"])[:]):
            loss = model(**batch).loss
            assert float(loss) == pytest.approx(our_loss(model, folder)[0], rel=1e-6)


def test_what_a_model_learns_from_labels_is_the_next_token_of_the_same_document(
    tmp_path: Path,
) -> None:
    folder = save(tmp_path / "bin", CUT)
    rows = Rows([folder])
    targets = rows.batch(range(len(rows)))["shift_labels"]
    labels = np.array(datasets.load_from_disk(str(folder))["labels"])
    learned = np.pad(
        labels[:, 1:], ((0, 0), (0, 1)), constant_values=IGNORE_INDEX
    )  # as transformers shifts
    cut = targets[:, -1] != IGNORE_INDEX
    assert cut.sum() == 3
    assert (learned[:, :-1] == targets[:, :-1]).all()


def test_the_collator_has_our_loss_to_rounding(tmp_path: Path, model: Any) -> None:
    folder = save(tmp_path / "bin", CUT)
    rows = datasets.load_from_disk(str(folder))
    expected, targets = our_loss(model, folder)
    for given in ([rows[n] for n in range(len(rows))], rows[:], list(rows.with_format("numpy"))):
        batch = collate(given)
        assert int((batch["shift_labels"] != IGNORE_INDEX).sum()) == targets
        with torch.no_grad():
            assert float(model(**batch).loss) == pytest.approx(expected, rel=1e-6)
    with pytest.raises(ValueError, match="remove_unused_columns=False"):
        collate([{"input_ids": [1], "labels": [1]}])


def first_loss(model: Any, folder: Path, tmp_path: Path, **options: Any) -> float:
    """The loss that Trainer reports for its first step, over all rows of a bin."""
    rows = datasets.load_from_disk(str(folder))
    collator = options.pop("data_collator", None)
    arguments = TrainingArguments(
        str(tmp_path / "trainer"),
        max_steps=1,
        per_device_train_batch_size=len(rows),
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        learning_rate=1e-9,
        **options,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collator)
    trainer.train()
    return float(trainer.state.log_history[0]["loss"])


def test_trainer_with_its_defaults_and_with_the_collator(tmp_path: Path, model: Any) -> None:
    alone, cut = save(tmp_path / "alone", ALONE), save(tmp_path / "cut", CUT)
    wanted = our_loss(model, alone)[0]
    assert first_loss(model, alone, tmp_path) == pytest.approx(wanted, rel=1e-5)
    wanted = our_loss(model, cut)[0]
    loss = first_loss(model, cut, tmp_path, data_collator=collate, remove_unused_columns=False)
    assert loss == pytest.approx(wanted, rel=1e-5)


def test_bins_of_the_first_layout_give_the_same_result(tmp_path: Path, model: Any) -> None:
    new = save(tmp_path / "new", CUT)
    old = save_first_layout(tmp_path / "old", new)
    both = Rows([old, new])
    half = len(both) // 2
    for name, values in both.batch(range(len(both))).items():
        assert (values[:half] == values[half:]).all(), name
    first, second = (collate(list(datasets.load_from_disk(str(folder)))) for folder in (old, new))
    assert (first["shift_labels"] == second["shift_labels"]).all()
    assert (first["position_ids"] == second["position_ids"]).all()


def test_the_data_set_says_what_its_columns_are(tmp_path: Path) -> None:
    rows = datasets.load_from_disk(str(save(tmp_path / "bin", ALONE)))
    assert rows.column_names == ["input_ids", "labels", "next_label", "documents"]
    for word in (
        "not shifted",
        "shift_labels",
        "next_label",
        "position_ids",
        "remove_unused_columns=False",
    ):
        assert word in rows.info.description
