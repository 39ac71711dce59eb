"Filters, baseline, scores, intervals, sweeps and attacks against slow twins and libraries that users trust."
import copy

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from fragility_nb.models.activations import find_layers
from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.core.results import provenance
from fragility_nb.stress.filters import FILTERS, baseline, plan_filter
from fragility_nb.models.answers import predict
from fragility_nb.measure.fractions import smallest_fraction
from fragility_nb.measure.scores import interval, resampled_means, synaptic_scores
from fragility_nb.measure.severity import stress_summary
from fragility_nb.measure.sweeps import filter_sweep


def twin_filter(theta, name, thresholds):
    "METHODS' table of filters, one weight at a time, in Python floats."
    theta = [float(w) for w in theta]
    low, high = (0., max(map(abs, theta))) if name == "magnitude" else (min(theta), max(theta))
    step = (high - low) / (thresholds - 1)
    alphas = [low + i * step for i in range(thresholds - 1)] + [high]
    if name == "low_pass": alphas = alphas[::-1]
    keep = {"high_pass": lambda w, a: w > a, "low_pass": lambda w, a: w < a,
            "pulse": lambda w, a: not (a - step / 2 <= w < a + step / 2), "magnitude": lambda w, a: abs(w) > a}[name]
    return alphas, [[keep(w, a) for w in theta] for a in alphas]


weights = st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=60).filter(lambda w: max(w) - min(w) > 1e-3)


@settings(max_examples=60, deadline=None)
@given(weights, st.sampled_from(list(FILTERS)), st.integers(2, 30))
def test_filters_and_baseline_equal_the_twin(w, name, thresholds):
    plan = plan_filter(torch.tensor(w), name, thresholds)
    alphas, kept = twin_filter(w, name, thresholds)
    np.testing.assert_allclose(plan.alpha, alphas, rtol=1e-9, atol=1e-12)
    step = plan.step
    edges = [alphas] if name != "pulse" else [np.array(alphas) - step / 2, np.array(alphas) + step / 2]
    near = min(np.abs(np.subtract.outer(np.array(w), e)).min() for e in edges) if name == "pulse" else 1
    if near < 1e-9: return  # a weight on the edge of a pulse, up to rounding
    for i in range(thresholds):
        swept = np.abs(w) if name == "magnitude" else np.array(w)
        if name != "pulse" and 0 < i < thresholds - 1 and np.abs(swept - alphas[i]).min() < 1e-9: continue
        filtered = plan.filtered(i)[0].numpy()
        np.testing.assert_array_equal(filtered, np.where(kept[i], np.float32(w), 0))
        assert plan.removed[i] == len(w) - sum(kept[i])
        assert baseline(plan.removed, len(w))[i] == pytest.approx(sum(kept[i]) / len(w))


