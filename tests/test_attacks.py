"Attacks against torchattacks, foolbox and captum; no effect of the batch; signs of attacks that measure nothing."
import copy
import warnings

import foolbox
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchattacks
from captum import robust
from scipy.stats import beta
from torch import nn

from fragility_nb.stress.attacks import FGSM, PGD, RandomNoise, attack_images
from fragility_nb.stress.attack_check import AttackWarning, check_attack
from fragility_nb.stress.minimal import FGSMSearch, GradientWalk, find_epsilon, minimal_perturbation
from fragility_nb.stress.weather import Fog
from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
from fragility_nb.stress.stressors import GaussianNoise
from fragility_nb.measure.sweeps import stress_sweep


@pytest.fixture(scope="module")
def few(digits): return digits.take(range(200))


def right(model, images, labels): return int((predict(model, images).argmax(1) == labels).sum())


def test_fgsm_is_theirs_to_the_last_digit(trained, few):
    x, y, eps = few.batch(0, 200), few.labels, 0.07
    ours = attack_images(trained, few, FGSM(eps), device="cpu")
    g = x.clone().requires_grad_()
    # elsewhere the sign is rounding
    moved = torch.autograd.grad(F.cross_entropy(trained(g), y, reduction="sum"), g)[0].abs() > 1e-9
    assert moved.float().mean() > 0.99
    fool = foolbox.attacks.FGSM()(foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu"), x, y, epsilons=eps)[1]
    for theirs in (torchattacks.FGSM(trained, eps=eps)(x, y), fool):
        assert ((ours - theirs).abs() * moved).max() < 1e-6


@pytest.mark.parametrize("norm, eps", [("inf", 0.05), ("l2", 0.5)])
def test_pgd_has_their_accuracy(trained, few, norm, eps):
    x, y, steps, share = few.batch(0, 200), few.labels, 10, 0.25
    ours = right(trained, attack_images(trained, few, PGD(eps, steps, share, norm), device="cpu"), y)
    assert 20 < ours < 180  # neither all nor nothing, or the comparison would be empty
    of_torchattacks, of_foolbox = dict(inf=(torchattacks.PGD, foolbox.attacks.LinfPGD),
                                       l2=(torchattacks.PGDL2, foolbox.attacks.L2PGD))[norm]
    attack = of_torchattacks(trained, eps=eps, alpha=share*eps, steps=steps, random_start=False)
    assert abs(ours - right(trained, attack(x, y), y)) <= 1
    attack = of_foolbox(rel_stepsize=share, steps=steps, random_start=False)
    fool = attack(foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu"), x, y, epsilons=eps)[1]
    assert abs(ours - right(trained, fool, y)) <= 1


def test_pgd_is_captums(trained, few):
    x, y = few.batch(0, 96), few.labels[:96]
    pgd = robust.PGD(trained, loss_func=lambda p, y: F.cross_entropy(p, y, reduction="none"), lower_bound=0.,
                     upper_bound=1.)
    pgd.fgsm.zero_thresh = 0.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pgd.perturb(x, radius=0.06, step_size=0.015, step_num=7, target=y).detach()
    torch.testing.assert_close(attack_images(trained, few.take(range(96)), PGD(0.06, 7), device="cpu"), theirs,
                               atol=1e-6, rtol=0)


@pytest.mark.parametrize("attack", [
    PGD(0.06, random_start=True, restarts=2), PGD(0.6, norm="l2", random_start=True), RandomNoise(0.1),
    RandomNoise(0.5, norm="l2")], ids=repr)
def test_random_attacks_stay_in_the_ball_and_with_their_image(trained, few, attack):
    before, state = copy.deepcopy(trained.state_dict()), torch.get_rng_state()
    z = attack_images(trained, few, attack, seed=3)
    d = (z - few.batch(0, 200)).flatten(1)
    size = d.abs().amax(1) if attack.norm == "inf" else d.norm(dim=1)
    assert size.max() <= attack.epsilon + 1e-5 and z.min() >= 0 and z.max() <= 1
    assert torch.equal(z, attack_images(trained, few, attack, seed=3, batch_size=64))
    assert torch.equal(z[50:90], attack_images(trained, few.take(range(50, 90)), attack, seed=3))
    assert not torch.equal(z, attack_images(trained, few, attack, seed=4))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, trained.state_dict()[k]) for k, v in before.items())


