"The rest of AIJ's definitions: bounds of ε, words for stress of the input, several ε, what the authors' notebook does."
import copy

import numpy as np
import pytest
import torch
import torchattacks
import xarray as xr
from scipy.stats import beta
from torch import nn

from fragility_nb.data.images import ImageData
from fragility_nb.measure.external import stress_scores
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.sweeps import filter_landscape, filter_sweep
from fragility_nb.measure.targeted import targeted_weights
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.stress.attacks import FGSM, PGD
from fragility_nb.stress.minimal import find_epsilon

QUIET = dict(device="cpu", progress=False)


class Brightness(nn.Module):
    "Class 0 where the image is brighter than ½; class 1 of ten where it is darker."
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        s = self.gain * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([s, -s, *[torch.full_like(s, -9.)]*8], 1)


def bright(margins):
    "Images of class 0 (of ten) that FGSM turns at these ε, by hand."
    x = 0.5 + torch.as_tensor(margins, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2)
    return ImageData(x.contiguous(), torch.zeros(len(x), dtype=torch.long), tuple("0123456789"))


def test_the_largest_epsilon_leaves_an_accuracy_that_is_clearly_above_a_guess():
    """89 of 100 images turn one by one up to ε = .089, the last eleven only at .4: Def. 8 as it stands gives .4.

    By hand: 17 right answers of 100 are clearly above 1/10 (Clopper & Pearson: .102), 16 are not (.094).
    """
    margins = [*np.arange(1, 90)/1000, *[0.4]*11]
    lows = [beta.ppf(0.025, c, 101 - c) for c in (16, 17)]
    assert lows[0] < 1/10 < lows[1]
    found = find_epsilon(Brightness(), bright(margins), bounds=True, **QUIET)
    assert float(found.epsilon_max) == pytest.approx(0.084, abs=2e-4)  # 100 − 83 = 17 right up to the 84th margin
    assert float(found.epsilon_min) == pytest.approx(0.001, abs=2e-4)
    assert float(found.epsilon) < float(found.epsilon_max)


def test_few_images_bound_no_epsilon():
    with pytest.warns(UserWarning, match="not clearly above a random guess"):
        found = find_epsilon(Brightness(), bright([0.1, 0.2, -0.3]*1), bounds=True, **QUIET)
    assert float(found.epsilon_max) == 0


def test_an_attack_that_never_reaches_a_guess_has_the_end_of_the_search():
    with pytest.warns(UserWarning, match="No ε up to"):
        found = find_epsilon(Brightness(), bright([0.4]*100), bounds=True, max_epsilon=0.2, **QUIET)
    assert float(found.epsilon_max) == 0.2


def planted_stress(correct, severities, classes=10):
    "A stress sweep that has these right answers (stress, severity, sample)."
    correct = np.asarray(correct, bool)[:, :, None]
    dims, names = ("stress", "severity", "seed", "sample"), [f"s{i}" for i in range(len(correct))]
    return xr.Dataset(dict(correct=(dims, correct)),
                      dict(stress=names, severity=np.asarray(severities, float), seed=[0],
                           sample=np.arange(correct.shape[-1])), dict(kind="stress_sweep", num_classes=classes))


def test_the_words_for_stress_of_the_input_by_hand():
    """80 of 100 right, then by severity 0, 1, 2, 4 (uneven on purpose):

    kept: p̄ = 1, S = ½; lost at once: p̄ = 1, 0, 0, 0, S = 1/8 − ½; on the baseline: 1, ¾, ½, 0, S = 0.
    """
    curves = dict(kept=(80, 80, 80, 80), lost=(80, 0, 0, 0), line=(80, 60, 40, 0))
    correct = [[np.arange(100) < c for c in curve] for curve in curves.values()]
    s = stress_scores(planted_stress(correct, [0, 1, 2, 4]))
    assert s.score.values == pytest.approx([0.5, 1/8 - 0.5, 0], abs=1e-12)
    assert s.label.values.tolist() == ["antifragile", "fragile", "undecided"]
    assert s.baseline.values.tolist() == [1, 0.75, 0.5, 0]
    assert s.low.values[:2] == pytest.approx(s.score.values[:2])  # the ratio does not vary over images
    wide = stress_scores(planted_stress(correct, [0, 1, 2, 4]), band=0.4)
    assert wide.label.values.tolist() == ["antifragile", "robust", "robust"]