@given(weights, st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_ends_of_the_sweep(w, thresholds):
    theta = torch.tensor(w)
    high, low, pulse = (plan_filter(theta, f, thresholds) for f in ("high_pass", "low_pass", "pulse"))
    magnitude = plan_filter(theta, "magnitude", thresholds)
    assert magnitude.removed[0] == (theta == 0).sum() and magnitude.removed[-1] == len(w)
    assert high.removed[0] == (theta == theta.min()).sum() and low.removed[0] == (theta == theta.max()).sum()
    assert high.removed[-1] == low.removed[-1] == len(w)
    assert pulse.removed.sum() == len(w)
    assert (np.diff(high.removed) >= 0).all() and (np.diff(low.removed) >= 0).all()


def twin_sweep(model, data, x, layer, name, thresholds):
    "The plain loop: copy the network, filter one layer in NumPy, run it whole, count."
    w = layer.weight.numpy()
    _, kept = twin_filter(w.ravel(), name, thresholds)
    counts = []
    for mask in kept:
        net = copy.deepcopy(model).eval()
        net.get_submodule(layer.path).weight.data = torch.from_numpy(w * np.array(mask).reshape(w.shape))
        with torch.no_grad(): counts.append(int((net(x).argmax(1) == data.labels).sum()))
    return counts


def test_sweep_and_scores_equal_the_twin(trained, digits):
    data = digits.take(range(0, 544, 4))
    attack, A = FGSM(0.08), 9
    result = filter_sweep(trained, data, attack=attack, attack_mode="fixed", thresholds=A, progress=False,
                          filters=list(FILTERS))
    x = data.batch(0, len(data))
    g = x.clone().requires_grad_()
    F.cross_entropy(trained(g), data.labels, reduction="sum").backward()
    trained.zero_grad(set_to_none=True)
    x_eps = (x + 0.08 * g.grad.sign()).clamp(0, 1)
    scores = synaptic_scores(result, rule="trapezoid")
    area = lambda y: sum((y[i] + y[i + 1]) / 2 / (A - 1) for i in range(A - 1))
    for layer in find_layers(trained):
        each = {kind: [] for kind in scores.kind.values}
        for name in FILTERS:
            clean, attacked = (twin_sweep(trained, data, images, layer, name, A) for images in (x, x_eps))
            right = result.correct.sel(layer=layer.name, filter=name).sum("sample")
            np.testing.assert_array_equal(right.sel(stress="clean"), clean)
            np.testing.assert_array_equal(right.sel(stress="adversarial"), attacked)
            with torch.no_grad(): p, p_eps = (int((trained(i).argmax(1) == data.labels).sum()) for i in (x, x_eps))
            kept = twin_filter(layer.weight.numpy().ravel(), name, A)[1]
            hat = [sum(k) / layer.weights for k in kept]
            bar, bar_eps = [c / p for c in clean], [c / p_eps for c in attacked]
            each["clean"].append(area(bar) - area(hat))
            each["adversarial"].append(area(bar_eps) - area(hat))
            each["difference"].append(area(bar_eps) - area(bar))
        for kind, values in each.items():
            got = scores.score.sel(kind=kind, layer=layer.name)
            np.testing.assert_allclose(got.sel(filter=list(FILTERS)), values, atol=1e-12)
            assert float(got.sel(filter="combined")) == pytest.approx(np.mean(values[:3]), abs=1e-12) # not magnitude


def test_smallest_fraction_equals_the_twin(trained, digits):
    result = filter_sweep(trained, digits.take(range(0, 544, 4)), thresholds=9, progress=False)
    got = smallest_fraction(result, 0.8)
    for layer in result.layer.values:
        for name in result.filter.values:
            one = result.sel(layer=layer, filter=name, stress="clean")
            ok = [1 - int(r) / int(one.weights) for r, a in zip(one.removed, one.accuracy)
                  if float(a) / float(one.reference_accuracy) >= 0.8]
            assert float(got.sel(layer=layer, filter=name, stress="clean")) == pytest.approx(min(ok, default=1.))


def test_interval_equals_a_plain_bootstrap():
    "One score of one layer, resampled image by image."
    rng = np.random.default_rng(3)
    n, A = 80, 5
    ref = rng.random(n) < 0.8
    correct = (rng.random((A, n)) < np.linspace(1, 0.1, A)[:, None]) & ref
    removed = np.array([0, 10, 30, 60, 100])
    dims = ("stress", "layer", "filter", "threshold", "sample")
    ds = xr.Dataset(dict(correct=(dims, correct[None, None, None]),
                         accuracy=(dims[:-1], correct.mean(-1)[None, None, None]),
                         removed=(dims[1:4], removed[None, None]), weights=("layer", [100]),
                         reference_correct=(("stress", "sample"), ref[None]),
                         reference_accuracy=("stress", [ref.mean()])),
                    coords=dict(stress=["clean"], layer=["conv1"], filter=["high_pass"],
                                threshold=np.linspace(0, 1, A)), attrs=provenance("filter_sweep"))
    got = synaptic_scores(ds, n_boot=4000).sel(kind="clean", layer="conv1", filter="high_pass")
    draws = []
    for _ in range(4000):
        rows = rng.integers(0, n, n)
        y = correct[:, rows].mean(1) / ref[rows].mean() - (1 - removed / 100)
        draws.append(np.trapezoid(y, dx=1 / (A - 1)))
    low, high = np.percentile(draws, [2.5, 97.5])
    spread = high - low
    assert float(got.low) == pytest.approx(low, abs=0.08 * spread)
    assert float(got.high) == pytest.approx(high, abs=0.08 * spread)


@pytest.mark.parametrize("n,p", [(100, 0.9), (200, 0.5), (544, 0.97)])
def test_intervals_cover_the_truth(n, p):
    "A ratio of accuracies, as in a score: nominal 95 % intervals hold the true value in at least 92 % of 400 repeats."
    rng = np.random.default_rng(0)
    keep, hits = 0.7, 0  # a filtered copy keeps each right answer with this probability
    for i in range(400):
        ref = rng.random(n) < p
        right = ref & (rng.random(n) < keep)
        means = resampled_means(np.stack([right, ref], 1), 400, seed=i)
        low, high = interval(means[:, 0] / means[:, 1])
        hits += low <= keep <= high
    assert 0.92 <= hits / 400 <= 0.99


def test_stress_summary_is_the_mean_and_its_area(stress_result):
    got = stress_summary(stress_result)
    for s in stress_result.stress.values:
        p = [np.mean([stress_result.correct.sel(stress=s, severity=v, seed=k).values.mean()
                      for k in stress_result.seed.values])
             for v in stress_result.severity.values]
        np.testing.assert_allclose(got.accuracy.sel(stress=s), p, atol=1e-12)
        x = stress_result.severity.values
        assert float(got.auc.sel(stress=s)) == pytest.approx(np.trapezoid(p, x) / x[-1])
    assert (got.low <= got.accuracy).all() and (got.accuracy <= got.high).all()


def test_fgsm_and_pgd_equal_torchattacks_and_foolbox(trained, digits):
    data, eps = digits.take(range(200)), 0.07
    x, y = data.batch(0, 200), data.labels
    ours = attack_images(trained, data, FGSM(eps), device="cpu")
    theirs = torchattacks.FGSM(trained, eps=eps)(x, y)
    differ = (ours - theirs).abs() > 1e-6  # only where the gradient is zero up to rounding
    assert differ.float().mean() < 1e-4
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    _, fool, _ = foolbox.attacks.FGSM()(wrapped, x, y, epsilons=eps)
    assert ((ours - fool).abs() > 1e-6).float().mean() < 1e-4
    accuracy = lambda z: (predict(trained, z).argmax(1) == y).sum().item()
    pgd = attack_images(trained, data, PGD(eps, steps=10, step_size=0.25), device="cpu")
    theirs = torchattacks.PGD(trained, eps=eps, alpha=0.25 * eps, steps=10, random_start=False)(x, y)
    assert abs(accuracy(pgd) - accuracy(theirs)) <= 1


def test_the_found_epsilon_halves_the_accuracy(trained, digits):
    found = find_epsilon(trained, digits, progress=False)
    x = torchattacks.FGSM(trained, eps=float(found.epsilon))(digits.batch(0, len(digits)), digits.labels)
    count = (predict(trained, x).argmax(1) == digits.labels).sum().item()
    assert abs(count - 0.5 * float(found.clean_accuracy) * len(digits)) <= 1.5
