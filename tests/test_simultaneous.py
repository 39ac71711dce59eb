"""Intervals for all layers of a table at once, and the set of the lowest, against simulations whose truth is known."""
import numpy as np
import pytest
from control_results import fake_sweep
from scipy.stats import t as student_t

from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.simultaneous import lowest_set, simultaneous_interval, spread_of

pytestmark = pytest.mark.quick


def resampled(rng, x, n_boot=600): return rng.multinomial(len(x), np.full(len(x), 1/len(x)), size=n_boot) @ x / len(x)


@pytest.mark.parametrize("n, m", [(64, 21), (200, 21), (200, 64)])
def test_coverage_of_21_layers_and_64_kernels(n, m, runs=400):
    "400 experiments: own 95 % intervals all hold in less than 60 % of them, simultaneous ones in more than 92 %."
    rng, truth, own, together = np.random.default_rng(n + m), np.linspace(-0.3, 0.5, m), 0, 0
    counts = rng.multinomial(n, np.full(n, 1/n), size=600) / n
    for _ in range(runs):
        x = truth + rng.normal(size=(n, 1)) + rng.normal(size=(n, m))
        draws = counts @ x
        low, high = np.percentile(draws, [2.5, 97.5], axis=0)
        own += ((low <= truth) & (truth <= high)).all()
        low, high = simultaneous_interval(x.mean(0), draws, n)
        together += ((low <= truth) & (truth <= high)).all()
    assert own / runs < 0.6 and 0.92 <= together / runs <= 0.98


def test_one_score_alone_gets_students_interval():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 1))
    low, high = simultaneous_interval(x.mean(0), resampled(rng, x, 20_000), 30)
    half = student_t.ppf(0.975, 29) * x.std(ddof=1) / np.sqrt(30)
    assert (high - low)[0]/2 == pytest.approx(half, rel=0.03)


def test_families_are_along_the_axes_named():
    "Rows are families of their own: a wild row does not widen a quiet one."
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(2000, 3, 40))
    low, high = simultaneous_interval(np.zeros((3, 40)), draws, 10_000, family=(1,))
    for row in range(3):
        a, b = simultaneous_interval(np.zeros(40), draws[:, row], 10_000)
        np.testing.assert_allclose([low[row], high[row]], [a, b])
    wider = simultaneous_interval(np.zeros((3, 40)), draws, 10_000)[1]
    assert (wider > high).mean() > 0.9


def test_what_does_not_vary_widens_nothing():
    rng = np.random.default_rng(2)
    draws = rng.normal(size=(1000, 3))
    still = np.concatenate([draws, np.full((1000, 1), 0.1) + 1e-17, np.full((1000, 1), np.nan)], 1)
    assert spread_of(still)[3] == 0
    low, high = simultaneous_interval([0, 0, 0, 0.1, 0], still, 100)
    a, b = simultaneous_interval([0, 0, 0], draws, 100)
    np.testing.assert_allclose(low[:3], a)
    np.testing.assert_allclose(high[:3], b)
    assert low[3] == high[3] == 0.1 and np.isinf(low[4]) and np.isinf(high[4])


def test_the_set_holds_the_truly_lowest():
    "Also where many are near it; and it names fewer when there is more to see."
    sizes = {}
    for n in (64, 400):
        rng, truth, inside, size = np.random.default_rng(n), np.linspace(-0.3, 0.5, 21), 0, 0
        for _ in range(200):
            x = truth + rng.normal(size=(n, 1)) + 0.5*rng.normal(size=(n, 21))
            found = lowest_set(x.mean(0), resampled(rng, x, 300), n)
            inside, size = inside + found[0], size + found.sum()
        assert inside >= 0.95*200
        sizes[n] = size / 200
    assert sizes[400] < 0.6*sizes[64]


def test_equal_layers_are_all_in_the_set():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(80, 1)), 5, 1)
    assert lowest_set(x.mean(0), resampled(rng, x), 80).all()


def test_scores_of_a_table():
    r = fake_sweep(layers=5, n=120)
    own, wide = synaptic_scores(r), synaptic_scores(r, simultaneous=True)
    assert wide.score.identical(own.score) and ((wide.high - wide.low) > 1.2*(own.high - own.low)).all()
    assert wide.lowest.dims == wide.score.dims and wide.lowest.dtype == bool and "lowest" not in own
    first = wide.score.argmin("layer")
    assert wide.lowest.isel(layer=first).all() and wide.attrs["simultaneous"] == 1 and own.attrs["simultaneous"] == 0


def test_the_global_scope_is_not_the_most_fragile_layer():
    r = fake_sweep(layers=3, n=120)
    r = r.assign_coords(layer=["conv0", "conv1", "global"])
    r["correct"][:, 2] = False
    wide = synaptic_scores(r, simultaneous=True)
    assert not wide.lowest.sel(layer="global").any() and wide.lowest.any("layer").all()
