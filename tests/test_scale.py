"Results larger than the memory: scores from the file, snapshot by snapshot, and landscapes that hold one at a time."
import os
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from fragility_nb.core.results import chunk_shape, load_result, provenance, save_result
from fragility_nb.data.sets import load_data
from fragility_nb.measure.differences import score_differences
from fragility_nb.measure.scores import area_weights, average_inits, synaptic_scores
from fragility_nb.measure.sweeps import filter_landscape
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.models.resume import list_snapshots


def made_up(n=60, layers=3, inits=2, epochs=3, thresholds=7, control=True, seed=0):
    "A landscape made by hand, clean and attacked."
    rng, outer = np.random.default_rng(seed), dict(init=inits, epoch=epochs)
    dims, shape = (*outer, "stress", "layer", "filter"), (inits, epochs, 2, layers, 2)
    chance = np.linspace(1, 0.1, thresholds)[:, None]*rng.uniform(0.6, 1, (*shape, 1, 1))
    correct = rng.random((*shape, thresholds, n)) < chance
    reference = rng.random((inits, epochs, 2, n)) < 0.9
    removed = np.linspace(0, 90, thresholds).astype(int)*np.ones((inits, epochs, layers, 2, 1), int)
    own = (*outer, "layer", "filter")
    found = dict(correct=((*dims, "threshold", "sample"), correct), removed=((*own, "threshold"), removed),
                 accuracy=((*dims, "threshold"), correct.mean(-1)), weights=("layer", np.full(layers, 90)),
                 reference_correct=((*outer, "stress", "sample"), reference),
                 reference_accuracy=((*outer, "stress"), reference.mean(-1)))
    if control:
        right = rng.random((*shape, 3, 2, n)) < 0.5
        steps = np.array([0, 3, thresholds - 1])*np.ones((inits, epochs, layers, 2, 1), int)
        found |= dict(control_correct=((*dims, "node", "draw", "sample"), right), control_step=((*own, "node"), steps),
                      control_accuracy=((*dims, "node", "draw"), right.mean(-1)))
    coords = dict(stress=["clean", "adversarial"], layer=["global", *(f"l{i}" for i in range(1, layers))],
                  filter=["high_pass", "pulse"], threshold=np.linspace(0, 1, thresholds), sample=np.arange(n),
                  label=("sample", np.arange(n) % 10), init=range(inits), epoch=[5*e for e in range(epochs)])
    return xr.Dataset(found, coords, provenance("filter_sweep", thresholds=thresholds, num_classes=10, data_hash="d"))


def alike(a, b):
    "Whether two results are the same but for the time."
    return a.assign_attrs(created_at="").identical(b.assign_attrs(created_at=""))


@pytest.fixture(scope="module")
def landscape(tmp_path_factory):
    "In memory, and its file."
    result = made_up()
    return result, save_result(result, tmp_path_factory.mktemp("scale")/"result.nc")


@pytest.mark.quick
@pytest.mark.parametrize("simultaneous", [False, True], ids=["alone", "together"])
@pytest.mark.parametrize("baseline", ["published", "random", "chance"])
def test_scores_from_the_file_and_snapshot_by_snapshot(landscape, baseline, simultaneous):
    "The same bits from memory, from the file, and for a snapshot alone."
    result, path = landscape
    options = dict(baseline=baseline, simultaneous=simultaneous, n_boot=150)
    scores = synaptic_scores(result, **options)
    scored = [synaptic_scores(load_result(path), **options)]
    with load_result(path, "filter_sweep", lazy=True) as lazy: scored.append(synaptic_scores(lazy, **options))
    assert alike(*scored)
    for k in scores.data_vars: np.testing.assert_array_equal(scored[0][k], scores[k])
    one = synaptic_scores(result.isel(init=1, epoch=2), **options)
    for k in one.data_vars: np.testing.assert_array_equal(one[k], scores[k].isel(init=1, epoch=2))
    assert average_inits(scores).score.dims == ("kind", "layer", "filter", "epoch")


@pytest.mark.quick
def test_intervals_of_a_landscape_are_those_of_a_plain_loop(landscape):
    "Draw by draw, image by image, for one layer and filter of one snapshot."
    one = landscape[0].isel(init=0, epoch=1)
    w, n = area_weights(one.sizes["threshold"]), one.sizes["sample"]
    area = np.einsum("at,a->t", one.correct.isel(stress=0, layer=1, filter=0).values, w)
    flat, ref = 1 - one.removed.isel(layer=1, filter=0).values/90 @ w, one.reference_correct.isel(stress=0).values
    rng = np.random.default_rng([3, n])
    counts = np.concatenate([rng.multinomial(n, np.full(n, 1/n), size=k) for k in (100, 20)])
    draws = [(c*area).sum()/(c*ref).sum() - flat for c in counts]
    scores = synaptic_scores(landscape[0], n_boot=120, seed=3).isel(init=0, epoch=1, layer=1, filter=0, kind=0)
    np.testing.assert_allclose([scores.score, scores.low, scores.high],
                               [area.sum()/ref.sum() - flat, *np.percentile(draws, [2.5, 97.5])], atol=1e-12)


