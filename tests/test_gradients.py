"Gradients that are NaN or infinite: the step without a slope counts as 0, the images are counted, nobody is fooled."
import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fragility_nb.data.images import ImageData
from fragility_nb.engine.engine import EditEngine
from fragility_nb.engine.job import Edits
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.sweeps import filter_landscape, filter_sweep, stress_sweep
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.gradients import _tape_bytes, gradient_rows, input_gradient
from fragility_nb.probes.coverage.differential import generate_differential
from fragility_nb.probes.kernels.targeting import adversarial_targeting
from fragility_nb.stress.attack_check import AttackWarning, check_attack, loss_gradient
from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.stress.minimal import GradientWalk, find_epsilon, minimal_perturbation

TINY = 1e-24


class Root(torch.autograd.Function):
    "A root of one's own, with a slope of one's own."
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.sqrt())
        return x.sqrt()

    @staticmethod
    def backward(ctx, g): return g / (2*ctx.saved_tensors[0])


# a feature (N, 1) of images (N, 1, 8, 8): with a slope that is NaN or infinite at black pixels, and its safe twin
FEATURES = {
    "sqrt": (lambda x: x[..., 0].pow(2).sum((1, 2)).sqrt()[:, None],
             lambda x: (x[..., 0].pow(2).sum((1, 2)) + TINY).sqrt()[:, None]),
    "std": (lambda x: x[..., 0].var((1, 2)).sqrt()[:, None], lambda x: (x[..., 0].var((1, 2)) + TINY).sqrt()[:, None]),
    "division": (lambda x: torch.where(x == 0, 0*x, x*x/x).mean((1, 2, 3))[:, None],
                 lambda x: (x*x/(x + 1e-12)).mean((1, 2, 3))[:, None]),
    "own": (lambda x: Root.apply(x[..., 0].pow(2).sum((1, 2)))[:, None],
            lambda x: (x[..., 0].pow(2).sum((1, 2)) + TINY).sqrt()[:, None]),
}


class Featured(nn.Module):
    "A small network with one more feature."
    def __init__(self, conv, linear, feature):
        super().__init__()
        self.conv, self.linear, self.feature = conv, linear, feature

    def forward(self, x):
        return self.linear(torch.cat([torch.relu(self.conv(x)).flatten(1), self.feature(x)], 1))


@pytest.fixture(scope="module")
def twins(digits):
    "For each feature a trained network and its safe twin of the same weights: equal logits."
    torch.manual_seed(0)
    from fragility_nb.data.sets import load_data
    train, pairs = load_data("digits", "train"), {}
    x, y = train.batch(0, len(train)), train.labels
    for name, (feature, safe) in FEATURES.items():
        conv, linear = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(8*64 + 1, 10)
        broken, good = Featured(conv, linear, feature), Featured(conv, linear, safe)
        opt = torch.optim.Adam(good.parameters(), 1e-2)
        for _ in range(60):
            opt.zero_grad()
            F.cross_entropy(good(x), y).backward()
            opt.step()
        pairs[name] = broken.eval(), good.eval()
    return pairs


@pytest.fixture(scope="module")
def few(digits): return digits.take(range(120))


def told(caught): return [str(w.message) for w in caught if "NaN or infinite" in str(w.message)]


def quietly(f, *args, **kwargs):
    "A call, and what it said about gradients."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return f(*args, **kwargs), told(caught)


def nan_images(net, data):
    "How many images have a gradient that is not finite, by a plain loop."
    n = 0
    for i in range(len(data)):
        x = data.batch(i, i + 1).requires_grad_()
        g, = torch.autograd.grad(F.cross_entropy(net(x), data.labels[i:i + 1]), x)
        n += not torch.isfinite(g).all()
    return n


@pytest.mark.parametrize("feature", FEATURES)
def test_the_gradient_is_that_of_a_network_with_the_same_logits_and_a_finite_slope(twins, few, feature):
    net, safe = twins[feature]
    torch.testing.assert_close(net(few.batch(0, 120)), safe(few.batch(0, 120)))
    n = nan_images(net, few)
    gradient, said = quietly(loss_gradient, net, few, device="cpu")
    x = few.batch(0, 120).requires_grad_()
    wanted, = torch.autograd.grad(F.cross_entropy(safe(x), few.labels, reduction="sum"), x)
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-4)
    assert n > 60 and len(said) == 1 and f"for {n} of 120 images" in said[0]


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1, 5), PGD(1., 5, norm="l2"), PGD(0.1, 3, random_start=True),
                                    PGD(1., 3, norm="l2", random_start=True, restarts=2)], ids=repr)