def test_intervals_of_stress_scores_are_paired_with_the_clean_answers():
    "Against a plain loop over draws that takes clean and stressed answers of the same images."
    rng = np.random.default_rng(3)
    correct = rng.random((2, 4, 80)) < np.array([0.9, 0.7, 0.5, 0.3])[:, None]
    correct[:, 0] = correct[0, 0]
    s = stress_scores(planted_stress(correct, [0, 1, 2, 3]), n_boot=4000)
    draws = []
    for _ in range(4000):
        p = correct[:, :, rng.integers(0, 80, 80)].mean(-1)
        p = p / p[:, :1]
        draws.append([sum((q[i] + q[i + 1])/2 for i in range(3))/3 - 0.5 for q in p])
    want = np.percentile(draws, [2.5, 97.5], axis=0)
    assert s.low.values == pytest.approx(want[0], abs=0.012) and s.high.values == pytest.approx(want[1], abs=0.012)


def test_a_guessing_network_has_no_word_under_stress_and_few_images_are_told():
    correct = np.zeros((1, 3, 60), bool)
    correct[..., :6] = True  # 1/10
    s = stress_scores(planted_stress(correct, [0, 1, 2]))
    assert s.label.item() == "undecided" and np.isinf([s.low.item(), s.high.item()]).all()
    with pytest.warns(UserWarning, match="These intervals rest on 40 images"):
        stress_scores(planted_stress(np.ones((1, 3, 40)), [0, 1, 2]))
    with pytest.raises(ValueError, match="two severities"): stress_scores(planted_stress(np.ones((1, 1, 60)), [0]))


EPSILONS = (0.02, 0.1)
SWEEP = dict(layers=["conv1", "conv3"], filters=["high_pass", "pulse"], thresholds=5, **QUIET)


@pytest.fixture(scope="module")
def few(digits): return digits.take(range(120))


@pytest.mark.parametrize("mode", ["adaptive", "fixed"])
def test_a_sweep_at_several_epsilons_is_a_sweep_at_each(trained, few, mode):
    options = SWEEP | dict(attack_mode=mode, control=2, control_nodes=3)
    several = filter_sweep(trained, few, attack=FGSM(), epsilons=EPSILONS, **options)
    assert several.epsilon.values.tolist() == list(EPSILONS)
    assert several.attrs["attack"] == "FGSM(epsilon=0.02); FGSM(epsilon=0.1)"
    scores = {b: synaptic_scores(several, baseline=b) for b in ("published", "random")}
    for e in EPSILONS:
        one, here = filter_sweep(trained, few, attack=FGSM(e), **options), several.sel(epsilon=e)
        assert "epsilon" not in one.coords and set(one.data_vars) == set(several.data_vars)
        for k in one.data_vars: assert np.array_equal(here[k].transpose(*one[k].dims), one[k]), k
        for b, s in scores.items():
            want = synaptic_scores(one, baseline=b)
            for k in ("score", "low", "high"): assert s[k].sel(epsilon=e).values == pytest.approx(want[k].values), k
            assert (s.label.sel(epsilon=e).values == want.label.values).all()
    clean = scores["published"].score.sel(kind="clean")
    assert (clean.isel(epsilon=0) == clean.isel(epsilon=1)).all()


def test_several_epsilons_against_a_plain_loop(trained, few):
    "FGSM by torchattacks on a plain copy whose weights are filtered by hand."
    several = filter_sweep(trained, few, attack=FGSM(), epsilons=EPSILONS, **SWEEP)
    x, y = few.batch(0, len(few)), few.labels
    net = copy.deepcopy(trained).eval()
    w = net.network.conv3.weight
    w.data = torch.where(w > float(several.alpha.sel(layer="conv3", filter="high_pass", epsilon=0.1)[2]), w.data, 0)
    for e in EPSILONS:
        right = net(torchattacks.FGSM(net, eps=e)(x, y)).argmax(1) == y
        got = several.correct.sel(stress="adversarial", layer="conv3", filter="high_pass", epsilon=e)[2].values
        assert (got != right.numpy()).sum() <= 1  # a tie in the last bit


