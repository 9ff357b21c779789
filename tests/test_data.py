"""tinygrad_zoo.data: laws of splits and batches, generators against their densities, densities against integrals."""

from __future__ import annotations

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from tinygrad_zoo import data
from tinygrad_zoo.data import Split, Statistics
from tinygrad_zoo.data.loading import SHUFFLES, stream
from tinygrad_zoo.errors import DTypeError, MissingDependencyError, ShapeError, UsageError

GENERATORS = [data.two_moons, data.eight_gaussians, data.checkerboard, data.pinwheel, data.spirals]
SEED, N = 3, 20_000


# ---- batches


@given(n=st.integers(1, 60), batch_size=st.integers(1, 60), seed=st.integers(0, 2**40), drop_last=st.booleans())
def test_an_epoch_visits_every_example_at_most_once_and_all_without_drop_last(n, batch_size, seed, drop_last):
    if drop_last and batch_size > n:
        with pytest.raises(UsageError, match="drop_last"):
            data.batch_indices(n, batch_size, seed, 0)
        return
    per_epoch = data.steps_per_epoch(n, batch_size, drop_last)
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        parts = [data.batch_indices(n, batch_size, seed, step, drop_last=drop_last) for step in steps]
        seen = np.concatenate(parts)
        expected = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3, epoch))).permutation(n)
        assert np.array_equal(seen, expected[: len(seen)])
        assert len(seen) == (n // batch_size * batch_size if drop_last else n)
        assert all(len(part) == batch_size for part in (parts if drop_last else parts[:-1]))


def test_a_batch_does_not_depend_on_history():
    forwards = [data.batch_indices(50, 8, seed=1, step=step) for step in range(40)]
    backwards = [data.batch_indices(50, 8, seed=1, step=step) for step in reversed(range(40))][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    x = np.arange(100).reshape(50, 2)
    resumed = data.batches((x,), 8, seed=1, start=17)
    for step in range(17, 40):
        assert np.array_equal(next(resumed)[0], x[forwards[step]])


def test_epochs_and_seeds_are_shuffled_differently():
    first, second = (data.batch_indices(100, 100, seed=0, step=step) for step in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, data.batch_indices(100, 100, seed=1, step=0))


@pytest.mark.parametrize("seed", [0, 7])
def test_no_generator_of_a_seed_is_another(seed):
    """default_rng([seed, 0]), say, is default_rng(seed)."""
    keys = [(0,), (1,), (2,), *((SHUFFLES, epoch) for epoch in range(3))]
    generators = [np.random.default_rng(seed), *(stream(seed, *key) for key in keys)]
    assert len({generator.random() for generator in generators}) == len(generators)
    order = data.batch_indices(100, 100, seed=seed, step=0)
    assert not np.array_equal(order, np.random.default_rng(seed).permutation(100))


def test_batches_keep_arrays_aligned_and_hand_out_copies():
    x = np.arange(20.0)
    y = x**2
    for a, b in data.batches((x, y), 6, seed=4, steps=10):
        assert np.array_equal(b, a**2) and a.shape == (6,)
        a[:] = -1
    assert np.array_equal(x, np.arange(20.0))
    indices = data.batch_indices(20, 6, seed=4, step=0)
    assert not indices.flags.writeable


def test_one_ordered_pass_covers_the_test_set():
    x = np.arange(10)
    passes = data.batches((x,), 4, seed=0, shuffle=False, drop_last=False, steps=data.steps_per_epoch(10, 4, False))
    assert [part.tolist() for (part,) in passes] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 11}, "exceeds the 10 examples"),
        ({"batch_size": 2.5}, "integer"),
        ({"seed": -1}, "seed"),
        ({"start": -1}, "start"),
        ({"steps": -1}, "steps"),
        ({"arrays": np.arange(10)}, r"write \(x,\)"),
        ({"arrays": ([1, 2],)}, "NumPy arrays"),
    ],
)
def test_bad_batch_arguments_raise_at_the_call(bad, message):
    with pytest.raises(UsageError, match=message):
        data.batches(**{"arrays": (np.arange(10),), "batch_size": 2, "seed": 0, **bad})


