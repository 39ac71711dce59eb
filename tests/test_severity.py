"Summaries of stress sweeps against plain twins, published numbers and coverage by simulation."
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.stats import CensoredData, ecdf

from fragility_nb.core.results import load_result, provenance, save_result
from fragility_nb.measure.severity import ALEXNET, ALEXNET_CLEAN, calibration, corruption_error, worst_class
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.stress.corruptions import STRESSORS, common_corruptions
from fragility_nb.stress.stressors import stress_id
from fragility_nb.measure.severity import corruption_scores, flip_rate, kaplan_meier, minimal_summary, stress_summary

# CE, Geirhos et al. 2019
RESNET50 = (79.8, 81.6, 82.6, 74.7, 88.6, 78.0, 79.9, 77.8, 74.8, 66.1, 56.6, 71.4, 84.8, 76.9, 76.8)


def sweep(p, n=2000, k=10, seed=0, names=None, data_hash="d"):
    "A stress sweep with accuracies about p (stress, severity), two seeds, and confidences that tell the truth."
    rng, p = np.random.default_rng(seed), np.asarray(p)
    shape = (*p.shape, 2, n)
    confidence = np.clip(rng.normal(p[..., None, None], 0.1, shape), 0.11, 0.99).astype("float32")
    correct = rng.random(shape) < confidence
    label = rng.integers(k, size=n)
    pred = np.where(correct, label, (label + rng.integers(1, k, shape)) % k)
    names = names or [f"s{i}" for i in range(len(p))]
    dims = ("stress", "severity", "seed", "sample")
    fields = {key: (dims, v) for key, v in dict(pred=pred, correct=correct, confidence=confidence).items()}
    coords = dict(stress=names, severity=np.arange(p.shape[1], dtype=float), seed=[0, 1], sample=np.arange(n),
                  strength=(("stress", "severity"),
                            np.outer(np.arange(1, len(p) + 1), np.arange(p.shape[1])).astype(float)),
                  strength_unit=("stress", ["x"] * len(p)), label=("sample", label))
    return xr.Dataset(fields, coords, provenance("stress_sweep", model="m", num_classes=k, data="d",
                                                 data_hash=data_hash))


# provenance of a sweep under ImageNet-C
IMAGENET_C = dict(stressors="; ".join(map(stress_id, common_corruptions("imagenet"))), image_size="224×224")


def test_resnet50_has_its_published_mce():
    error = np.array(RESNET50)/100*np.array(list(ALEXNET.values()))
    got = corruption_scores(error, 0.2385, list(ALEXNET.values()), ALEXNET_CLEAN)
    assert round(float(got["mce"]), 1) == 76.7 and float(got["relative_mce"]) == pytest.approx(105.0, abs=0.1)
    np.testing.assert_allclose(got["ce"], RESNET50)


def test_mce_of_a_sweep_is_the_plain_sum():
    p = np.tile([0.8, 0.7, 0.6, 0.5, 0.4, 0.3], (15, 1)) - np.linspace(0, 0.1, 15)[:, None]
    names = ["gaussian_noise_c", *list(ALEXNET)[1:]]
    result = sweep(p, 400, names=names).assign_attrs(IMAGENET_C)
    got = corruption_error(result, "alexnet")
    wrong = ~result.correct.values
    ce = [100*np.mean([wrong[c, s].mean() for s in range(1, 6)])/a for c, a in enumerate(ALEXNET.values())]
    assert float(got.mce) == pytest.approx(np.mean(ce)) and float(got.mce_low) < float(got.mce) < float(got.mce_high)
    np.testing.assert_allclose(got.ce, ce)
    shuffled = corruption_error(result.isel(stress=np.random.default_rng(0).permutation(15)), "alexnet")
    assert float(shuffled.mce) == pytest.approx(float(got.mce))
    assert float(corruption_error(result).mean_error) == pytest.approx(wrong[:, 1:].mean())
    with pytest.raises(ValueError, match="lacks jpeg"): corruption_error(result.isel(stress=slice(14)), "alexnet")
    with pytest.raises(ValueError, match="images differ"):
        corruption_error(result, sweep(p, 400, names=names, data_hash="other"))


@pytest.mark.parametrize("constants, size, told", [
    ("cifar", "32×32", "of 32×32 pixels and constants 'cifar' for gaussian_noise, .*jpeg"), ("tiny", "64×64", "'tiny'"),
    ("imagenet", "32×32", "200 to 320 pixels.*got images of 32×32"), ("imagenet", "512×400", "images of 512×400"),
    ("imagenet", None, "images of unknown"), (None, "224×224", "constants 'unknown'"), ("imagenet", "224×224", None),
    ("imagenet", "299×299", None)])
def test_alexnets_errors_are_for_imagenet_c_only(constants, size, told):
    result = sweep(np.full((15, 6), 0.5), 60, names=["gaussian_noise_c", *list(ALEXNET)[1:]])
    if constants: result.attrs["stressors"] = "; ".join(map(stress_id, common_corruptions(constants)))
    if size: result.attrs["image_size"] = size
    if told is None: assert corruption_error(result, "alexnet").mce > 0
    else:
        with pytest.raises(ValueError, match=told): corruption_error(result, "alexnet")