def test_several_epsilons_resume_and_go_along_with_a_landscape(trained, few, tmp_path):
    how = SWEEP | dict(attack=FGSM())
    first = filter_sweep(trained, few, epsilons=(0.02,), resume=tmp_path, **how)
    again = filter_sweep(trained, few, epsilons=EPSILONS, resume=tmp_path, **how)
    assert (again.sel(epsilon=0.02).correct == first.sel(epsilon=0.02).correct).all()
    save_checkpoint(trained, tmp_path/"a.safetensors")
    land = filter_landscape(trained, dict.fromkeys((1, 2), tmp_path/"a.safetensors"), few, epsilons=EPSILONS, **how)
    assert dict(land.correct.sizes) == dict(again.correct.sizes) | dict(epoch=2)
    assert (land.correct.sel(epoch=2) == again.correct).all()
    scores = synaptic_scores(land)
    assert scores.score.dims == ("kind", "layer", "filter", "epoch", "epsilon")
    assert scores.score.sel(epoch=1).values == pytest.approx(synaptic_scores(again).score.values)


def test_epsilons_that_cannot_be_are_refused_and_guessing_is_told_for_each(trained, few):
    for bad, match in ((dict(epsilons=(0.1, 0.1), attack=FGSM()), "`epsilons` to increase"),
                       (dict(epsilons=(0.1,)), "`attack` to be an attack"),
                       (dict(epsilons=(-1.,), attack=FGSM()), "`epsilons`"),
                       (dict(epsilons=(0.1,), attack=FGSM(), tolerance=0.1), "without `tolerance`")):
        with pytest.raises(ValueError, match=match): filter_sweep(trained, few, **bad, **QUIET)
    with pytest.warns(UserWarning, match="random guess .1/10. at ε = 0.5: relative"):
        several = filter_sweep(trained, few, attack=FGSM(), epsilons=(0.02, 0.5), **SWEEP)
    labels = synaptic_scores(several).label.sel(kind="adversarial")
    assert (labels.sel(epsilon=0.5) == "undecided").all() and (labels.sel(epsilon=0.02) != "undecided").any()
    with pytest.raises(ValueError, match="one network"): targeted_weights(several, "conv1")


PUBLISHED = dict(published=True, scope="both", filters=["high_pass", "pulse"], thresholds=5, batch_size=40, **QUIET)


def as_in_the_notebook(model, data, weights, eps, batch=40):
    "Clean and attacked answers of a network that is never set to eval: FGSM on normalised images, not clipped."
    net, answers = copy.deepcopy(model).train(), []
    for name, w in weights.items(): net.get_parameter(name).data = w
    for i in range(0, len(data), batch):
        x, y = data.batch(i, i + batch), data.labels[i:i + batch]
        z = ((x - model.mean)/model.std).requires_grad_()
        logits = net.network(z)
        g, = torch.autograd.grad(nn.functional.cross_entropy(logits, y), z)
        attacked = net.network((z + eps*g.sign()).detach())
        answers.append(torch.stack([logits.argmax(1) == y, attacked.argmax(1) == y]))
    return torch.cat(answers, 1).detach().numpy()


def kept(w, filter, alpha, step):
    if filter == "high_pass": return w > alpha
    return (w < alpha - step/2) | (w >= alpha + step/2)


