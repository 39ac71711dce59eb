"""Filter sweeps over much data, with fewer images, and over snapshots: bounded, honest, resumable."""
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pytest
from kills import Stop

from fragility_nb.stress.attacks import FGSM
from fragility_nb.core.results import provenance
from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
from fragility_nb.measure.scores import area_weights, average_inits, synaptic_scores
from fragility_nb.measure.sequential import count_pairs, look_slices, ratio_interval
from fragility_nb.measure.sweeps import filter_landscape, filter_sweep
from fragility_nb.models.training import fit
from fragility_nb.models.resume import list_snapshots

QUICK = dict(layers=["conv1", "conv3"], filters=["high_pass", "pulse"], thresholds=5, device="cpu", progress=False)


@pytest.fixture(scope="module")
def digits(): return load_data("digits", n=250)


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    "Two initialisations of a small network, three snapshots each; and the last network."
    folders, train = [], load_data("digits", "train", n=400)
    for seed in (0, 1):
        folders.append(tmp_path_factory.mktemp(f"init{seed}"))
        model = create_model("cnn4", seed=seed)
        fit(model, train, epochs=6, snapshots=(2, 4, 6), folder=folders[-1], seed=seed, progress=False)
    return [list_snapshots(f) for f in folders], model


@pytest.mark.parametrize("bn_mode", ["running", "batch"])
@pytest.mark.parametrize("attack_mode", ["fixed", "adaptive"])
def test_chunks_change_nothing(snapshots, digits, bn_mode, attack_mode, monkeypatch):
    model, rows, batch = snapshots[1], [], ImageData.batch
    def recorded(data, start, stop):
        rows.append(min(stop, len(data)) - start)
        return batch(data, start, stop)
    options = QUICK | dict(attack=FGSM(0.05), bn_mode=bn_mode, attack_mode=attack_mode, batch_size=30)
    whole = filter_sweep(model, digits, **options)
    monkeypatch.setattr(ImageData, "batch", recorded)
    parts = filter_sweep(model, digits, memory="100kB", **options)
    assert (whole.correct == parts.correct).all()
    assert max(rows) <= 100 and len(rows) > 5 # no more images at once than a quarter of the memory has room for


