"""Scores against a literal reading of cc_net, on artificial and real text; the stage's output."""

from __future__ import annotations

import io
import json
import random
import re
import statistics
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import kenlm
import numpy as np
import pyarrow as pa
import pytest
import sentencepiece

from infra.engine import EngineConfig, start
from infra.stage import StageError
from infra.store import Artifact
from tasks.language_model.kneser_ney import estimate
from tasks.language_model.ngram_counts import Corpus
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.perplexity.score import ModelFiles, Scorer, annotate_perplexity
from tasks.perplexity.stage import STAGE, PerplexityParameters
from tasks.text.normalise import CONTROLS, PUNCTUATION
from tests.stage_harness import run_stage
from tests.tables import artifact, column, content_digest, documents
from tests.tasks.language_model.corpora import made_up


def train(folder: Path, language: str, texts: Sequence[str], **parameters: int) -> Artifact:
    """A language model artifact, built by the stage."""
    given = documents(folder, f"reference-{language}", [texts])
    return run_stage(
        LANGUAGE_MODEL,
        LanguageModelParameters(language=language, **{"order": 3, **parameters}),
        {"documents": given},
        language,
        tmp_path=folder,
    )


def files(model: Artifact) -> ModelFiles:
    return ModelFiles(model.path("sp.model"), model.path("lm.arpa"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return train(tmp_path_factory.mktemp("model"), "xx", made_up(200), vocabulary=60)


class Reference:
    """cc_net's perplexity, one document at a time, step by step."""

    def __init__(self, pieces: Path, lm: Path) -> None:
        self.pieces = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
        self.lm = kenlm.Model(str(lm))

    @classmethod
    def of(cls, model: Artifact) -> Reference:
        return cls(model.path("sp.model"), model.path("lm.arpa"))

    def __call__(self, text: str) -> float | None:
        text = unicodedata.normalize("NFD", text.strip().lower())
        text = "".join(character for character in text if unicodedata.category(character) != "Mn")
        text = "".join(
            (PUNCTUATION | {"１": '"'}).get(character, character)
            for character in re.sub(r"\d", "0", text)
        )
        line = " ".join(
            self.pieces.encode_as_pieces("".join(c for c in text if ord(c) not in CONTROLS))
        )
        if not line:
            return None
        score, length = self.lm.score(line), len(line.split()) + 1
        return round(10.0 ** (-score / length), 1)


AWKWARD = [
    "",
    " \n",
    "Bada\nBODA 12",
    "dago，「kopu」…",
    "never seen 漢字 ܐܒܓ",
    "</s> <unk> <s>",
    "ba" * 5_000,
    "１",
]


def test_equals_the_reference_on_artificial_text(model: Artifact) -> None:
    texts = [*made_up(50, seed=3), *AWKWARD]
    found = Scorer(files(model)).perplexities(texts)
    assert found == [Reference.of(model)(text) for text in texts]
    assert found[50] is None and found[51] is None and None not in found[52:]


def test_a_model_that_keeps_spaces_counts_words_as_cc_net_does(tmp_path: Path) -> None:
    """cc_net divides by the words of the line of pieces, and a space may be a piece, or in one."""
    texts = [text.replace(" ", "\u3000") for text in made_up(100)]
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=written,
        vocab_size=60,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    (tmp_path / "sp.model").write_bytes(written.getvalue())
    segmenter = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "sp.model"))
    corpus = Corpus()
    corpus.add(segmenter.encode(texts, out_type=str))
    estimate(corpus, 3).write_arpa(tmp_path / "lm.arpa")
    found = Scorer(ModelFiles(tmp_path / "sp.model", tmp_path / "lm.arpa"))
    reference = Reference(tmp_path / "sp.model", tmp_path / "lm.arpa")
    mixed = [*texts[:20], "\u3000", "a\u2003b\xa0c", *AWKWARD]
    assert found.perplexities(mixed) == [reference(text) for text in mixed]


def test_batches_do_not_matter(model: Artifact) -> None:
    texts = [*made_up(20, seed=4), *AWKWARD]
    scorer = Scorer(files(model))
    assert scorer.perplexities(texts) == [scorer.perplexities([text])[0] for text in texts]


def test_known_text_scores_below_shuffled_words(model: Artifact) -> None:
    texts = made_up(200, seed=0)
    shuffled = [
        " ".join(random.Random(1).sample(text.split(), len(text.split()))) for text in texts
    ]
    scorer = Scorer(files(model))
    good, bad = (
        np.median(np.array(scorer.perplexities(each), dtype=float)) for each in (texts, shuffled)
    )
    assert good < 0.7 * bad