def test_the_published_mode_is_what_the_notebook_does(trained, few):
    "A plain loop: local and global, counts over all layers and only the last one written back, range [-1, 1]."
    eps = 0.3
    sweep = filter_sweep(trained, few, attack=FGSM(eps), **PUBLISHED)
    assert sweep.attrs["published"] == 1 and sweep.attrs["bn_mode"] == "batch"
    layers = {name: p.detach() for name, p in trained.named_parameters() if p.ndim > 1}
    assert sweep.alpha.sel(layer="global", filter="high_pass").values == pytest.approx([-1, -0.5, 0, 0.5, 1])
    differ = total = 0
    for layer in ("conv3", "global"):
        for f in ("high_pass", "pulse"):
            for i in range(5):
                a = float(sweep.alpha.sel(layer=layer, filter=f)[i])
                some = layers if layer == "global" else {k: w for k, w in layers.items() if f".{layer}." in k}
                first = next(iter(some.values())).double()
                step = 0.5 if layer == "global" else float(first.max() - first.min())/4
                masks = {k: kept(w.double(), f, a, step) for k, w in some.items()}
                assert sum(int((~m).sum()) for m in masks.values()) == int(sweep.removed.sel(layer=layer, filter=f)[i])
                last = list(some)[-1]
                want = as_in_the_notebook(trained, few, {last: torch.where(masks[last], some[last], 0)}, eps)
                got = sweep.correct.sel(layer=layer, filter=f).isel(threshold=i).transpose("stress", "sample").values
                differ, total = differ + int((got != want).sum()), total + want.size
    assert differ <= 0.002*total  # ties in the last bit


def test_the_published_mode_changes_each_thing_that_it_names(trained, few):
    sweep = filter_sweep(trained, few, attack=FGSM(0.3), **PUBLISHED)
    local = filter_sweep(trained, few, bn_mode="batch", **PUBLISHED | dict(published=False, scope="local"))
    assert (local.correct.sel(stress="clean") == sweep.correct.sel(stress="clean", layer=local.layer)).all()
    whole = filter_sweep(trained, few, bn_mode="batch", alpha_range=(-1, 1),
                         **PUBLISHED | dict(published=False, scope="global"))
    assert (whole.removed == sweep.removed.sel(layer=["global"])).all()
    assert (whole.correct.sel(stress="clean") != sweep.correct.sel(stress="clean", layer=["global"])).any()
    plain = filter_sweep(trained, few, attack=FGSM(0.3), **PUBLISHED | dict(published=False, bn_mode="batch"))
    assert (plain.reference_correct != sweep.reference_correct).any()  # the unit and the clipping of FGSM
    scores = synaptic_scores(sweep)
    assert scores.attrs["rule"] == "simpson" and synaptic_scores(plain).attrs["rule"] == "trapezoid"
    assert scores.score.equals(synaptic_scores(sweep, rule="simpson").score)


def test_the_published_mode_takes_several_epsilons_and_a_control(trained, few):
    how = PUBLISHED | dict(control=2, control_nodes=3)
    several = filter_sweep(trained, few, attack=FGSM(), epsilons=(0.1, 0.3), **how)
    one = filter_sweep(trained, few, attack=FGSM(0.3), **how)
    assert (several.correct.sel(epsilon=0.3) == one.correct).all()
    assert (several.control_correct.sel(epsilon=0.3) == one.control_correct).all()
    assert synaptic_scores(one, baseline="random").attrs["rule"] == "simpson"


@pytest.mark.parametrize("other, match", [
    (dict(bn_mode="running"), "`bn_mode`"), (dict(attack=FGSM(0.1), attack_mode="fixed"), "`attack_mode`"),
    (dict(alpha_range=(-2, 2)), "`alpha_range`"), (dict(attack=PGD(0.1)), "`attack` to be `FGSM`"),
    (dict(tolerance=0.1), "`tolerance`")])
def test_what_the_published_mode_sets_is_refused_if_given_otherwise(trained, few, other, match):
    with pytest.raises(ValueError, match=match): filter_sweep(trained, few, published=True, **other, **QUIET)


def test_the_published_mode_needs_the_unit_of_the_attack_and_simpson(trained, few):
    with pytest.raises(ValueError, match="`model` to be `Normalized"):
        filter_sweep(trained.network, few, published=True, attack=FGSM(0.3), thresholds=3, **QUIET)
    clean = filter_sweep(trained, few, published=True, layers="conv3", thresholds=3, **QUIET)
    with pytest.raises(ValueError, match="`rule` to be \"simpson\""): synaptic_scores(clean, rule="trapezoid")