def test_a_random_start_is_uniform_in_the_ball(trained, few):
    "One tiny step leaves the start almost where it was drawn; grey images, so that nothing is cut off."
    grey = type(few)(torch.full((200, 1, 8, 8), 0.5), few.labels, few.classes)
    start = lambda norm, eps: (attack_images(trained, grey, PGD(eps, 1, 1e-6, norm, True)) - 0.5).flatten(1).double()
    u = start("inf", 0.1)
    assert abs(u.mean()) < 0.002 and u.std() == pytest.approx(0.1/3**0.5, rel=0.02)
    r = start("l2", 0.4).norm(dim=1)/0.4
    assert (r**64).mean() == pytest.approx(0.5, abs=0.08)  # radius^64 of a uniform point in 64 dimensions is uniform


def test_smallest_epsilon_is_foolboxs(trained, few):
    "foolbox's FGSM at every thousandth: the first success, within a thousandth."
    few = few.take(range(80))
    x, y = few.batch(0, 80), few.labels
    got = minimal_perturbation(trained, few, FGSMSearch(max_epsilon=0.4), progress=False)
    grid = np.arange(1, 401)/1000
    wrapped = foolbox.PyTorchModel(trained, bounds=(0, 1), device="cpu")
    done = foolbox.attacks.FGSM()(wrapped, x, y, epsilons=grid.tolist())[2].numpy()  # (ε, image)
    ok = ~got.already_wrong.values
    first = np.where(done.any(0), grid[done.argmax(0)], np.inf)
    ours = np.where(got.censored.values, np.inf, got.epsilon.values)
    with np.errstate(invalid="ignore"): near = (ours == first) | (np.abs(ours - first) <= 1e-3)
    # success that comes and goes between two grid points may be missed
    assert ok.sum() > 60 and near[ok].mean() >= 0.98


def test_the_gradient_walk_is_a_plain_loop(trained, few):
    step, rows = 0.5, range(0, 40)
    got = minimal_perturbation(trained, few.take(rows), GradientWalk(step=step, steps=80, halvings=0), progress=False)
    for i in rows:
        x, y = few.batch(i, i + 1), few.labels[i:i + 1]
        z, n = x.clone(), 0
        while trained(z).argmax(1) == y and n < 80:
            z.requires_grad_()
            g, = torch.autograd.grad(F.cross_entropy(trained(z), y), z)
            z, n = (z.detach() + step/255*g/g.abs().mean()).clamp(0, 1), n + 1
        assert got.mean_change.values[i] == pytest.approx(255*float((z - x).abs().mean()), abs=0.02)
        assert bool(got.censored[i]) == bool(trained(z).argmax(1) == y)
    finer = minimal_perturbation(trained, few.take(rows), GradientWalk(step=step, steps=80), progress=False)
    assert (finer.mean_change <= got.mean_change + 1e-6).all()
    assert (got.mean_change - finer.mean_change <= step + 1e-3).all()


