"""The builtin estimator compared with hand calculation, the definition, lmplz and KenLM."""

import subprocess
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import kenlm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.stage import StageError
from tasks.language_model import kneser_ney, lmplz, ngram_counts
from tasks.language_model.kneser_ney import DegenerateDiscount, KneserNeyModel, estimate
from tasks.language_model.ngram_counts import Corpus, TooManyTokens
from tests.tasks.language_model.corpora import made_up

FALLBACK = (0.5, 1.0, 1.5)
Gram = tuple[str, ...]

# Two sentences "a b" and "a c", worked out on paper. Bigrams: <s> a twice, a b, a c, b </s>, c </s>
# once. Words to the left: a 1 (<s>), b 1, c 1, </s> 2, so 5 in all; fallback discounts take 0.5 of
# a 1 and 1 of a 2. Freed: (3 * 0.5 + 1) / 5 = 0.5, spread over 5 words (all but <s>). Unigrams:
# p(a) = 0.5 / 5 + 0.5 / 5 = 0.2, p(</s>) = 1 / 5 + 0.1 = 0.3, p(<unk>) = 0.1. Bigrams: p(a | <s>) =
# (2 - 1) / 2 + 0.5 * 0.2 = 0.6, p(b | a) = 0.5 / 2 + 0.5 * 0.2 = 0.35, p(</s> | b) = 0.5 + 0.15.
BY_HAND = """\\data\\
ngram 1=6
ngram 2=5

\\1-grams:
-1\t<unk>\t0
0\t<s>\t-0.30103
-0.522879\t</s>\t0
-0.69897\ta\t-0.30103
-0.69897\tb\t-0.30103
-0.69897\tc\t-0.30103

\\2-grams:
-0.221849\t<s> a
-0.455932\ta b
-0.455932\ta c
-0.187087\tb </s>
-0.187087\tc </s>

\\end\\
"""


def fitted(sentences: Sequence[Sequence[str]], order: int) -> KneserNeyModel:
    corpus = Corpus()
    corpus.add(sentences)
    return estimate(corpus, order, FALLBACK)


def read_arpa(path: Path) -> dict[str, tuple[float, float]]:
    """N-gram -> log10 of its probability and of its back-off weight."""
    artifact = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) > 1:
            artifact[fields[1]] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return artifact


def test_a_tiny_corpus_by_hand(tmp_path: Path) -> None:
    fitted([["a", "b"], ["a", "c"]], 2).write_arpa(tmp_path / "lm.arpa")
    text = (tmp_path / "lm.arpa").read_text(encoding="utf-8")
    assert text == BY_HAND


sentences_st = st.lists(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=6), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(sentences_st, st.integers(2, 5))
def test_probabilities_follow_the_definition(sentences: list[list[str]], order: int) -> None:
    model = fitted(sentences, order)
    counts = by_definition(sentences, order)
    discounts = [(0.0, *discount.amounts) for discount in model.discounts]
    vocabulary = sorted({word for sentence in sentences for word in sentence} | {"</s>", "<unk>"})

    def probability(word: str, context: Gram) -> float:
        of = {w: counts[len(context)].get((*context, w), 0) for w in vocabulary}
        taken = {w: discounts[len(context)][min(count, 3)] for w, count in of.items()}
        total = sum(of.values())
        below = probability(word, context[1:]) if context else 1 / len(vocabulary)
        return (
            (of[word] - taken[word]) / total + sum(taken.values()) / total * below
            if total
            else below
        )

    grams = all_grams(model)
    for index, ((estimated, backoff), rows) in enumerate(
        zip(model.probabilities(), grams, strict=True)
    ):
        assert set(rows) - {("<unk>",), ("<s>",)} == set(counts[index])
        expected = [1.0 if gram == ("<s>",) else probability(gram[-1], gram[:-1]) for gram in rows]
        np.testing.assert_allclose(estimated, expected, rtol=1e-12)
        if backoff is not None:
            contexts = {gram[:-1] for gram in counts[index + 1]}
            assert all(
                weight == 1
                for gram, weight in zip(rows, backoff, strict=True)
                if gram not in contexts
            )


def by_definition(sentences: Sequence[Sequence[str]], order: int) -> list[dict[Gram, int]]:
    """Adjusted counts: distinct left words; occurrences at the highest order and after <s>."""
    counts: list[dict[Gram, int]] = []
    for length in range(1, order + 1):
        occurrences: Counter[Gram] = Counter()
        lefts: defaultdict[Gram, set[str]] = defaultdict(set)
        for sentence in sentences:
            words = ["<s>", *sentence, "</s>"]
            for start in range(len(words) - length + 1):
                gram = tuple(words[start : start + length])
                occurrences[gram] += 1
                if start:
                    lefts[gram].add(words[start - 1])
        if length == order:
            counts.append(dict(occurrences))
        else:
            counts.append(
                {
                    gram: n if gram[0] == "<s>" else len(lefts[gram])
                    for gram, n in occurrences.items()
                    if gram != ("<s>",)
                }
            )
    return counts