def test_a_sweep_of_small_images_has_no_mce():
    "What a sweep records is what the check reads: one constant that differs is found."
    x = np.random.default_rng(0).random((4, 3, 20, 20)).astype("float32")
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 3))
    for corruptions, told in ((common_corruptions(), "'cifar'"), (common_corruptions("imagenet"), "20×20"),
                              ([STRESSORS["gaussian_noise_c"]("tiny"), *common_corruptions("imagenet")[1:]],
                               "'tiny' for gaussian_noise[.]")):
        result = stress_sweep(model, (x, [0, 1, 2, 0]), corruptions, (0, 1), progress=False, device="cpu")
        with pytest.raises(ValueError, match=told): corruption_error(result, "alexnet", severities=[1])


def test_the_interval_of_the_mean_error_covers_it():
    p, hits = np.array([[0.9, 0.7, 0.5]]), 0
    for seed in range(100):
        r = sweep(p, 150, seed=seed)
        e = corruption_error(r, severities=(1, 2), n_boot=300, seed=seed)
        hits += float(e.mean_error_low) <= 0.4 <= float(e.mean_error_high)
    assert 0.87 <= hits/100 <= 1


def test_half_of_the_accuracy():
    p = np.array([[0.9, 0.7, 0.4, 0.2], [0.9, 0.8, 0.8, 0.7]])
    s = stress_summary(sweep(p))
    a = s.accuracy.values[0]
    assert float(s.half_severity[0]) == pytest.approx(1 + (a[1] - a[0]/2)/(a[1] - a[2]))
    assert np.isinf(s.half_severity[1]) and np.isinf(s.half_strength_high[1]) and np.isinf(s.half_strength_low[1])
    assert float(s.half_severity_low[0]) < float(s.half_severity[0]) < float(s.half_severity_high[0])
    close = stress_summary(sweep([[0.9, 0.46]], 200))  # may or may not have lost half
    assert np.isinf(close.half_severity_high[0])


def test_flips_are_counted_one_by_one():
    r = sweep([[0.9, 0.5, 0.2]], 50)
    flips = [np.mean([r.pred.values[0, v, k, i] != r.pred.values[0, 0, k, i] for k in range(2) for i in range(50)])
             for v in range(3)]
    np.testing.assert_allclose(flip_rate(r).flips[0], flips)


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_ece_equals_the_twin(bins):
    r = sweep([[0.9, 0.6], [0.8, 0.3]], 300)
    r["confidence"][0, 0, 0, :4] = [1., 1/bins, 0.5, 0.25]  # on edges
    c = calibration(r, bins)
    for i, j in np.ndindex(2, 2):
        conf, hit, total = r.confidence.values[i, j].ravel().astype(float), r.correct.values[i, j].ravel(), 0.
        for b in range(bins):
            inside = [k for k in range(600) if b/bins < conf[k] <= (b + 1)/bins or (b == 0 and conf[k] == 0)]
            if inside: total += len(inside)/600*abs(np.mean(conf[inside]) - np.mean(hit[inside]))
        assert float(c.ece[i, j]) == pytest.approx(total, abs=1e-6)
    assert (c["count"].sum("bin") == 600).all()


def test_a_network_that_knows_itself_is_calibrated():
    true, boast = sweep([[0.7, 0.7]], 20000), sweep([[0.7, 0.7]], 20000)
    boast["confidence"] = np.clip(boast.confidence + 0.2, 0, 1)
    assert float(calibration(true).ece.max()) < 0.02 and float(calibration(boast).gap.min()) > 0.15


def test_likelihood_and_calibration_are_those_of_the_logits():
    "From the network's own logits, image by image, in plain NumPy: −ln p of the true class; confidence in 15 bins."
    x, y = np.random.default_rng(0).random((60, 1, 6, 6)).astype("float32"), np.arange(60) % 4
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4))
    model[1].weight.data.mul_(8)
    c = calibration(stress_sweep(model, (x, y), [lambda v, s, streams: v*(1 - s/4)], (0, 1, 2), progress=False))
    weight, bias = (t.detach().double().numpy() for t in (model[1].weight, model[1].bias))
    for k in range(3):
        z = (x.astype(float)*(1 - k/4)).reshape(60, -1) @ weight.T + bias
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        assert float(c.nll[0, k]) == pytest.approx(np.mean([-np.log(p[i, y[i]]) for i in range(60)]), rel=1e-5)
        assert float(c.nll_low[0, k]) < float(c.nll[0, k]) < float(c.nll_high[0, k])
        bins = [[i for i in range(60) if b/15 < p[i].max() <= (b + 1)/15] for b in range(15)]
        ece = sum(abs(sum(p[i].max() - (p[i].argmax() == y[i]) for i in b)) for b in bins)/60
        assert float(c.ece[0, k]) == pytest.approx(ece, rel=1e-4)


