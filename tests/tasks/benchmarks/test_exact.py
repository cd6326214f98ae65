"""What of a generated answer is compared, and how texts are normalised before."""

from __future__ import annotations

import re

import pytest

from tasks.benchmarks.exact import accepted_values, compared


@pytest.mark.parametrize(
    ("written", "strict", "last"),
    [
        ("So 3 + 4 = 7\n#### 7", "7", "7"),
        ("#### 1,234.\nQuestion", "1234", "1234"),
        ("#### $18", None, "18"),
        ("She has -3 left, or $2.50.", None, "2.50"),
        ("no number", None, None),
        ("#### 5 #### 6", "5", "6"),
    ],
)
def test_numbers_by_the_strict_and_by_the_last_rule(
    written: str, strict: str | None, last: str | None
) -> None:
    assert compared(written, "number") == [strict, last]


def test_numbers_are_those_of_the_harness() -> None:
    """Its filters and its metric, on answers that models write."""
    from pathlib import Path

    import lm_eval
    from lm_eval.api.metrics import exact_match_fn
    from lm_eval.tasks._yaml_loader import load_yaml

    file = Path(lm_eval.__file__).parent / "tasks/gsm8k/gsm8k.yaml"
    config = load_yaml(file, resolve_func=False)
    patterns = [re.compile(f["filter"][0]["regex_pattern"]) for f in config["filter_list"]]
    options = {
        k: v for k, v in config["metric_list"][0].items() if k.startswith(("ignore", "regexes"))
    }
    gold = "Reasons.\n#### 1,018"
    for written in (
        "... #### 1018",
        "#### 1,018.",
        "#### -1018 then 1,018",
        "The answer is $1,018.",
        "1018.00",
        "a 10 b 18",
        "nothing at all",
        "#### 12 then 1018 and 7",
    ):
        for pattern, ours in zip(patterns, compared(written, "number"), strict=True):
            found = pattern.findall(written)
            index = 0 if pattern is patterns[0] else -1
            value = found[index] if found else "[invalid]"
            if isinstance(value, tuple):
                value = next(part for part in value if part)
            scored = exact_match_fn(predictions=[value.strip()], references=[gold], **options)
            right = ours in accepted_values(("1,018",), "number")
            assert right == bool(scored["exact_match"]), (written, pattern.pattern)


def test_letters_formulas_and_texts() -> None:
    assert compared("答案是（Ｂ）。", "letter") == ["B"]
    assert compared("Answer: because C is", "letter") == ["C"]
    assert compared("all of them", "letter") == [None]
    assert compared("so \\boxed{\\dfrac{1}{2}} and \\boxed{ 3 \\frac{x}{y} }.", "boxed") == [
        "3\\frac{x}{y}"
    ]
    assert compared("it is $x^2 .$", "boxed") == ["x^2"]
    assert compared("it is 2", "boxed") == [None]
    assert compared(" The Eiffel-Tower! ", "text") == ["the eiffeltower"]
    assert compared("The old a tower", "text-without-articles") == ["old tower"]
    assert accepted_values(("The U.S.", "USA"), "text") == {"the us", "usa"}