@pytest.mark.parametrize("feature", FEATURES)
def test_attacks_are_those_on_the_safe_twin(twins, few, feature, attack):
    net, safe = twins[feature]
    z, said = quietly(attack_images, net, few, attack, device="cpu")
    assert len(said) == 1 or attack.random  # a random start may have no black row
    assert all(re.search(r"for \d+ of 120 images", text) for text in said)
    (want, nothing) = quietly(attack_images, safe, few, attack, device="cpu")
    assert nothing == [] and torch.isfinite(z).all()
    with torch.no_grad(): agree = (net(z).argmax(1) == safe(want).argmax(1)).float().mean()
    assert agree >= 0.98  # a sign of a slope near 0 may turn


@pytest.mark.parametrize("search", ["fgsm", GradientWalk(step=1., steps=60)], ids=str)
def test_smallest_changes_are_those_of_the_safe_twin(twins, few, search):
    net, safe = twins["sqrt"]
    got, said = quietly(minimal_perturbation, net, few, search, device="cpu", progress=False)
    want, nothing = quietly(minimal_perturbation, safe, few, search, device="cpu", progress=False)
    assert len(said) == 1 and nothing == [] and got.attrs["signs"] == "nan_gradients" and want.attrs["signs"] == ""
    assert np.isfinite(got.epsilon).all() and np.isfinite(got.mean_change).all()
    assert (got.censored == want.censored).mean() > 0.98
    np.testing.assert_allclose(got.epsilon, want.epsilon, atol=2e-3)
    done = ~got.censored.values & ~got.already_wrong.values
    assert (got.fooled_pred.values != few.labels.numpy())[done].all()
    right = ~got.already_wrong.values
    if search == "fgsm": assert int(got.nan_gradient.sum()) == nan_images(net, few.take(np.flatnonzero(right)))
    assert not want.nan_gradient.any()


def test_the_same_images_in_other_batches_are_counted_the_same(twins, few):
    net = twins["sqrt"][0]
    counts = [quietly(attack_images, net, few, FGSM(0.1), batch_size=b, device="cpu")[1] for b in (1, 40, 256)]
    assert len({c[0] for c in counts}) == 1 and all(len(c) == 1 for c in counts)


def test_checks_searches_and_sweeps_say_it_once_and_keep_it(twins, few):
    net, safe = twins["sqrt"]
    signs, said = quietly(check_attack, net, few, FGSM(0.05), device="cpu")
    assert bool(signs.found.sel(sign="nan_gradients")) and len(said) == 1
    share = float(signs.value.sel(sign="nan_gradients"))
    assert share == pytest.approx(nan_images(net, few)/120, abs=0.02)  # and images that become black on the way
    assert not quietly(check_attack, safe, few, FGSM(0.05), device="cpu")[0].found.sel(sign="nan_gradients")
    found, said = quietly(find_epsilon, net, few, attack=PGD(0.1, 2), device="cpu", progress=False)
    assert len(said) == 1 and "nan_gradients" in found.attrs["signs"]
    assert float(found.epsilon) == pytest.approx(
        float(find_epsilon(safe, few, attack=PGD(0.1, 2), device="cpu", progress=False).epsilon), abs=2e-3)
    swept, said = quietly(stress_sweep, net, few, [FGSM(0.05), PGD(0.5, 2, norm="l2")], (0, 1, 2), batch_size=50,
                          device="cpu", progress=False)
    want = stress_sweep(safe, few, [FGSM(0.05), PGD(0.5, 2, norm="l2")], (0, 1, 2), device="cpu", progress=False)
    assert len(said) == 1 and "nan_gradients" in swept.attrs["signs"] and "nan" not in want.attrs["signs"]
    assert (swept.correct == want.correct).mean() > 0.98
    with pytest.warns(AttackWarning, match="NaN or infinite"): check_attack(net, few, FGSM(0.05))


@pytest.mark.parametrize("mode", ["adaptive", "fixed"])
def test_filter_sweeps_and_scores_are_those_of_the_safe_twin(twins, few, mode):
    kwargs = dict(thresholds=7, attack=FGSM(0.05), attack_mode=mode, device="cpu", progress=False)
    (got, said), want = quietly(filter_sweep, twins["sqrt"][0], few, **kwargs), filter_sweep(twins["sqrt"][1], few,
                                                                                           **kwargs)
    assert len(said) == 1 and got.attrs["signs"] == "nan_gradients" and "signs" not in want.attrs
    assert (got.correct == want.correct).mean() > 0.995
    np.testing.assert_allclose(synaptic_scores(got).score, synaptic_scores(want).score, atol=0.02)


class Loops(nn.Module):
    "What `torch.fx` cannot cut."
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x): return self.net(x) if x.sum() > -1 else x