def test_several_networks_lose_the_same_share(trained, few):
    from fragility_nb.data.sets import load_data
    from fragility_nb.models.training import fit
    other = create_model("cnn3")
    fit(other, load_data("digits", "train"), epochs=6, lr=3e-3, progress=False)
    found = find_epsilon(dict(a=trained, b=other), few, bounds=True, progress=False)
    for name, model in dict(a=trained, b=other).items():
        one, x, y = found.sel(model=name), few.batch(0, 200), few.labels
        at = lambda e, model=model, x=x, y=y: right(model, torchattacks.FGSM(model, eps=float(e))(x, y), y)
        clean = right(model, x, y)
        assert abs(at(one.epsilon) - 0.5*clean) <= 1.5  # Def. 9, checked with another library's FGSM
        assert at(one.epsilon_min) < clean + 1
        least = next(c for c in range(201) if beta.ppf(0.025, max(c, 1e-9), 201 - c) > 1/10)
        assert at(one.epsilon_max) > least - 2 and at(one.epsilon_max + 2e-4) < least + 2
        assert bool(one.costs_accuracy) and bool(one.beats_guess)
    assert np.ptp(found.relative_accuracy.values) <= 1.5/150


class Scaled(nn.Module):
    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor
    def forward(self, x): return self.net(x)*self.factor


class Dropping(Scaled):
    def forward(self, x): return self.net(F.dropout(x, 0.3, training=True))


class Probable(Scaled):
    def forward(self, x): return self.net(x).softmax(1)


class Stepped(Scaled):
    "Sees only 8 grey levels: a gradient of zero everywhere."
    def forward(self, x): return self.net((x*8).round()/8)


class Masked(Scaled):
    "Its true slopes are hidden; the gradient shown points to where the image is easier."
    def forward(self, x): return self.net(x.detach()) - 1e-3*(self.net(x) - self.net(x).detach())


SIGNS = {"random_outputs": lambda m: Dropping(m, 1), "probabilities": lambda m: Probable(m, 1),
         "zero_gradients": lambda m: Scaled(m, 1e3), "weaker_than_noise": lambda m: Masked(m, 1)}


@pytest.mark.parametrize("sign", SIGNS)
def test_a_network_built_to_fail_shows_its_sign(trained, digits, sign):
    with pytest.warns(AttackWarning): signs = check_attack(SIGNS[sign](trained), digits, FGSM(0.2))
    assert bool(signs.found.sel(sign=sign))


def test_steps_without_slope(trained, digits):
    with pytest.warns(AttackWarning, match="gradient is exactly 0 for 128 of 128"):
        check_attack(Stepped(trained, 1), digits, FGSM(0.05))


class Valley(nn.Module):
    "Class 1 only where the mean pixel lies in a narrow band beside the image's: FGSM with a large step leaps over it."
    def forward(self, x):
        m = x.mean((1, 2, 3))
        one = 1 - ((m - 0.6)/0.05)**2
        return torch.stack([torch.zeros_like(one), one.clamp_min(-2) + 0*m], 1)


def test_accuracy_that_rises_with_epsilon():
    data = torch.full((64, 1, 4, 4), 0.53), torch.zeros(64, dtype=torch.long)
    with pytest.warns(AttackWarning, match="accuracy rises with ε, from 0.000 at 0.06 to 1.000 at 0.24"):
        signs = check_attack(Valley(), data, FGSM(0.24), n=64)
    assert bool(signs.found.sel(sign="rising_accuracy"))
    with pytest.warns(AttackWarning, match="^fgsm: The accuracy rises"):
        result = stress_sweep(Valley(), data, FGSM(0.06), (1, 2, 4), progress=False)
    assert "rising_accuracy" in result.attrs["signs"]