def test_arrays_of_unequal_length_are_refused():
    with pytest.raises(ShapeError, match=r"\(3,\), \(4, 2\)"):
        data.batches((np.zeros(3), np.zeros((4, 2))), 2, seed=0)
    for n, step in ((0, 0), (4, -1)):
        with pytest.raises(UsageError):
            data.batch_indices(n, 1, 0, step)


# ---- splits and standardisation


@given(
    labels=st.lists(st.integers(0, 4), min_size=3, max_size=80),
    seed=st.integers(0, 99),
    fractions=st.tuples(st.floats(0.01, 0.45), st.floats(0, 0.45)),
)
def test_a_stratified_split_partitions_and_keeps_proportions(labels, seed, fractions):
    labels = np.array(labels)
    n = len(labels)
    n_test, n_validation = max(1, int(fractions[0] * n)), int(fractions[1] * n)
    split = data.train_test_split((np.arange(n), labels), n_test, seed, n_validation=n_validation, stratify=labels)
    parts = split.parts()
    assert np.array_equal(np.sort(np.concatenate([x for x, _ in parts.values()])), np.arange(n))
    assert all(np.array_equal(labels[x], y) for x, y in parts.values())
    assert len(split.test[0]) == n_test
    assert (split.validation is None) == (n_validation == 0)
    for label, size in zip(*np.unique(labels, return_counts=True), strict=True):
        share = size * n_test / n
        assert math.floor(share) <= (split.test[1] == label).sum() <= math.ceil(share)


def test_proportional_classes_are_split_exactly():
    labels = np.repeat(["a", "b", "c"], [60, 30, 10])
    split = data.train_test_split((labels,), 20, 0, n_validation=10, stratify=labels)
    for part, counts in ((split.train, [42, 21, 7]), (split.test, [12, 6, 2]), (split.validation, [6, 3, 1])):
        assert np.unique(part[0], return_counts=True)[1].tolist() == counts
        assert not np.array_equal(part[0], np.sort(part[0]))  # no part is ordered by class


def test_a_plain_split_is_random_and_deterministic():
    x = np.arange(1000)
    first, again, other = (data.train_test_split((x,), 300, rng) for rng in (5, np.random.default_rng(5), 6))
    assert np.array_equal(first.test[0], again.test[0])
    assert not np.array_equal(first.test[0], other.test[0])
    assert abs(first.test[0].mean() - 499.5) < 4 * 289 / math.sqrt(300)


@pytest.mark.parametrize(("n_test", "n_validation"), [(0, 0), (-1, 0), (10, 0), (5, 5), (2, -1)])
def test_splits_that_leave_nothing_are_refused(n_test, n_validation):
    with pytest.raises(UsageError):
        data.train_test_split((np.arange(10),), n_test, 0, n_validation=n_validation)


def test_bad_parts_of_a_split_are_refused():
    x = np.zeros((4, 2))
    with pytest.raises(UsageError, match=r"Split\.test must be a tuple.*write \(x,\)"):
        Split(train=(x,), test=x)
    with pytest.raises(ShapeError, match=r"Split\.train needs"):
        Split(train=(x, np.zeros(3)), test=(x, x))
    with pytest.raises(ShapeError, match=r"Split\.validation has 2 arrays"):
        Split(train=(x,), test=(x,), validation=(x, x))
    for empty in ((), (x[:0],), (np.array(1.0),)):
        with pytest.raises(ShapeError, match=">= 1"):
            Split(train=empty, test=empty)
    with pytest.raises(ShapeError, match="one label an example"):
        data.train_test_split((x,), 1, 0, stratify=np.zeros(3))