@pytest.mark.filterwarnings("ignore:This network cannot be cut")
def test_the_slow_way_of_the_engine_agrees(twins, few):
    net, safe = (Loops(n) for n in twins["sqrt"])
    w = net.net.conv.weight.detach()
    edits = Edits(("net.conv.weight",), 2, lambda i: {"net.conv.weight": w*(1 - 0.3*i)})
    x, y = few.batch(0, 120)[None], few.labels
    run = lambda n: EditEngine(n, device="cpu").evaluate(edits, x, y, attack=FGSM(0.05))
    got, said = quietly(run, net)
    assert len(said) == 1 and (got == run(safe)).mean() > 0.99
    with pytest.raises(ValueError, match="returns NaN"):
        EditEngine(net, device="cpu").evaluate(edits, x, y, attack=lambda n, x, y: x*float("nan"))


class Breaks(nn.Module):
    "NaN as soon as the darkest pixel is not black any more."
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x): return torch.where((x.amin((1, 2, 3)) > 0)[:, None], torch.nan, self.net(x))


def test_logits_that_are_not_finite_are_another_fault(few):
    net = Breaks(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).eval()
    y = net(few.batch(0, 120)).argmax(1)
    data = ImageData(few.images, y, few.classes)
    lighter = lambda n, x, y: x*0.9 + 0.1
    with pytest.raises(FloatingPointError, match="NaN or infinity"):
        stress_sweep(net, data, lambda x, s, r: x*0.9 + 0.1, (0, 1), device="cpu", progress=False)
    class Lighter(FGSM):
        def perturb(self, model, x, y, severity=1., streams=None): return lighter(model, x, y)
    with pytest.raises(FloatingPointError, match="NaN or infinity on images under attack"):
        check_attack(net, data, Lighter(0.1), device="cpu")
    class Search:
        def search(self, net, x, y): return lighter(net, x, y), x[:, 0, 0, 0], y >= 0, y < 0
    with pytest.raises(FloatingPointError, match="NaN or infinity on changed images"):
        minimal_perturbation(net, data, Search(), device="cpu", progress=False)


def test_a_gradient_of_nothing_is_zero(few):
    class Blind(nn.Module):
        def forward(self, x): return torch.zeros(len(x), 10)
    gradient, logits = input_gradient(Blind(), few.batch(0, 5), few.labels[:5])
    assert not gradient.any() and logits.shape == (5, 10)


def test_a_batch_has_room_for_its_tapes(few):
    "The bytes of a tape are those that saved tensors of a plain network add up to; batches shrink, images stay equal."
    net = nn.Sequential(nn.Conv2d(1, 256, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(256*64*64, 2)).eval()
    image = torch.zeros(1, 1, 64, 64)
    assert _tape_bytes(net, image) == 4*(64*64 + 256*64*64)  # the image, and the sigmoid's output (also flat)
    assert gradient_rows(net, image, 4096) == 2**29 // _tape_bytes(net, image) // 32 * 32
    assert gradient_rows(net, image, 20) == 32


def test_a_search_for_disagreement_is_that_on_the_safe_twins(twins, few):
    nets = lambda k: dict(a=twins["sqrt"][k], b=twins["std"][k])
    seeds = few.take(range(24))
    run = lambda k: generate_differential(nets(k), seeds, steps=4, device="cpu", progress=False)
    (got, said), (want, nothing) = quietly(run, 0), quietly(run, 1)
    assert len(said) == 1 and "of 24 images" in said[0] and nothing == []
    assert np.isfinite(got.image).all() and (got.outcome.values == want.outcome.values).mean() > 0.9
    np.testing.assert_allclose(got.image, want.image, atol=1e-3)


def test_targeting_and_landscapes_say_it_once(twins, few, tmp_path):
    net = twins["sqrt"][0]
    said = quietly(adversarial_targeting, net, few, [FGSM(0.05), PGD(0.1, 2)], [0, 1], severities=(1, 2), device="cpu",
                   progress=False)[1]
    assert len(said) == 1
    snapshots = {k: save_checkpoint(net, tmp_path / f"{k}.safetensors") for k in (1, 2)}
    for mode in ("fixed", "adaptive"):
        result, said = quietly(filter_landscape, net, snapshots, few, attack=FGSM(0.05), attack_mode=mode, thresholds=2,
                               device="cpu", progress=False)
        assert len(said) == 1 and result.sizes["epoch"] == 2


CALLS = {"fgsm": lambda m, d: attack_images(m, d, FGSM(0.1), device="cpu").numpy(),
         "l2": lambda m, d: attack_images(m, d, PGD(1., 2, norm="l2"), device="cpu").numpy(),
         "minimal": lambda m, d: minimal_perturbation(m, d, "gradient", device="cpu", progress=False).epsilon.values,
         "adaptive": lambda m, d: filter_sweep(m, d, thresholds=3, attack=FGSM(0.05), attack_mode="adaptive",
                                               device="cpu", progress=False).correct.values}


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("call", CALLS)
def test_an_attack_is_made_wherever_the_caller_stands(trained, few, call, mode):
    want = CALLS[call](trained, few)
    with mode():
        np.testing.assert_array_equal(CALLS[call](trained, few), want)
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode) and not torch.is_grad_enabled()