def peak_of(f, *args, **options):
    "The most bytes of arrays that a call held at once, and what it gave."
    tracemalloc.start()
    try:
        found = f(*args, **options)
        return tracemalloc.get_traced_memory()[1], found
    finally: tracemalloc.stop()


@pytest.mark.parametrize("baseline", ["published", "random"])
def test_scoring_takes_less_room_than_the_answers(tmp_path, baseline):
    "Read from the file. Whole, their products alone took eight times the room of the answers."
    result = made_up(n=1500, layers=8, inits=3, epochs=4, thresholds=15)
    room, path = result.correct.nbytes + result.control_correct.nbytes, save_result(result, tmp_path/"result.nc")
    with load_result(path, "filter_sweep", lazy=True) as lazy:
        peak, _ = peak_of(synaptic_scores, lazy, baseline=baseline, n_boot=100)
    assert peak < room


def test_a_difference_of_scores_is_that_of_the_files(landscape, tmp_path):
    a, b = landscape[0].isel(init=0, epoch=0), landscape[0].isel(init=1, epoch=0)
    path = save_result(b, tmp_path/"b.nc")
    with load_result(path, lazy=True) as lazy:
        assert alike(score_differences(a, lazy, n_boot=100), score_differences(a, load_result(path), n_boot=100))


@pytest.mark.quick
@pytest.mark.parametrize("shape, size, chunk", [
    ((3, 10, 2, 54, 3, 25, 10_000), 1, (1, 1, 1, 1, 3, 25, 10_000)), ((2, 3), 8, (2, 3)), ((5, 2**20), 8, (1, 2**17)),
    ((4, 2**19), 1, (2, 2**19)), ((0, 7), 1, (1, 7))], ids=str)
def test_what_lies_together_in_a_file(shape, size, chunk):
    assert chunk_shape(shape, size) == chunk


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    "Two initialisations of a small network, three snapshots each."
    folders, train = [tmp_path_factory.mktemp(f"init{k}") for k in (0, 1)], load_data("digits", "train", n=100)
    for k, folder in enumerate(folders):
        fit(create_model("cnn3", seed=k), train, epochs=3, snapshots=(1, 2, 3), folder=folder, seed=k, progress=False)
    return [list_snapshots(folder) for folder in folders]


@pytest.mark.parametrize("options", [dict(), dict(control=2, control_nodes=3), dict(tolerance=0.5)],
                         ids=["plain", "control", "tolerance"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "inits"])
def test_a_landscape_in_its_file_is_that_in_memory(snapshots, tmp_path, several, options):
    "With `tolerance` no answers of single images are there to be written."
    data, of = load_data("digits", n=80), snapshots if several else snapshots[0]
    options = dict(thresholds=5, layers=["conv1"], device="cpu", progress=False) | options
    model, path = create_model("cnn3"), tmp_path/"landscape.nc"
    whole = filter_landscape(model, of, data, **options)
    with filter_landscape(model, of, data, out=path, **options) as found: assert alike(found.load(), whole)
    assert alike(load_result(path, "filter_sweep"), whole) and os.listdir(tmp_path) == ["landscape.nc"]


def test_a_landscape_holds_one_snapshot_at_a_time(snapshots, tmp_path):
    data = load_data("digits", n=300)
    options = dict(thresholds=80, layers=["conv1", "conv2"], filters=["high_pass"], device="cpu", progress=False)
    peak, found = peak_of(filter_landscape, create_model("cnn3"), snapshots, data, out=tmp_path/"a.nc", **options)
    with found: each = found.correct.nbytes//6
    held, _ = peak_of(filter_landscape, create_model("cnn3"), snapshots, data, **options)
    assert held - peak > 3*each


def test_a_landscape_that_fails_leaves_no_file(snapshots, tmp_path):
    broken = {1: snapshots[0][1], 2: tmp_path/"none.pt"}
    with pytest.raises(FileNotFoundError):
        filter_landscape(create_model("cnn3"), broken, load_data("digits", n=20), out=tmp_path/"a.nc", thresholds=3,
                         device="cpu", progress=False)
    assert not os.listdir(tmp_path)