def test_standardising_uses_the_training_part_alone():
    rng = np.random.default_rng(0)
    raw = Split(
        train=(rng.normal(3, 2, (500, 2, 3)), np.arange(500)),
        test=(rng.normal(-1, 9, (50, 2, 3)), np.arange(50)),
        validation=(rng.normal(0, 1, (20, 2, 3)), np.arange(20)),
    )
    split = data.standardize(raw)
    np.testing.assert_allclose(split.train[0].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(split.train[0].std(0), 1, rtol=1e-12)
    assert np.array_equal(split.statistics.mean, raw.train[0].mean(0))
    for name, (z, y) in split.parts().items():
        x, labels = raw.parts()[name]
        np.testing.assert_allclose(split.statistics.restore(z), x, rtol=1e-12, atol=1e-12)
        assert y is labels
    with pytest.raises(UsageError, match="already"):
        data.standardize(split)


def test_log_det_is_that_of_the_scaling():
    statistics = Statistics.of(np.random.default_rng(0).normal(size=(50, 3)) * [0.1, 1.0, 30.0])
    jacobian = statistics.standardize(np.eye(3)) - statistics.standardize(np.zeros((1, 3)))
    assert statistics.log_det == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-12)


def test_constant_features_are_shifted_but_not_scaled():
    x = np.full((7, 2), 0.1, np.float32)
    x[:, 1] = np.arange(7)
    statistics = Statistics.of(x)
    assert statistics.std.tolist() == [1.0, 2.0]
    z = statistics.standardize(x)
    assert z.dtype == np.float32 and np.abs(z[:, 0]).max() < 1e-7


def test_statistics_refuse_other_dtypes_and_shapes():
    with pytest.raises(DTypeError, match="int64"):
        Statistics.of(np.arange(4))
    statistics = Statistics.of(np.eye(2))
    for method in (statistics.standardize, statistics.restore):
        with pytest.raises(ShapeError, match=r"\(2,\)"):
            method(np.zeros((2, 3)))


