"""What is counted, not trained on: accuracy, F1, perplexity, BLEU. NumPy arrays or Tensors in, numbers out.

Predictions come first, truth second, as classes: of scores (N, C) write `scores.argmax(-1)`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import DTypeError, IndexingError, ShapeError, UsageError
from .tensor import Tensor

Sentence: TypeAlias = Sequence[Hashable]  # its tokens: split a text before

AVERAGES = ("binary", "macro", "micro")
SMOOTHINGS = {"none": 0.0, "floor": 0.1, "add-k": 1.0, "exp": 0.0}  # and the usual value of each


# ---- of classes
def accuracy(predicted: Any, target: Any) -> float:
    """The share of predictions that are right; any shape.

    >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    p, t = _labels("accuracy", predicted, target)
    return float(np.mean(p == t))


def confusion_matrix(predicted: Any, target: Any, *, num_classes: int | None = None) -> NDArray[np.int64]:
    """How often class i (row) was taken for class j (column): (C, C), of classes 0..C-1.

    C is by default one more than the largest class that occurs.

    >>> confusion_matrix([0, 1, 1, 2], [0, 1, 2, 2]).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    p, t = (x.ravel().astype(np.int64) for x in _labels("confusion_matrix", predicted, target))
    largest = int(max(p.max(), t.max()))
    c = largest + 1 if num_classes is None else num_classes
    if largest >= c or min(p.min(), t.min()) < 0:
        raise IndexingError(f"confusion_matrix: classes from {min(p.min(), t.min())} to {largest}; expected 0..{c - 1}")
    return np.bincount(t * c + p, minlength=c * c).reshape(c, c)


def precision(predicted: Any, target: Any, *, average: str = "binary", zero_division: float = 0.0) -> float:
    """tp / (tp + fp): what share of those predicted to be of a class are. For the settings see `f1`.

    >>> precision([1, 1, 0], [1, 0, 1])
    0.5
    """
    right, predictions, _ = _counts("precision", predicted, target, average)
    return _averaged(right, predictions, zero_division)


def recall(predicted: Any, target: Any, *, average: str = "binary", zero_division: float = 0.0) -> float:
    """tp / (tp + fn): what share of those of a class are predicted to be. For the settings see `f1`.

    >>> recall([1, 1, 0], [1, 1, 1]) == 2 / 3
    True
    """
    right, _, members = _counts("recall", predicted, target, average)
    return _averaged(right, members, zero_division)


def f1(predicted: Any, target: Any, *, average: str = "binary", zero_division: float = 0.0) -> float:
    """2 tp / (2 tp + fp + fn), the harmonic mean of precision and recall.

    "binary": of the class 1, the labels being 0 and 1; "macro": the mean over the classes that occur in either;
    "micro": one fraction of all counts, which is the accuracy.
    A fraction 0 / 0 (nothing predicted, say) is `zero_division`, never NaN.

    >>> f1([1, 1, 0], [1, 0, 1]), f1([0, 0], [0, 0]), f1([0, 0], [0, 0], zero_division=1.0)
    (0.5, 0.0, 1.0)
    """
    right, predictions, members = _counts("f1", predicted, target, average)
    return _averaged(2 * right, predictions + members, zero_division)


def _counts(who: str, predicted: Any, target: Any, average: str) -> list[NDArray[Any]]:
    """Right predictions, all predictions and all members, of every class in question."""
    if average not in AVERAGES:
        raise UsageError(f"{who}: expected average 'binary', 'macro' or 'micro', got {average!r}")
    p, t = (x.ravel() for x in _labels(who, predicted, target))
    classes, both = np.unique(np.concatenate([p, t]), return_inverse=True)
    if average == "binary" and not np.isin(classes, (0, 1)).all():
        raise UsageError(f"{who}: average='binary' is for labels 0 and 1, got {classes[:5]}: write average='macro'")
    i, j = both[: len(p)], both[len(p) :]
    counts = [np.bincount(of, minlength=len(classes)) for of in (i[i == j], i, j)]
    if average == "macro":
        return counts
    return [np.atleast_1d(count.sum() if average == "micro" else count[classes == 1].sum()) for count in counts]


def _averaged(part: NDArray[Any], whole: NDArray[Any], zero_division: float) -> float:
    shares = np.where(whole == 0, zero_division, part / np.where(whole == 0, 1, whole))
    return float(np.mean(shares))


def _labels(who: str, predicted: Any, target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    p, t = (_host(x) for x in (predicted, target))
    for name, x in (("predicted", p), ("target", t)):
        if x.dtype.kind not in "iub":
            raise DTypeError(f"{who}: {name} holds classes, integers or booleans, not {x.dtype}; write x.argmax(-1)")
    if p.shape != t.shape or not p.size:
        raise ShapeError(f"{who}: expected predicted and target of one shape, not empty, got {p.shape} and {t.shape}")
    return p, t


def _host(x: Any) -> NDArray[Any]:
    return x.numpy() if isinstance(x, Tensor) else np.asarray(x)


# ---- of language
def perplexity(log_prob: Any) -> float:
    """exp(-(1/N) Σ log p), of the natural logarithms of what the model gave to each of N tokens, in any shape.

    >>> round(perplexity(np.log([0.25, 0.25, 0.25])), 6)
    4.0
    """
    values = _host(log_prob)
    if not values.size or values.dtype.kind != "f" or not (values <= 0).all():
        raise UsageError(f"perplexity: expected log-probabilities <= 0, got {values.dtype} of shape {values.shape}")
    with np.errstate(over="ignore"):
        return float(np.exp(-np.mean(values, dtype=np.float64)))


def bleu(
    hypotheses: Sequence[Sentence],
    references: Sequence[Sequence[Sentence]],
    *,
    max_n: int = 4,
    smoothing: str = "none",
    smoothing_value: float | None = None,
    effective_order: bool = False,
) -> float:
    """min(1, e^(1 - r/c)) · (Π_n p_n)^(1/max_n) of a corpus, from 0 to 1 (Papineni et al. 2002, ACL P02-1040).

    p_n: of the n-grams of all hypotheses together, the share found in the references, each counted no more often than
    it stands in one of them. c: the tokens of the hypotheses; r: of the references that are nearest in length (of two
    equally near the shorter). It is no mean over sentences: these are counted together first.

    hypotheses: sentences as tokens; references: for each hypothesis one or more sentences. A p_n of 0 makes it 0
    unless smoothed (Chen & Cherry 2014): "floor" counts 0 matches as smoothing_value (0.1), "add-k" adds it (1) to both
    counts of n > 1, "exp" takes for the i-th p_n without matches 1 / 2^i match. Without any match it is 0 all the same.
    `effective_order` leaves out the n of which the hypotheses have no n-gram. Tokenise first: BLEU depends on it.

    >>> bleu(["the cat sat on the mat".split()], [["the cat sat on the mat".split()]])
    1.0
    >>> bleu(["the the the the".split()], [["the cat".split()]], max_n=1)  # clipped: one of four
    0.25
    """
    if isinstance(hypotheses, str) or not hypotheses or len(hypotheses) != len(references):
        raise UsageError(
            f"bleu: expected one or more hypotheses, and for each a sequence of references; got {len(hypotheses)} and "
            f"{len(references)}"
        )
    if max_n < 1 or smoothing not in SMOOTHINGS:
        raise UsageError(
            f"bleu: expected max_n >= 1 and smoothing one of {', '.join(SMOOTHINGS)}, got {max_n}, {smoothing!r}"
        )
    matches, totals = np.zeros(max_n), np.zeros(max_n)
    length = wanted = 0
    for hypothesis, of_it in zip(hypotheses, references, strict=True):
        if any(isinstance(sentence, str) for sentence in (hypothesis, of_it, *of_it)) or not of_it:
            raise UsageError(
                "bleu: a sentence is its tokens, and has one or more references: write text.split(), [[…]]"
            )
        length += len(hypothesis)
        wanted += min((abs(len(one) - len(hypothesis)), len(one)) for one in of_it)[1]
        for n in range(1, max_n + 1):
            found = _ngrams(hypothesis, n)
            most: Counter[tuple[Hashable, ...]] = Counter()
            for one in of_it:
                most |= _ngrams(one, n)
            matches[n - 1] += (found & most).total()
            totals[n - 1] += found.total()
    if not matches.any():
        return 0.0
    value = SMOOTHINGS[smoothing] if smoothing_value is None else smoothing_value
    shares = _smoothed(matches, totals, smoothing, value)
    if min(shares) == 0 or (len(shares) < max_n and not effective_order):
        return 0.0
    penalty = min(0.0, 1 - wanted / length)
    return math.exp(penalty + math.fsum(map(math.log, shares)) / len(shares))


def sentence_bleu(
    hypothesis: Sentence,
    references: Sequence[Sentence],
    *,
    max_n: int = 4,
    smoothing: str = "exp",
    smoothing_value: float | None = None,
    effective_order: bool = False,
) -> float:
    """BLEU of a corpus of one sentence: a signal for one output, and no more; its mean over sentences is not BLEU.

    >>> one = "the cat sat on a mat".split()
    >>> sentence_bleu(one, ["the cat sat on the mat".split()]) == bleu([one], [["the cat sat on the mat".split()]])
    True
    """
    settings: dict[str, Any] = {"smoothing_value": smoothing_value, "effective_order": effective_order}
    return bleu([hypothesis], [references], max_n=max_n, smoothing=smoothing, **settings)


def _ngrams(sentence: Sentence, n: int) -> Counter[tuple[Hashable, ...]]:
    tokens = tuple(sentence)
    return Counter(tokens[i : i + n] for i in range(len(tokens) - n + 1))


def _smoothed(matches: NDArray[Any], totals: NDArray[Any], smoothing: str, value: float) -> list[float]:
    """p_1, p_2, …, as far as the hypotheses have such n-grams."""
    shares: list[float] = []
    halves = 1.0
    for n, (match, total) in enumerate(zip(matches.tolist(), totals.tolist(), strict=True), start=1):
        if smoothing == "add-k" and n > 1:
            match, total = match + value, total + value
        if total == 0:
            break
        if match == 0 and smoothing == "exp":
            halves *= 2
            match = 1 / halves
        elif match == 0 and smoothing == "floor":
            match = value
        shares.append(match / total)
    return shares
