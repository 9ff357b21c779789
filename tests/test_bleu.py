"""BLEU: 200 random corpora against NLTK and sacreBLEU to 1e-12, and what it is not."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import oracles
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.metrics import bleu, sentence_bleu

nltk_bleu = oracles.load("nltk.translate.bleu_score")
sacrebleu = oracles.load("sacrebleu.metrics.bleu")
CORPORA = 200


def corpus(seed: int, shortest: int) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Up to six sentences, each with up to three references made by changing words of it: some n-grams repeat."""
    draw = np.random.default_rng(seed)
    hypotheses, references = [], []
    for _ in range(int(draw.integers(1, 7))):
        words = draw.integers(0, int(draw.integers(2, 12)), int(draw.integers(shortest, 14)))
        of_it = []
        for _ in range(int(draw.integers(1, 4))):
            kept = draw.random(len(words)) < draw.uniform(0.3, 1)
            other = np.where(kept, words, draw.integers(0, 12, len(words)))
            cut = max(1, len(words) + int(draw.integers(-3, 4)))
            of_it.append([f"w{w}" for w in np.resize(other, cut)])
        hypotheses.append([f"w{w}" for w in words])
        references.append(of_it)
    return hypotheses, references


@pytest.mark.oracle("nltk")
@pytest.mark.parametrize("max_n", [4, 2])
def test_corpora_are_nltks(max_n: int) -> None:
    """Of sentences of four tokens at least: NLTK counts one n-gram in a sentence that is too short for any."""
    above_0 = 0
    weights = [1 / max_n] * max_n
    for seed in range(CORPORA):
        hypotheses, references = corpus(seed, shortest=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of precisions of 0
            expected = nltk_bleu.corpus_bleu(references, hypotheses, weights=weights)
        found = bleu(hypotheses, references, max_n=max_n)
        assert abs(found - expected) < 1e-12
        above_0 += found > 0
    assert above_0 > CORPORA / 2


@pytest.mark.oracle("nltk")
def test_smoothing_is_nltks() -> None:
    smooth = nltk_bleu.SmoothingFunction()
    methods = {"floor": smooth.method1, "add-k": smooth.method2, "exp": smooth.method3}
    for seed in range(50):
        hypotheses, references = corpus(seed, shortest=4)
        for name, method in methods.items():
            expected = nltk_bleu.sentence_bleu(references[0], hypotheses[0], smoothing_function=method)
            assert abs(sentence_bleu(hypotheses[0], references[0], smoothing=name) - expected) < 1e-12


@pytest.mark.oracle("sacrebleu")
@pytest.mark.parametrize("effective_order", [False, True])
@pytest.mark.parametrize(("smoothing", "value"), [("none", None), ("floor", 0.1), ("add-k", 1), ("exp", None)])
def test_corpora_are_sacrebleus(smoothing: str, value: float | None, effective_order: bool) -> None:
    theirs = sacrebleu.BLEU(
        tokenize="none", smooth_method=smoothing, smooth_value=value, effective_order=effective_order, force=True
    )
    above_0 = 0
    for seed in range(CORPORA):
        hypotheses, references = corpus(seed, shortest=1)
        most = max(map(len, references))
        streams = [[" ".join(of_it[k]) if k < len(of_it) else None for of_it in references] for k in range(most)]
        expected = theirs.corpus_score([" ".join(one) for one in hypotheses], streams).score / 100
        settings: dict[str, Any] = {"smoothing": smoothing, "effective_order": effective_order}
        found = bleu(hypotheses, references, **settings)
        assert abs(found - expected) < 1e-12
        above_0 += found > 0
    assert above_0 > CORPORA / 2


# ---- what it is, by hand
def test_counts_are_clipped() -> None:
    reference = ["the", "cat", "is", "on", "the", "mat"]
    assert bleu([["the"] * 7], [[reference]], max_n=1) == 2 / 7


def test_short_answers_are_penalised_and_long_ones_are_not() -> None:
    reference = ["a", "b", "c", "d", "e", "f"]
    assert bleu([reference[:3]], [[reference]], max_n=1) == pytest.approx(np.exp(1 - 6 / 3), rel=1e-14)
    assert bleu([[*reference, "g"]], [[reference]], max_n=1) == pytest.approx(6 / 7, rel=1e-14)
    both = [reference, reference[:4]]  # 4 and 6 are equally far from 5: the shorter counts
    assert bleu([reference[:5]], [both], max_n=1) == 1
    assert bleu([reference[:5]], [[reference]], max_n=1) == pytest.approx(np.exp(1 - 6 / 5), rel=1e-14)


def test_the_mean_over_sentences_is_another_number() -> None:
    hypotheses, references = corpus(3, shortest=6)
    whole = bleu(hypotheses, references)
    mean = np.mean([sentence_bleu(h, r, smoothing="none") for h, r in zip(hypotheses, references, strict=True)])
    assert len(hypotheses) > 1 and whole > 0 and abs(whole - mean) > 0.02
    assert bleu(hypotheses * 2, references * 2) == whole


def test_order_of_references_and_of_sentences_does_not_matter() -> None:
    hypotheses, references = corpus(5, shortest=4)
    shuffled = [list(reversed(of_it)) for of_it in reversed(references)]
    assert bleu(list(reversed(hypotheses)), shuffled) == bleu(hypotheses, references)


def test_no_match_is_0_and_itself_is_1() -> None:
    for smoothing in ("none", "floor", "add-k", "exp"):
        assert bleu([["a", "b"]], [[["c", "d"]]], smoothing=smoothing) == 0
        assert bleu([list("abcde")], [[list("abcde")]], smoothing=smoothing) == 1
    assert bleu([[]], [[["a"]]]) == 0
    assert bleu([["a", "b"]], [[["a", "b"]]]) == 0 and bleu([["a", "b"]], [[["a", "b"]]], effective_order=True) == 1


def test_errors() -> None:
    with pytest.raises(UsageError, match="for each a sequence of references; got 2 and 1"):
        bleu([["a"], ["b"]], [[["a"]]])
    for wrong in ((["a b"], [[["a"]]]), ([["a"]], [["a b"]]), ([["a"]], [[]])):
        with pytest.raises(UsageError, match="a sentence is its tokens"):
            bleu(*wrong)
    with pytest.raises(UsageError, match="smoothing one of none, floor, add-k, exp, got 4, 'chen'"):
        bleu([["a"]], [[["a"]]], smoothing="chen")
