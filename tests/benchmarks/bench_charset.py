"""Accuracy of the choice of an encoding, beside what detectors say of the same bytes.

    python tests/benchmarks/bench_charset.py [--repeats 4] [--data ../shared/data]

For each detector the share of texts that come out exactly right, undeclared (detectors), and ours
undeclared, declared rightly and declared wrongly; then ours by encoding where it is below 1, and
seconds of processor time a megabyte.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from resiliparse.parse.encoding import detect_encoding  # noqa: E402

from tasks.ingest.charset.detect import decode  # noqa: E402
from tasks.ingest.raw_documents import Unreadable  # noqa: E402
from tests.benchmarks.charset_matrix import Case, cases, same_text  # noqa: E402

_CONTAINING = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "euc-kr": "cp949",
}


def ours(case: Case) -> str:
    """The text, "" where it is refused."""
    try:
        return decode(case.data, (case.declared,))
    except Unreadable:
        return ""


def _detected(detect: Callable[[bytes], str | None]) -> Callable[[Case], str]:
    def text(case: Case) -> str:
        name = (detect(case.data) or "ascii").lower()
        try:
            return case.data.decode(_CONTAINING.get(name, name), "replace")
        except LookupError:
            return ""

    return text


def _methods() -> dict[str, tuple[tuple[str, ...], Callable[[Case], str]]]:
    methods: dict[str, tuple[tuple[str, ...], Callable[[Case], str]]] = {
        "ours": (("none", "right", "wrong"), ours),
        "resiliparse (uchardet), as before": (("none",), _detected(detect_encoding)),
    }
    if importlib.util.find_spec("charset_normalizer"):
        from charset_normalizer import from_bytes

        def normalizer(data: bytes) -> str | None:
            best = from_bytes(data).best()
            return best.encoding if best else None

        methods["charset_normalizer"] = (("none",), _detected(normalizer))
    return methods


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--repeats", type=int, default=4)
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    given = arguments.parse_args()
    matrix = list(cases(given.data, given.repeats))
    for method, (declarations, read) in _methods().items():
        for declaration in declarations:
            right, total, size = Counter[str](), Counter[str](), 0
            began = time.process_time()
            for case in matrix:
                if case.declaration == declaration:
                    good = same_text(read(case), case.text)
                    for key in (
                        "all",
                        f"{case.length} characters",
                        f"{case.language} {case.label}",
                    ):
                        right[key] += good
                        total[key] += 1
                    size += len(case.data)
            spent = time.process_time() - began
            print(
                f"{method}, declared: {declaration}: {right['all'] / total['all']:.3f} of "
                f"{total['all']}, ",
                end="",
            )
            print(f"{spent / (size / 1e6):.2f} s/MB")
            below = [
                f"{key} {right[key] / total[key]:.2f}" for key in total if right[key] < total[key]
            ]
            print("   " + "; ".join(below[:40]))


if __name__ == "__main__":
    main()