# ---- point sets


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
def test_every_generator_is_deterministic_typed_and_balanced(make):
    points, labels = make(N, SEED)
    again, same = make(N, np.random.default_rng(SEED))
    assert points.shape == (N, 2) and points.dtype == np.float32 and np.isfinite(points).all()
    assert labels.shape == (N,) and labels.dtype == np.int64
    assert np.array_equal(points, again) and np.array_equal(labels, same)
    assert not np.array_equal(points, make(N, SEED + 1)[0])
    assert make(4, SEED, dtype=np.float64)[0].dtype == np.float64
    counts = np.bincount(labels)
    assert np.abs(counts - N / len(counts)).max() < 4.5 * math.sqrt(N / len(counts))
    assert np.abs(np.corrcoef(labels[1:], labels[:-1])[0, 1]) < 4.5 / math.sqrt(N)


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("n", [0, -3, 2.0, "7"])
def test_every_generator_refuses_bad_counts(make, n):
    with pytest.raises(UsageError, match="n must be an integer >= 1"):
        make(n, 0)


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
def test_every_generator_refuses_integer_dtypes_and_bad_seeds(make):
    with pytest.raises(DTypeError, match="floating dtype, got int64"):
        make(3, 0, dtype=np.int64)
    for rng in (None, -1, 0.5):
        with pytest.raises(UsageError, match="rng"):
            make(3, rng)


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (data.two_moons, {"noise": -0.1}),
        (data.two_moons, {"noise": math.nan}),
        (data.eight_gaussians, {"noise": -1}),
        (data.eight_gaussians, {"radius": math.inf}),
        (data.pinwheel, {"arms": 0}),
        (data.pinwheel, {"radial": -1}),
        (data.pinwheel, {"tangential": -1}),
        (data.spirals, {"arms": 0}),
        (data.spirals, {"turns": -1}),
        (data.spirals, {"noise": -1}),
    ],
)
def test_bad_settings_of_generators_are_named(make, bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        make(5, 0, **bad)


def test_noiseless_points_lie_on_their_curves():
    x, label = data.two_moons(500, 0, noise=0.0, dtype=np.float64)
    x = np.where(label[:, None] == 0, x, [1.0, 0.5] - x)
    np.testing.assert_allclose((x**2).sum(1), 1, rtol=1e-12)
    assert (x[:, 1] >= -1e-15).all()

    x, label = data.spirals(500, 0, arms=3, turns=1.5, noise=0.0, dtype=np.float64)
    r = np.hypot(*x.T)
    turned = np.arctan2(x[:, 1], x[:, 0]) / (2 * math.pi) - (1.5 * r + label / 3)
    np.testing.assert_allclose(turned, np.round(turned), atol=1e-10)
    assert r.max() <= 1
    assert np.mean(r**2) == pytest.approx(0.5, abs=0.06)  # r**2 is uniform on [0, 1]: 4.5 standard errors

    x, label = data.eight_gaussians(500, 0, noise=0.0, dtype=np.float64)
    np.testing.assert_allclose(x @ [1, 1j], 2 * np.exp(2j * math.pi * label / 8), atol=1e-12)

    x, label = data.pinwheel(500, 0, arms=3, radial=0.0, tangential=0.0, rate=0.25, dtype=np.float64)
    np.testing.assert_allclose(x @ [1, 1j], np.exp(1j * (2 * math.pi * label / 3 + 0.25 * math.e)), atol=1e-12)


def test_pinwheel_arms_have_the_stated_spread():
    x, label = data.pinwheel(N, SEED, radial=0.3, tangential=0.1, rate=0.0)
    turned = (x @ [1, 1j]) * np.exp(-2j * math.pi * label / 5)
    assert turned.mean() == pytest.approx(1, abs=0.01)
    assert (turned.real.std(), turned.imag.std()) == pytest.approx((0.3, 0.1), rel=0.03)


# ---- densities


def density_grid(low, high, step):
    """The centres of a grid's cells, (n, 2), and the area of one."""
    (x0, y0), (x1, y1) = low, high
    xs, ys = np.arange(x0, x1, step) + step / 2, np.arange(y0, y1, step) + step / 2
    return np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1).reshape(-1, 2), step**2


def log_density_of(name, statistics=None):
    return lambda x: getattr(data, f"{name}_log_density")(x, statistics=statistics)


FAMILIES = ["two_moons", "eight_gaussians", "checkerboard"]
SCALING = Statistics(np.array([0.5, -0.25]), np.array([0.8, 1.5]))


@pytest.mark.parametrize("statistics", [None, SCALING], ids=["raw", "standardised"])
@pytest.mark.parametrize("name", FAMILIES)
def test_densities_integrate_to_one_and_their_entropy_is_the_integral(name, statistics):
    low, high = np.array([-3.5, -3.5]), np.array([3.5, 3.5])
    if name == "checkerboard" and statistics is not None:  # a grid that divides the squares: the sum is then exact
        points, area = density_grid(low, high, 0.05)
        points, area = statistics.standardize(points), area / statistics.std.prod()
    else:
        ends = (low, high) if statistics is None else statistics.standardize(np.stack([low, high]))
        points, area = density_grid(*ends, 0.025)
    log_density = log_density_of(name, statistics)(points)
    mass = np.exp(log_density) * area
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    entropy = -(mass[mass > 0] * log_density[mass > 0]).sum()
    if name == "two_moons":
        x = data.two_moons(N, SEED, dtype=np.float64)[0]
        x = x if statistics is None else statistics.standardize(x)
        spread = data.two_moons_log_density(x, statistics=statistics).std() / math.sqrt(N)
        assert data.two_moons_entropy(x, statistics=statistics) == pytest.approx(entropy, abs=4 * spread)
    else:
        assert getattr(data, f"{name}_entropy")(statistics=statistics) == pytest.approx(entropy, abs=1e-8)