def test_memory_bound_of_a_sweep():
    "4,000 images take 98 MB as floats, clean and attacked; the sweep may take 32 MiB."
    done = subprocess.run([sys.executable, "-c", textwrap.dedent("""
        import resource
        import threading
        import time
        import warnings
        import torch
        from fragility_nb.stress.attacks import FGSM
        from fragility_nb.data.images import ImageData
        from fragility_nb.models.create import create_model
        from fragility_nb.measure.sweeps import filter_sweep
        torch.set_num_threads(1)
        now = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
        x = torch.randint(0, 256, (4000, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        data = ImageData(x, torch.arange(4000) % 10, tuple("0123456789"))
        model = create_model("cnn2", in_chans=3, image_size=32)
        options = dict(filters="high_pass", thresholds=2, layers="linear", device="cpu", progress=False)
        sweep = lambda d: filter_sweep(model, d, attack=FGSM(0.02), memory="32MiB", **options)
        warnings.simplefilter("ignore")
        data.hash # read once, before the memory is watched
        sweep(data.take(range(300)))
        most, start, going = 0, now(), True
        def watch():
            global most
            while going:
                most = max(most, now() - start)
                time.sleep(0.001)
        watcher = threading.Thread(target=watch)
        watcher.start()
        sweep(data)
        going = False
        watcher.join()
        print(most)
        """)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) <= 32 * 2**20, f"{int(done.stdout) / 2**20:.0f} MiB"


# Fewer images

@pytest.mark.parametrize("right, agree", [(0.9, 0.99), (0.9, 0.7), (0.5, 0.8), (0.15, 0.9), (1., 1.)])
def test_coverage_at_every_look(right, agree):
    "The truth is outside at some look in at most 5 of 100 samples."
    rng, n, runs = np.random.default_rng(7), 1000, 300
    x = rng.random((runs, n)) < right
    y = np.where(rng.random((runs, n)) < agree, x, rng.random((runs, n)) < 0.3)
    truth = (agree*right + (1 - agree)*0.3) / right
    wrong, widths = np.zeros(runs, bool), []
    for s in look_slices(n):
        low, high = ratio_interval(count_pairs(y[:, :s.stop], x[:, :s.stop]), most=n)
        wrong |= (low > truth + 1e-12) | (high < truth - 1e-12)
        widths.append(np.median(high - low))
    assert wrong.mean() <= 0.05 and (np.diff(widths) < 0).all()


@pytest.mark.parametrize("tolerance", [0.1, 0.3])
def test_scores_that_stopped_early_cover_the_truth(tolerance):
    "Whole sweeps stopped early, all thresholds on the same images: the score's interval holds the true score."
    rng, n, A, hits, runs = np.random.default_rng(3), 2000, 5, 0, 20
    p = np.linspace(1, 0, A)**2 # share of the right images that stay right
    truth = area_weights(A) @ p - area_weights(A) @ np.linspace(1, 0, A)
    for _ in range(runs):
        x, u = rng.random(n) < 0.8, rng.random(n)
        y = (u < p[:, None]) & x # nested: what survives a strong filter survives a weak one
        pairs, used, active = np.zeros((A, 4), int), np.zeros(A, int), np.arange(A)
        for s in look_slices(n):
            pairs[active] += count_pairs(y[active, s], x[s])
            used[active] = s.stop
            low, high = ratio_interval(pairs[active], most=n)
            active = active[high - low >= tolerance]
            if not len(active): break
        low, high = (v[None, None, None] for v in ratio_interval(pairs, most=n))
        s = synaptic_scores(_result(pairs, low, high, x, A))
        hits += int(s.low[0, 0, 0] <= truth <= s.high[0, 0, 0])
        assert used.min() < n
    assert hits >= 0.95 * runs


def _result(pairs, low, high, x, A):
    "A sweep with tolerance of one layer and one filter."
    import xarray as xr
    dims, p0 = ("stress", "layer", "filter", "threshold"), x.mean()
    accuracy = (pairs[:, :2].sum(-1) / pairs[:, [0, 2]].sum(-1) * p0)[None, None, None]
    return xr.Dataset(dict(accuracy=(dims, accuracy), relative_low=(dims, low), relative_high=(dims, high),
                           removed=(dims[1:], np.linspace(0, 100, A)[None, None]), weights=("layer", [100]),
                           reference_correct=(("stress", "sample"), x[None]), reference_accuracy=("stress", [p0])),
                      coords=dict(stress=["clean"], layer=["a"], filter=["high_pass"], threshold=np.linspace(0, 1, A)),
                      attrs=provenance("filter_sweep", num_classes=10, interval_ci=0.95))


def test_sweep_with_tolerance(snapshots, digits):
    model, n = snapshots[1], len(digits)
    options = QUICK | dict(attack=FGSM(0.02), thresholds=9)
    quick, exact = filter_sweep(model, digits, tolerance=0.4, **options), filter_sweep(model, digits, **options)
    again = filter_sweep(model, digits, tolerance=0.4, memory="100kB", **options)
    assert quick.drop_attrs().identical(again.drop_attrs()) and "correct" not in quick
    used, width = quick.n_used.values, (quick.relative_high - quick.relative_low).max("stress").values
    assert ((width < 0.4) | (used == n)).all() and 0 < used.max() and used.mean() < n
    assert ((used == 0) == (quick.removed.values == 0)).all()
    relative = exact.accuracy / exact.reference_accuracy
    assert (quick.relative_low <= relative).all() and (relative <= quick.relative_high).all()
    assert (quick.reference_accuracy == exact.reference_accuracy).all()
    # the estimate, recounted on the same images from the exact sweep
    place = {int(i): k for k, i in enumerate(exact.sample.values)}
    order = [place[int(i)] for i in quick.sample.values]
    for s, la, f, t in ((0, 0, 0, 3), (1, 1, 1, 4), (0, 1, 0, 6)):
        k = used[la, f, t] or n
        y, x = exact.correct.values[s, la, f, t][order][:k], exact.reference_correct.values[s][order][:k]
        want = 1. if quick.removed.values[la, f, t] == 0 else y.sum() / x.sum()
        assert quick.accuracy.values[s, la, f, t] == pytest.approx(want * exact.reference_accuracy.values[s])
    assert order != sorted(order)


def test_tolerance_needs_independent_images(snapshots, digits):
    with pytest.raises(ValueError, match="`tolerance` with bn_mode"):
        filter_sweep(snapshots[1], digits, tolerance=0.1, bn_mode="batch")
    with pytest.raises(ValueError, match="`tolerance` to be a number larger than 0"):
        filter_sweep(snapshots[1], digits, tolerance=0)


# Over snapshots

def test_landscape_is_sweep_by_sweep(snapshots, digits, tmp_path):
    inits, _ = snapshots
    options = QUICK | dict(attack=FGSM(0.03))
    both = filter_landscape(create_model("cnn4"), inits, digits, resume=tmp_path, **options)
    assert both.accuracy.dims == ("init", "epoch", "stress", "layer", "filter",
                                  "threshold") and both.epoch.values.tolist() == [2, 4, 6]
    model = create_model("cnn4", weights=inits[1][4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = filter_sweep(model, digits, **options)
    assert (both.correct.sel(init=1, epoch=4) == one.correct).all() and (both.alpha.sel(init=1, epoch=4)
        == one.alpha).all()
    scores = synaptic_scores(both)
    mean = average_inits(scores)
    assert np.allclose(mean.score, scores.score.mean("init")) and np.allclose(mean.sd,
        scores.score.values.std(scores.score.dims.index("init"), ddof=1))
    with pytest.raises(ValueError, match="Unknown `options`: 'threshold'.*Did you mean 'thresholds'"):
        filter_landscape(model, inits, digits, threshold=3)
    with pytest.raises(TypeError, match="`snapshots` to be a dict"):
        filter_landscape(model, None, digits, thresholds=3)
    with pytest.raises(ValueError, match="at least one epoch"): filter_landscape(model, {}, digits, thresholds=3)


@pytest.mark.parametrize("several", [False, True])
def test_landscape_interrupted(snapshots, digits, several, monkeypatch, tmp_path):
    inits, _ = snapshots
    given, model = inits if several else inits[0], create_model("cnn4")
    whole = filter_landscape(model, given, digits, **QUICK)
    calls = 3 # of the engine for each snapshot: the unfiltered network and two layers
    says = "Interrupted: the result holds 3 of 6" if several else "holds 2 of 3 snapshots"
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match=says):
        Stop(patch, calls*(4 if several else 2) + 1)
        some = filter_landscape(model, given, digits, **QUICK)
    assert some.attrs["incomplete"] == 1 and "incomplete" not in whole.attrs
    want = whole.isel(init=[0]) if several else whole.isel(epoch=[0, 1])
    assert some.sizes == want.sizes and (some.correct == want.correct).all()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, calls*2 + 2) # within the third snapshot, after its first layer
        filter_landscape(model, given, digits, resume=tmp_path, **QUICK)
    with monkeypatch.context() as patch:
        rest = Stop(patch, 100)
        resumed = filter_landscape(model, given, digits, resume=tmp_path, **QUICK)
    assert (resumed.correct == whole.correct).all() and 100 - rest.left == calls*len(inits if several
        else [0])*3 - (calls*2 + 2)


def test_interrupted_sweep(snapshots, digits, monkeypatch, tmp_path):
    model = snapshots[1]
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="holds 1 of 2 layers"):
        Stop(patch, 2)
        assert filter_sweep(model, digits, **QUICK).attrs["incomplete"] == 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, 2)
        filter_sweep(model, digits, resume=tmp_path, **QUICK)
    with monkeypatch.context() as patch:
        rest = Stop(patch, 100)
        filter_sweep(model, digits, resume=tmp_path, **QUICK)
    assert rest.left == 99