def test_only_languages_with_a_model_and_only_the_first_characters(model: Artifact) -> None:
    text = " ".join(made_up(30, seed=5))
    table = pa.table({"text": [text, text, text[:400], ""], "language": ["xx", "yy", "xx", "xx"]})
    found = annotate_perplexity({"xx": files(model)}, 400, table)["perplexity"].to_pylist()
    assert found[1] is None and found[3] is None
    assert found[0] == found[2] == Reference.of(model)(text[:400])
    assert annotate_perplexity({"xx": files(model)}, None, table)["perplexity"][
        0
    ].as_py() == Reference.of(model)(text)


def scored(folder: Path, models: Sequence[Artifact]) -> dict[str, Artifact]:
    """Inputs: 40 documents in three parts, every fourth in another language, one empty."""
    texts = made_up(40, seed=6)
    texts[0] = ""
    languages = ["yy" if index % 4 == 3 else "xx" for index in range(40)]
    cuts = [slice(0, 17), slice(17, 17), slice(17, 40)]
    given = documents(folder, "web", [texts[cut] for cut in cuts])
    tables = {
        f"part-{index:05d}.parquet": pa.table({"language": pa.array(languages[cut], pa.string())})
        for index, cut in enumerate(cuts)
    }
    return {
        "documents": given,
        "langid": artifact(folder, "langid", "web", tables),
        "models": list(models),
    }


def test_the_stage_writes_aligned_columns_statistics_and_a_ledger(
    model: Artifact, tmp_path: Path
) -> None:
    inputs = scored(tmp_path, [model])
    found = run_stage(STAGE, PerplexityParameters(), inputs, "web", tmp_path=tmp_path)
    texts, languages = column(inputs["documents"], "text"), column(inputs["langid"], "language")
    reference = Reference.of(model)
    expected = [
        reference(text) if language == "xx" else None
        for text, language in zip(texts, languages, strict=True)
    ]
    assert column(found, "perplexity") == expected
    statistic = found.statistics["languages"]["xx"]
    values = sorted(value for value in expected if value is not None)
    assert (statistic["documents"], statistic["empty"]) == (29, 1)
    assert statistic["percentiles"]["50"] == statistics.median(values)
    unit = json.loads(model.path("unit.json").read_text())["unit"]
    assert found.statistics["units"] == {"xx": unit}
    assert found.ledger.documents("kept") == 40
    with start(EngineConfig(kind="processes", workers=2)) as engine:
        again = run_stage(
            STAGE, PerplexityParameters(), inputs, "web", tmp_path=tmp_path / "two", engine=engine
        )
    assert again.digest == found.digest


def test_two_models_of_one_language_are_an_error(model: Artifact, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"two language models for 'xx'"):
        run_stage(
            STAGE,
            PerplexityParameters(),
            scored(tmp_path, [model, model]),
            "web",
            tmp_path=tmp_path,
        )


def test_a_source_without_models_gets_nulls(tmp_path: Path) -> None:
    found = run_stage(STAGE, PerplexityParameters(), scored(tmp_path, []), "web", tmp_path=tmp_path)
    assert column(found, "perplexity") == [None] * 40
    assert found.statistics == {"units": {}, "languages": {}}


def test_golden_output(model: Artifact, tmp_path: Path) -> None:
    """If the output changes on purpose, raise the stage's version, then this digest."""
    found = run_stage(
        STAGE, PerplexityParameters(), scored(tmp_path, [model]), "web", tmp_path=tmp_path
    )
    assert (STAGE.version, content_digest(found)) == (2, "ac06d756bc815c8f")


def chunks(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


@pytest.mark.real
def test_real_text_equals_the_reference_and_prose_scores_below_shuffled_characters(
    real_data: Path, tmp_path: Path
) -> None:
    novel = (real_data / "prose_zh" / "four-novels" / "西游记.txt").read_text(encoding="utf-8")
    texts = chunks(novel, 500)[:700]
    zh = train(
        tmp_path, "zh", [text for index, text in enumerate(texts) if index % 5], vocabulary=6_000
    )
    unseen = texts[::5]
    shuffled = [
        "".join(random.Random(index).sample(text, len(text))) for index, text in enumerate(unseen)
    ]
    scorer, reference = Scorer(files(zh)), Reference.of(zh)
    english = (real_data / "web_en" / "fineweb-sample" / "fineweb_sample.txt").read_text(
        encoding="utf-8"
    )
    mixed = [*unseen, *shuffled, *chunks(english[:50_000], 2_500)]
    found = scorer.perplexities(mixed)
    assert found == [reference(text) for text in mixed]
    good, bad = (
        np.array(found[: len(unseen)], dtype=float),
        np.array(found[len(unseen) : 2 * len(unseen)], dtype=float),
    )
    assert (good < bad).all()
    assert np.median(good) < np.median(bad) / 2.5, (np.median(good), np.median(bad))