@pytest.mark.parametrize("name", FAMILIES)
def test_generators_fill_cells_as_their_density_says(name):
    """Pearson's chi-squared over cells of side 0.25 that expect at least 10 of the points."""
    n, side, fine = 200_000, 0.25, 5
    x = getattr(data, name)(n, SEED)[0]
    cells = int(7 / side)
    seen = np.histogram2d(x[:, 0], x[:, 1], bins=cells, range=[[-3.5, 3.5]] * 2)[0]
    points, area = density_grid((-3.5, -3.5), (3.5, 3.5), side / fine)
    mass = np.exp(log_density_of(name)(points)).reshape(cells, fine, cells, fine).sum((1, 3)) * area
    kept = mass * n >= 10
    chi_squared = ((seen - n * mass)[kept] ** 2 / (n * mass[kept])).sum()
    assert chi_squared == pytest.approx(kept.sum(), abs=5 * math.sqrt(2 * kept.sum()))
    assert seen[~kept].sum() <= n * mass[~kept].sum() + 5 * math.sqrt(n * mass[~kept].sum() + 1)


@pytest.mark.parametrize("noise", [0.02, 0.1, 1.0])
def test_two_moons_density_is_the_adaptive_integral(noise):
    rng = np.random.default_rng(1)
    near, _ = data.two_moons(10, rng, noise=2 * noise, dtype=np.float64)
    ends = [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5], [2.0, 0.5]]
    points = np.concatenate([near, ends + rng.normal(0, noise, (4, 2))])

    def integrand(t, x, y):
        first = (x - math.cos(t)) ** 2 + (y - math.sin(t)) ** 2
        second = (x - 1 + math.cos(t)) ** 2 + (y - 0.5 + math.sin(t)) ** 2
        return math.exp(-first / (2 * noise**2)) + math.exp(-second / (2 * noise**2))

    pieces = np.linspace(0, math.pi, 30)
    for point, log_density in zip(points, data.two_moons_log_density(points, noise), strict=True):
        parts = [integrate.quad(integrand, a, b, tuple(point), epsabs=0, epsrel=1e-11)[0] for a, b in pairwise(pieces)]
        assert log_density == pytest.approx(math.log(sum(parts) / (2 * math.pi * 2 * math.pi * noise**2)), abs=1e-9)


@pytest.mark.parametrize(("noise", "expected"), [(0.05, 1.1312), (0.10, 1.8296), (0.12, 2.0059)])
def test_two_moons_entropy_is_the_known_one(noise, expected):
    """Expected: -sum p log p over a grid with steps of noise / 4, standardised by the density's own mean and std."""
    split = data.two_moons_split(SEED, n_train=200_000, noise=noise)
    assert data.two_moons_entropy(split.test[0], noise, split.statistics) == pytest.approx(expected, abs=0.015)