def all_grams(model: KneserNeyModel) -> list[list[Gram]]:
    """The n-gram of every row of every order, as words."""
    grams: list[list[Gram]] = []
    for index, order in enumerate(model.orders):
        words = [(model.words[word],) for word in order.word]
        grams.append(
            words
            if not index
            else [
                (*grams[-1][context], *word_)
                for context, word_ in zip(order.context, words, strict=True)
            ]
        )
    return grams


@pytest.mark.parametrize("order", [2, 3, 5])
def test_kenlm_reads_distributions_that_sum_to_one(tmp_path: Path, order: int) -> None:
    model = fitted([text.split() for text in made_up(200)], order)
    model.write_arpa(tmp_path / "lm.arpa")
    read = kenlm.Model(str(tmp_path / "lm.arpa"))
    assert read.order == order
    predicted = [word for word in model.words if word != "<s>"]
    known = made_up(200)[7].split()
    for context in (
        [],
        known[:1],
        known[:2],
        known[:6],
        [known[0], "never-seen", known[1]],
        known[3:0:-1],
    ):
        for begin in (True, False):
            state, following = kenlm.State(), kenlm.State()
            if begin:
                read.BeginSentenceWrite(state)
            else:
                read.NullContextWrite(state)
            for word in context:
                read.BaseScore(state, word, following)
                state, following = following, kenlm.State()
            total = sum(10 ** read.BaseScore(state, word, following) for word in predicted)
            assert total == pytest.approx(1, abs=3e-5), (context, begin)


def test_discounts_in_closed_form_and_fallback() -> None:
    # y = 40 / (40 + 2 * 20) = 0.5; D1 = 1 - 2 y 20/40, D2 = 2 - 3 y 10/20, D3 = 3 - 4 y 5/10
    discount = kneser_ney.estimate_discount([7, 40, 20, 10, 5, 99], 3, None)
    assert (discount.amounts, discount.fallback) == ((0.5, 1.25, 2.0), False)
    for degenerate in ([0, 40, 0, 10, 5, 0], [0, 10, 5, 20, 5, 0]):
        assert kneser_ney.estimate_discount(degenerate, 3, FALLBACK) == kneser_ney.Discount(
            FALLBACK, fallback=True
        )
        with pytest.raises(DegenerateDiscount, match=r"3-grams.*discount_fallback"):
            kneser_ney.estimate_discount(degenerate, 3, None)


def test_special_words_and_empty_sentences_are_left_out() -> None:
    corpus = Corpus()
    corpus.add([["a", "<s>", "b"], [], ["</s>"], ["<unk>", "a"]])
    assert (corpus.sentences, corpus.tokens, list(corpus.words)[3:]) == (2, 3, ["a", "b"])
    assert corpus.ids().tolist() == [1, 3, 4, 2, 1, 3, 2]


def test_a_corpus_too_large_for_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram_counts, "TOKENS_LIMIT", 3)
    with pytest.raises(TooManyTokens, match=r"lmplz"):
        Corpus().add([["a", "b", "c", "d"]])


CORPORA = {
    "prose": [text.split() for text in made_up(800, words=300)],
    "few": [text.split() for text in made_up(3)],
    "repeated": [["a", "b", "c"]] * 5 + [["c", "b"]] * 2 + [["a"]] * 7,
    "special": [
        ["a", "<s>", "b"],
        ["a", "b", "<unk>"],
        ["b", "a", "a", "a", "a", "a", "</s>", "a"],
    ],
}


@pytest.mark.parametrize("corpus", list(CORPORA))
@pytest.mark.parametrize("order", [2, 3, 5])
def test_agrees_with_lmplz(tmp_path: Path, corpus: str, order: int) -> None:
    try:
        program = lmplz.find(None)
    except StageError:
        pytest.skip("KenLM's lmplz is not there: make lmplz")
    sentences = CORPORA[corpus]
    text = "".join(" ".join(sentence) + "\n" for sentence in sentences)
    options = [
        "-o",
        str(order),
        "-S",
        "100M",
        "-T",
        f"{tmp_path}/",
        "--skip_symbols",
        "--discount_fallback",
    ]
    done = subprocess.run([program, *options], input=text.encode(), capture_output=True, check=True)
    (tmp_path / "theirs.arpa").write_bytes(done.stdout)
    fitted(sentences, order).write_arpa(tmp_path / "ours.arpa")
    ours, theirs = read_arpa(tmp_path / "ours.arpa"), read_arpa(tmp_path / "theirs.arpa")
    assert ours.keys() == theirs.keys()
    difference = np.abs(np.array([np.subtract(ours[gram], theirs[gram]) for gram in ours]))
    assert difference.max() < 2e-6
