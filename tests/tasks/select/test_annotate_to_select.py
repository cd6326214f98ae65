"""Real text through all deciding stages to JSONL: their columns and artifacts fit together."""

import json
from pathlib import Path

import numpy as np
import pytest

from infra.store import Artifact
from tasks.cut.stage import STAGE as CUT
from tasks.cut.stage import CutParameters, SourceCut
from tasks.decontaminate.stage import STAGE as DECONTAMINATE
from tasks.decontaminate.stage import DecontaminateParameters
from tasks.dedup.stage import STAGE as DEDUP
from tasks.dedup.stage import DedupParameters
from tasks.langid.stage import STAGE as LANGID
from tasks.langid.stage import LangidParameters
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.perplexity.stage import PerplexityParameters
from tasks.quality.stage import STAGE as QUALITY
from tasks.quality.stage import QualityParameters
from tasks.select.stage import STAGE as SELECT
from tasks.select.stage import HeldOut, SelectParameters
from tasks.signatures.stage import STAGE as SIGNATURES
from tasks.signatures.stage import SignaturesParameters
from tests.stage_harness import run_stage
from tests.tables import column, documents


def texts_of(folder: Path) -> dict[str, list[str]]:
    novels = sorted((folder / "prose_zh" / "four-novels").glob("*.txt"))
    chinese = [
        file.read_text("utf-8")[i : i + 700] for file in novels for i in range(0, 35_000, 700)
    ]
    web = (
        (folder / "web_en" / "llamafactory" / "c4_demo.jsonl").read_text("utf-8").splitlines()[:100]
    )
    english = [json.loads(line)["text"] for line in web]
    return {
        "zh-web": [*chinese, chinese[3], "太短了。", english[0]],
        "en-web": [*english, english[7], "{" + english[9]],
    }


@pytest.mark.real
def test_real_text_from_annotation_to_lines(real_data: Path, tmp_path: Path) -> None:
    texts = texts_of(real_data)
    roles: dict[str, list[Artifact]] = {}
    for source, given in texts.items():
        ingested = documents(tmp_path / "given", source, [given[:40], given[40:]])
        beside = {"documents": ingested}
        roles.setdefault("documents", []).append(ingested)
        for stage, parameters in (
            (LANGID, LangidParameters()),
            (QUALITY, QualityParameters(rules=("gopher", "c4"))),
            (SIGNATURES, SignaturesParameters()),
            (DECONTAMINATE, DecontaminateParameters(against={})),
        ):
            declared = {role.name for role in stage.inputs} & beside.keys()
            given_roles = {role: beside[role] for role in declared}
            made = run_stage(stage, parameters, given_roles, source, tmp_path=tmp_path)
            roles.setdefault(stage.name, []).append(made)
            if stage is LANGID:
                beside["langid"] = made
        if source == "zh-web":
            model = run_stage(
                LANGUAGE_MODEL,
                LanguageModelParameters(
                    language="zh", vocabulary=2_500, order=3, character_coverage=0.98
                ),
                {"documents": [ingested]},
                "zh",
                tmp_path=tmp_path,
            )
        models = {"models": [model]}
        scored = run_stage(
            PERPLEXITY, PerplexityParameters(), {**beside, **models}, source, tmp_path=tmp_path
        )
        roles.setdefault("perplexity", []).append(scored)

    keep = {
        "quality": {"rules": ["gopher", "c4"]},
        "perplexity": ["head", "middle"],
        "category": {"zh": "zh", "en": "en"},
    }
    parameters = CutParameters(
        sources={
            "zh-web": SourceCut.model_validate({**keep, "langid": {"languages": ["zh"]}}),
            "en-web": SourceCut.model_validate({**keep, "langid": {"languages": ["en"]}}),
        }
    )
    annotated = {
        name: roles[name]
        for name in ("documents", "langid", "quality", "perplexity", "decontaminate")
    }
    cut = run_stage(CUT, parameters, annotated, tmp_path=tmp_path)
    reasons = column(cut, "reason", "zh-web/")
    assert reasons[-1] == "langid.language" and reasons[-2] == "quality.gopher.word_count"
    assert column(cut, "reason", "en-web/")[-1] == "quality.c4.curly_bracket"
    scores = np.array(column(roles["perplexity"][0], "perplexity"), float)
    passing = [
        s for s, r in zip(scores, reasons, strict=True) if r is None or r.startswith("perplexity")
    ]
    (cutoff,) = cut.statistics["cutoffs"]
    assert [cutoff["head"], cutoff["middle"]] == np.percentile(passing, [30, 60]).tolist()
    assert set(column(cut, "bucket", "en-web/")) == {"all"}

    dedup = run_stage(
        DEDUP,
        DedupParameters(),
        {"cut": cut, **{name: roles[name] for name in ("documents", "signatures", "perplexity")}},
        tmp_path=tmp_path,
    )
    for index, source in enumerate(texts):
        selected = run_stage(
            SELECT,
            SelectParameters(heldout=HeldOut(fraction=0.1, max_documents=3)),
            {"documents": roles["documents"][index], "cut": cut, "dedup": dedup},
            source,
            tmp_path=tmp_path,
        )
        ledger = selected.ledger
        lines = [
            line
            for name in selected.files()
            for line in selected.path(name).read_text("utf-8").split("\n")
            if line
        ]
        assert len(lines) == ledger.documents("kept") and ledger.documents("read") == len(
            texts[source]
        )
        assert len({json.loads(line)["target"] for line in lines}) == len(lines)
        assert {json.loads(line)["category"] for line in lines} == {source[:2]}
        if source == "en-web":
            assert ledger.documents("dropped", "dedup.exact") == 1