def test_an_honest_network_shows_none(trained, digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error", AttackWarning)
        for attack in (FGSM(0.1), PGD(0.1, random_start=True), PGD(1., norm="l2"), RandomNoise(0.2)):
            assert not check_attack(trained, digits, attack).found.any()
        stress_sweep(trained, digits, [FGSM(0.03), GaussianNoise()], (1, 3), progress=False)
        find_epsilon(trained, digits, progress=False)


@pytest.mark.parametrize("sign", ["random_outputs", "probabilities", "zero_gradients"])
def test_sweeps_and_searches_warn_too(trained, digits, sign):
    model, few = SIGNS[sign](trained), digits.take(range(96))
    with pytest.warns(AttackWarning) as caught: result = stress_sweep(model, few, FGSM(0.1), (1,), progress=False)
    assert all(w.filename == __file__ for w in caught if w.category is AttackWarning), "warnings name the caller's line"
    assert sign in result.attrs["signs"]
    with pytest.warns((AttackWarning, UserWarning)) as caught: find_epsilon(model, few, max_epsilon=0.2, progress=False)
    assert any(issubclass(w.category, AttackWarning) for w in caught)


def test_the_unit_of_epsilon(trained, digits):
    with pytest.warns(UserWarning, match="did you mean 8/255"): FGSM(8)
    with pytest.warns(UserWarning, match="unit is pixel values in .0, 1.*did you mean 8/255 = 0.0314"):
        stress_sweep(trained, digits.take(range(32)), FGSM(1.), (0, 8), progress=False)


class Leaving(FGSM):
    def perturb(self, model, x, y, severity=1.): return x + 1


def test_bad_input(trained, few):
    with pytest.raises(ValueError, match="`restarts` = 3"): PGD(restarts=3)
    with pytest.raises(ValueError, match="`norm`.*'l1'"): RandomNoise(norm="l1")
    with pytest.raises(ValueError, match="to stay in .0, 1., but got .1"): attack_images(trained, few, Leaving())
    with pytest.raises(ValueError, match="`search`: 'newton'"): minimal_perturbation(trained, few, "newton")
    with pytest.raises(ValueError, match="at least one network"): find_epsilon({}, few)
    with pytest.raises(ValueError, match="`max_epsilon`"): find_epsilon(trained, few, max_epsilon=8, progress=False)


def test_a_sweep_keeps_what_was_finished(trained, few):
    calls = []
    def tired(x, severity, streams):
        calls.append(severity)
        if severity == 2: raise KeyboardInterrupt
        return x*0.5
    whole = stress_sweep(trained, few, GaussianNoise(), (0, 1, 2), progress=False)
    with pytest.warns(UserWarning, match="holds 1 of 2 stressors at 3 of 3"):
        part = stress_sweep(trained, few, [GaussianNoise(), tired], (0, 1, 2), progress=False)
    assert part.attrs["incomplete"] == 1 and part.stress.values.tolist() == ["gaussian_noise"]
    assert (part.pred == whole.pred).all()
    with pytest.warns(UserWarning, match="holds 1 of 1 stressors at 2 of 3"):
        part = stress_sweep(trained, few, tired, (0, 1, 2), progress=False)
    assert part.severity.values.tolist() == [0, 1]


@pytest.mark.parametrize("severities, error", [
    ((0, "high"), TypeError), ((0, -1), ValueError), ((2, 1), ValueError), ((1, 1), ValueError),
    ((0, float("nan")), ValueError)])
def test_severities(trained, few, severities, error):
    with pytest.raises(error, match="`severities`"):
        stress_sweep(trained, few, GaussianNoise(), severities, progress=False)


def test_stressors_and_seeds(trained, few, tmp_path):
    with pytest.raises(ValueError, match="`seeds`"):
        stress_sweep(trained, few, GaussianNoise(), (0, 1), seeds=(1, 1), progress=False)
    with pytest.raises(TypeError, match="the class FGSM: call it"):
        stress_sweep(trained, few, FGSM, (0, 1), progress=False)
    with pytest.raises(TypeError, match="`attack`.*GaussianNoise"): attack_images(trained, few, GaussianNoise())
    never = lambda x, s, r: pytest.fail("computed before the last severity was looked at")
    with pytest.raises(ValueError, match="between 0 and 5, but got 6"):
        stress_sweep(trained, few, [never, Fog()], (1, 6), progress=False)
    with pytest.raises(ValueError, match="`stressors`.*'noise'"):
        stress_sweep(trained, few, "noise", (0, 1), progress=False)
    with pytest.raises(ValueError, match="a lambda"):
        stress_sweep(trained, few, lambda x, s, r: x, (0, 1), resume=tmp_path, progress=False)