def class_means(label, hit, times):
    "The accuracy of each class that is there, each image so many times."
    return [sum(hit*times*(label == k))/sum(times[label == k]) for k in np.unique(label) if times[label == k].any()]


def test_the_worst_class_is_found_class_by_class():
    r = sweep([[0.9, 0.6], [0.8, 0.3]], 90, k=4).isel(sample=slice(80))
    r["label"] = "sample", np.where(np.arange(80) < 5, 7, np.arange(80) % 3)  # classes without images; a rare one
    w = worst_class(r, n_boot=200, seed=3)
    assert w.label.values.tolist() == [0, 1, 2, 7]
    assert w.n.values.tolist() == [np.sum(r.label == k) for k in (0, 1, 2, 7)]
    rng = np.random.default_rng([3, 80])
    counts = np.concatenate([rng.multinomial(80, np.full(80, 1/80), size=100) for _ in range(2)])
    for i, j in np.ndindex(2, 2):
        hit = r.correct.values[i, j].mean(0)
        one = class_means(r.label.values, hit, np.ones(80))
        np.testing.assert_allclose(w.class_accuracy[i, j], one)
        assert float(w.worst_class[i, j]) == pytest.approx(min(one))
        assert int(w.worst_label[i, j]) == (0, 1, 2, 7)[np.argmin(one)]
        drawn = [min(class_means(r.label.values, hit, n)) for n in counts]
        ends = [w.worst_class_low[i, j], w.worst_class_high[i, j]]
        np.testing.assert_allclose(ends, np.percentile(drawn, [2.5, 97.5]))


def test_a_summary_has_them_beside_accuracy():
    r = sweep([[0.9, 0.6], [0.8, 0.3]], 200)
    s, c, w = stress_summary(r, n_boot=100), calibration(r, n_boot=100), worst_class(r, n_boot=100)
    for end in ("", "_low", "_high"):
        np.testing.assert_array_equal(s[f"ece{end}"], c[f"ece{end}"])
        np.testing.assert_array_equal(s[f"worst_class{end}"], w[f"worst_class{end}"])
    assert "nll" not in s, "the losses are not in this result"


def minimal(value, censored, start=None):
    n, dims = len(value), "sample"
    start = np.zeros(n, bool) if start is None else start
    fields = dict(mean_change=(dims, value), epsilon=(dims, value), l2_change=(dims, value), censored=(dims, censored),
                  already_wrong=(dims, start))
    return xr.Dataset(fields, attrs=provenance("minimal_perturbation"))


def test_survival_equals_scipys():
    rng = np.random.default_rng(1)
    for _ in range(30):
        v, c = rng.exponential(size=40).round(1), rng.random(40) < 0.4
        sf, got = ecdf(CensoredData.right_censored(v, c)).sf, minimal_summary(minimal(v, c), n_boot=100)
        below = sf.quantiles[sf.probabilities <= 0.5 + 1e-12]
        assert float(got.median_change) == (below[0] if len(below) else np.inf)
        at, p = np.concatenate([[0], sf.quantiles]), np.concatenate([[1], sf.probabilities])
        assert float(got.mean_change) == pytest.approx((p[:-1]*np.diff(at)).sum())


def test_weights_are_repetitions():
    rng = np.random.default_rng(2)
    v, c = np.sort(rng.exponential(size=20)), rng.random(20) < 0.3
    w = rng.multinomial(20, np.full(20, 0.05))
    a, b = kaplan_meier(v, c, w[None]), kaplan_meier(np.repeat(v, w), np.repeat(c, w), np.ones((1, 20)))
    for k in a: np.testing.assert_allclose(a[k], b[k])


def test_the_median_is_covered_despite_the_cap():
    rng, hits = np.random.default_rng(3), 0
    for seed in range(200):
        v = rng.exponential(size=100)
        s = minimal_summary(minimal(np.minimum(v, 0.9), v > 0.9), n_boot=300, seed=seed)
        hits += float(s.median_change_low) <= np.log(2) <= float(s.median_change_high)
    assert 0.9 <= hits/200 <= 0.99


def test_already_wrong_images_are_no_small_changes():
    s = minimal_summary(minimal(np.array([0., 0., 1., 2., 3.]), np.zeros(5, bool),
                                np.array([True, True, False, False, False])), n_boot=100)
    assert float(s.mean_change) == 2 and int(s.already_wrong) == 2 and int(s.n) == 5
    with pytest.raises(ValueError, match="all are wrong"):
        minimal_summary(minimal(np.zeros(3), np.zeros(3, bool), np.ones(3, bool)))


def test_results_survive_the_disk(tmp_path):
    r = sweep([[0.9, 0.5], [0.9, 0.8]], 60)
    for name, s in dict(summary=stress_summary(r), error=corruption_error(r, severities=(1,)),
                        calibration=calibration(r), flips=flip_rate(r)).items():
        xr.testing.assert_identical(load_result(save_result(s, tmp_path/f"{name}.nc")), s)