def test_two_moons_split_is_standardised_fixed_and_has_test_points_of_its_own():
    split, again = data.two_moons_split(0, n_train=600), data.two_moons_split(np.random.default_rng(0), n_train=600)
    (train,), (test,) = split.train, split.test
    assert len(train) == 600 and len(test) == 20_000 and train.dtype == test.dtype == np.float32
    assert np.array_equal(train, again.train[0]) and np.array_equal(test, again.test[0])
    np.testing.assert_allclose(train.mean(0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(train.std(0, dtype=np.float64), 1, atol=1e-6)
    larger = data.two_moons_split(0, n_train=900)
    np.testing.assert_allclose(larger.statistics.restore(larger.test[0]), split.statistics.restore(test), atol=1e-6)
    assert not set(map(tuple, train.tolist())) & set(map(tuple, test.tolist()))
    with pytest.raises(UsageError, match="n must be"):
        data.two_moons_split(0, n_train=0)


def test_checkerboard_points_never_round_into_an_empty_square():
    for dtype in (np.float16, np.float32, np.float64):
        x, _ = data.checkerboard(N, SEED, dtype=dtype)
        assert np.isfinite(data.checkerboard_log_density(x)).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_densities_refuse_what_is_not_points(name):
    for x in (np.zeros(2), np.zeros((2, 3))):
        with pytest.raises(ShapeError, match=r"\(n, 2\)"):
            log_density_of(name)(x)


def test_a_density_needs_noise():
    for call in (
        lambda: data.two_moons_log_density(np.zeros((1, 2)), noise=0.0),
        lambda: data.eight_gaussians_log_density(np.zeros((1, 2)), noise=0.0),
        lambda: data.eight_gaussians_entropy(noise=0.0),
    ):
        with pytest.raises(UsageError, match="noise must be finite and > 0"):
            call()


# ---- digits and text


def test_digits_split_is_fixed_stratified_and_complete():
    from sklearn.datasets import load_digits  # slow to import: not for those who run another test

    split, loaded = data.digits(pixels="raw"), load_digits()
    (train, train_labels), (test, test_labels) = split.train, split.test
    assert train.shape == (1437, 8, 8) and test.shape == (360, 8, 8) and train.dtype == np.float32
    assert train_labels.dtype == test_labels.dtype == np.int64
    totals, tested = np.bincount(loaded.target), np.bincount(test_labels)
    assert np.abs(tested - totals * 360 / 1797).max() < 1
    assert np.array_equal(tested + np.bincount(train_labels), totals)

    def rows(images, labels):
        return sorted(map(tuple, np.column_stack([images.reshape(len(images), 64), labels]).tolist()))

    everything = np.concatenate([train, test]), np.concatenate([train_labels, test_labels])
    assert rows(*everything) == rows(loaded.images, loaded.target)
    assert np.array_equal(test, data.digits(pixels="raw").test[0])


def test_digits_pixels():
    raw, unit, binary = (data.digits(pixels=pixels, flat=True) for pixels in ("raw", "unit", "binary"))
    assert raw.train[0].shape == (1437, 64) and raw.train[0].max() == 16
    assert np.array_equal(unit.test[0], raw.test[0] / 16)
    assert np.array_equal(binary.test[0], raw.test[0] > 7.5)
    with pytest.raises(UsageError, match="grey"):
        data.digits(pixels="grey")
    with pytest.raises(DTypeError, match="int64"):
        data.digits(dtype=np.int64)


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_zoo\[zoo\]"):
        data.digits()


def test_text_round_trips_through_its_vocabulary():
    corpus = data.text()
    assert corpus == data.text() and len(corpus) > 300_000
    vocabulary = data.char_vocabulary(corpus)
    assert list(vocabulary) == sorted(set(corpus))
    tokens = data.encode_chars(corpus, vocabulary)
    assert tokens.dtype == np.int64 and tokens.shape == (len(corpus),)
    assert np.unique(tokens).tolist() == list(range(len(vocabulary)))
    assert data.decode_chars(tokens, vocabulary) == corpus


@given(st.text())
def test_any_text_round_trips(string):
    vocabulary = data.char_vocabulary(string)
    assert data.decode_chars(data.encode_chars(string, vocabulary), vocabulary) == string


def test_bad_characters_and_tokens_are_refused():
    with pytest.raises(UsageError, match="'z' is not in the vocabulary"):
        data.encode_chars("az", "abc")
    with pytest.raises(UsageError, match="each character once"):
        data.encode_chars("a", "aba")
    for tokens in ([3], [-1], [0.5], [[0]]):
        with pytest.raises(UsageError, match="tokens must"):
            data.decode_chars(tokens, "abc")


def test_exports_are_what_all_says():
    public = {name for name, value in vars(data).items() if callable(value) and not name.startswith("_")}
    assert public == set(data.__all__)