def test_one_bar_for_all(snapshots, digits, monkeypatch):
    import fragility_nb.measure.sweeps as sweeps
    bars, made = [], sweeps.sweep_bar
    monkeypatch.setattr(sweeps, "sweep_bar", lambda *a: bars.append(made(*a)) or bars[-1])
    for extra in ({}, dict(tolerance=0.5), dict(memory="100kB")):
        bars.clear()
        filter_landscape(create_model("cnn4"), snapshots[0], digits, **QUICK | extra)
        assert len(bars) == 1 and bars[0].total == 2*3*2*2*5


def test_counts_of_a_bar(snapshots, digits, monkeypatch):
    import fragility_nb.measure.sweeps as sweeps
    class Bar:
        n, steps = 0, []
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def set_description(self, _, refresh=True): pass
        def update(self, k):
            self.n += k
            self.steps.append(k)
    for extra in ({}, dict(tolerance=0.5), dict(memory="100kB")):
        bar = Bar()
        monkeypatch.setattr(sweeps, "sweep_bar", lambda *a, bar=bar: bar)
        filter_sweep(snapshots[1], digits, **QUICK | extra)
        assert bar.n == pytest.approx(20) and min(bar.steps) > -1e-9, extra


def test_a_landscape_says_what_predict_says(snapshots, digits):
    "The unfiltered accuracy of each snapshot, by `predict`."
    inits, _ = snapshots
    result = filter_landscape(create_model("cnn4"), inits[0], digits, **QUICK)
    for epoch, path in inits[0].items():
        logits = predict(create_model("cnn4", weights=path), digits, device="cpu")
        expected = (logits.argmax(1) == digits.labels).double().mean().item()
        assert result.reference_accuracy.sel(epoch=epoch, stress="clean").item() == expected
