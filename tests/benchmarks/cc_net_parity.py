"""Perplexity by our stages beside cc_net's own code: the same models, the same documents.

    python tests/benchmarks/cc_net_parity.py CHECKOUT      # git clone facebookresearch/cc_net

Needs `make lmplz`. Reads PUNA_REAL_DATA or ../shared/data. For each language the stage
`language_model` trains on one half of real documents; the models are put into a folder in cc_net's
layout (`LANG.arpa.bin`, `LANG.sp.model`), which the stage takes over again as a recipe would. Then
documents of the other half, and a few awkward ones, are scored by the stage `perplexity` and by
cc_net's `MultiSentencePiece` and `DocLM` with the settings of its pipeline, in a process of its own
that imports nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.store import Artifact
from tasks.language_model.stage import STAGE as LANGUAGE_MODEL
from tasks.language_model.stage import LanguageModelParameters
from tasks.perplexity.stage import STAGE as PERPLEXITY
from tasks.perplexity.stage import PerplexityParameters
from tests.stage_harness import run_stage
from tests.tables import artifact, documents

DATA = Path(
    os.environ.get("PUNA_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
PER_LANGUAGE = 500
CHARACTERS = {"en": 2_500, "zh": 900, "de": 2_500, "fr": 2_500}
AWKWARD = (
    "",
    " \n\t",
    "１２３ ㊀ ﬁne № ½",
    "a\u00a0b\u3000c\u2028d\u200be\ufefff",
    "line\nline\r\nline\x85line\x00",
    "</s> <unk> <s> ▁ ▁▁",
    "각가한글 漢字 ܐܒܓ 𝟗𝔘",
    "ΣΊΣΥΦΟΣ Σ",
    "e\u0301\u0323 Å İ",
    "la " * 3_000,
)
CC_NET = """\
import json, sys
from pathlib import Path
from cc_net import perplexity
folder, names = Path(sys.argv[1]), sys.argv[2:]
pieces = perplexity.MultiSentencePiece(
    {name: folder / f"{name}.sp.model" for name in names},
    field="raw_content", output_field="tokenized", normalize=True)
lm = perplexity.DocLM(
    {name: folder / f"{name}.arpa.bin" for name in names},
    field="tokenized", output_field="perplexity", normalize=False)
with pieces, lm:
    for line in sys.stdin:
        print(json.dumps(lm(pieces(json.loads(line))).get("perplexity")))
"""


def texts_of(language: str) -> list[str]:
    """Real documents of a language, of CHARACTERS each, two halves of PER_LANGUAGE or more."""
    patterns = {
        "en": ["web_en/fineweb-sample/*.txt", "prose_en/*/valid.txt", "prose_en/*/input.txt"],
        "zh": ["prose_zh/four-novels/西游记.txt", "prose_zh/ruanyf-weekly/docs/*.md"],
        "de": ["prose_multi/eltec-deu/*.xml"],
        "fr": ["prose_multi/eltec-fra/*.xml"],
    }[language]
    size, limit, found = CHARACTERS[language], 2 * PER_LANGUAGE // len(patterns) + 1, []
    for pattern in patterns:
        whole = "\n".join(path.read_text(encoding="utf-8") for path in sorted(DATA.glob(pattern)))
        text = re.sub(r"<[^>]+>", "", whole) if pattern.endswith("xml") else whole
        found += [text[start : start + size] for start in range(0, len(text), size)][:limit]
    return found


def models(language: str, texts: list[str], folder: Path, layout: Path) -> Artifact:
    """Train, write in cc_net's layout, and take over from there."""
    parameters = LanguageModelParameters(language=language, vocabulary=8_000, estimator="lmplz")
    trained = run_stage(
        LANGUAGE_MODEL,
        parameters,
        {"documents": documents(folder, f"reference-{language}", [texts])},
        language,
        tmp_path=folder,
    )
    names = {"lm": f"{language}.arpa.bin", "sentencepiece": f"{language}.sp.model"}
    for own, name in (("lm.bin", names["lm"]), ("sp.model", names["sentencepiece"])):
        shutil.copyfile(trained.path(own), layout / name)
    taken = LanguageModelParameters(
        language=language, **{field: str(layout / name) for field, name in names.items()}
    )
    return run_stage(LANGUAGE_MODEL, taken, {}, language, tmp_path=folder / "taken")


def ours(rows: list[tuple[str, str]], models_: list[Artifact], folder: Path) -> list[float | None]:
    """The column of the stage perplexity."""
    languages = pa.table({"language": pa.array([language for language, _ in rows], pa.string())})
    given = {
        "documents": documents(folder, "web", [[text for _, text in rows]]),
        "langid": artifact(folder, "langid", "web", {"part-00000.parquet": languages}),
        "models": models_,
    }
    unlimited = PerplexityParameters(max_characters=None)
    scored = run_stage(PERPLEXITY, unlimited, given, "web", tmp_path=folder)
    found: list[float | None] = pq.read_table(scored.path("part-00000.parquet"))[
        "perplexity"
    ].to_pylist()
    return found


def theirs(rows: list[tuple[str, str]], layout: Path, checkout: Path) -> list[float | None]:
    """What cc_net's code writes."""
    lines = [json.dumps({"raw_content": text, "language": name}) for name, text in rows]
    names = sorted({name for name, _ in rows})
    done = subprocess.run(
        [sys.executable, "-c", CC_NET, str(layout), *names],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"cc_net failed; the end of its stderr:\n{done.stderr[-2_000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Print one line per language, and every difference up to ten."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder of a clone of facebookresearch/cc_net")
    checkout = parser.parse_args().checkout.resolve()
    if not (checkout / "cc_net" / "perplexity.py").is_file():
        raise SystemExit(f"{checkout} has no cc_net/perplexity.py; name a clone of cc_net")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        layout = folder / "layout"
        layout.mkdir()
        rows: list[tuple[str, str]] = []
        units = []
        for language in CHARACTERS:
            texts = texts_of(language)
            units.append(models(language, texts[1::2], folder, layout))
            rows += [(language, text) for text in (*texts[::2][:PER_LANGUAGE], *AWKWARD)]
        pairs = list(
            zip(ours(rows, units, folder), theirs(rows, layout, checkout), rows, strict=True)
        )
    shown = 0
    for language in CHARACTERS:
        mine = [(a, b, text) for a, b, (name, text) in pairs if name == language]
        unequal = [(a, b, text) for a, b, text in mine if a != b]
        gaps = [abs(a - b) for a, b, _ in mine if a is not None and b is not None]
        print(
            f"{language}: {len(mine)} documents, {sum(b is None for _, b, _ in mine)} without a "
            f"perplexity; {len(unequal)} differ; largest difference {max(gaps):.1f}; median "
            f"perplexity {sorted(b for _, b, _ in mine if b is not None)[len(gaps) // 2]:.1f}"
        )
        for a, b, text in unequal[: 10 - shown]:
            shown += 1
            print(f"  ours {a}, cc_net {b}: {text[:80]!r}")


if __name__ == "__main__":
    main()
