"Adversarial training and the other policies by name: against a bare PyTorch loop, over seeds, after a kill."
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import python
from kills import survived
from scipy.stats import t as student

from fragility_nb.core.identity import stable_seed
from fragility_nb.core.streams import CounterStreams
from fragility_nb.data.sets import load_data
from fragility_nb.measure.matrix import MixUp, StressPolicy, WorstOf
from fragility_nb.models.answers import predict
from fragility_nb.models.augment import RandomCrop, as_augment, epoch_order
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.stress.adversarial import Adversarial
from fragility_nb.stress.attack_check import check_attack
from fragility_nb.stress.attacks import PGD, attack_images
from fragility_nb.stress.corruptions import STRESSORS
from fragility_nb.stress.stressors import GaussianNoise, Rotation

QUIET = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", n=600)


def bare_adversarial(model, data, *, epochs, lr, batch_size, epsilon, steps, step, start):
    "Madry et al.'s loop as everyone writes it: the network in eval mode while the images are made."
    opt = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    for epoch in range(1, epochs + 1):
        for rows in epoch_order(len(data), 0, epoch).split(batch_size):
            x, y = data.images[rows].float() / 255, data.labels[rows]
            model.eval()
            z = x.clone()
            if start:
                u = CounterStreams("adversarial", stable_seed("augment", 0, epoch), index=data.index[rows])
                z = (x + epsilon * (2*u.uniform(*x.shape[1:]) - 1)).clamp(0, 1)
            for _ in range(steps):
                z.requires_grad_()
                gradient, = torch.autograd.grad(F.cross_entropy(model(z), y, reduction="sum"), z)
                z = (z.detach() + step * epsilon * gradient.sign()).clamp(x - epsilon, x + epsilon).clamp(0, 1)
            model.train()
            loss = F.cross_entropy(model(z), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
    return model.eval()


@pytest.mark.parametrize("start", [False, True], ids=["from the image", "random start"])
def test_a_bare_loop_gives_the_same_weights(train, start):
    few = train.take(range(120))
    how = dict(epochs=2, lr=0.05, batch_size=40)
    theirs = bare_adversarial(create_model("cnn3"), few, **how, epsilon=0.1, steps=2, step=0.5, start=start)
    ours = create_model("cnn3")
    policy = f"adversarial(epsilon=0.1, steps=2, step_size=0.5, random_start={start})"
    fit(ours, few, optimizer="sgd", augment=policy, **how, **QUIET)
    for k, v in theirs.state_dict().items(): torch.testing.assert_close(ours.state_dict()[k], v, rtol=1e-4, atol=1e-6)


def test_it_makes_robust_and_does_not_hide_gradients(train, digits):
    """At ε = .1, 20 steps: the yardstick is clearly above plain training over three seeds, by Student's interval."""
    test, attack, gains, nets = digits.take(range(200)), PGD(0.1, steps=20, random_start=True), [], []
    right = lambda net: float((predict(net, attack_images(net, test, attack)).argmax(1) == test.labels).double().mean())
    for seed in range(3):
        both = [create_model("cnn3", seed=seed) for _ in range(2)]
        for net, policy in zip(both, (None, Adversarial(0.1, steps=3, step_size=0.5))):
            fit(net, train, epochs=6, lr=3e-3, batch_size=32, seed=seed, augment=policy, **QUIET)
        gains.append(right(both[1]) - right(both[0]))
        nets.append(both[1])
    half = student.ppf(0.975, 2) * np.std(gains, ddof=1) / np.sqrt(3)
    assert np.mean(gains) - half > 0.15, gains
    assert not check_attack(nets[0], test, PGD(0.1, steps=10)).found.any()


def test_the_network_is_left_as_it_was_and_images_do_not_depend_on_their_batch(train):
    model, policy = create_model("cnn3").train(), Adversarial(0.1, steps=2)
    model.network.bn1.eval()
    x, y, index = train.batch(0, 40), train.labels[:40], train.index[:40]
    before, modes = {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]
    state = torch.get_rng_state()
    z, _ = as_augment(policy)[0](model, x, y, 5, index)
    assert torch.equal(state, torch.get_rng_state()) and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    for m, mode in zip(model.modules(), modes): m.training = mode
    some = torch.tensor([3, 20, 31])
    torch.testing.assert_close(policy(model, x[some], y[some], 5, index[some])[0], z[some], atol=1e-6, rtol=0)
    assert (z - x).abs().max() <= 0.1 + 1e-6 and 0 <= z.min() and z.max() <= 1


KILLED = """
import os, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from kills import Steps, check
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import model_hash
data, out = load_data("digits", "train", n=200), Path(sys.argv[1])
def train(folder, at=0):
    model = create_model("cnn2", start="kaiming_uniform")
    fit(model, data, epochs=3, optimizer="sgd", momentum=0.5, lr=0.05, folder=folder, device="cpu", progress=False,
        augment=["mixup(alpha=0.4)", "adversarial(epsilon=0.1, steps=2)", Steps(at)])
    return model_hash(model)
whole = train(out/"whole")
Steps.count = 0
for name, at in (("in the second epoch", 3), ("in the last step", 6)): check(out/name, lambda: None, train, whole, at)
"""


def test_killed_it_ends_with_the_same_weights(tmp_path):
    assert len(survived(python, tmp_path, KILLED)) == 2


@pytest.mark.quick
@pytest.mark.parametrize("text, table, expected", [
    ("mixup(alpha=0.4)", dict(name="mixup", alpha=0.4), MixUp(0.4)),
    ("crop(padding=2)", dict(name="crop", padding=2), RandomCrop(2)),
    ("stress(stressors=['gaussian_noise(sigma=0.2)', 'rotation'], severities=[1, 2])",
     dict(name="stress", stressors=[dict(name="gaussian_noise", sigma=0.2), "rotation"], severities=[1, 2]),
     StressPolicy((GaussianNoise(0.2), Rotation()), (1, 2))),
    ("worst_of(stressors='fog', k=2)", dict(name="worst_of", stressors="fog", k=2),
     WorstOf((STRESSORS["fog"](),), k=2)),
    ("adversarial(epsilon=0.1, steps=1, step_size=1, random_start=False)",
     dict(name="adversarial", epsilon=0.1, steps=1, step_size=1, random_start=False),
     Adversarial(0.1, 1, 1, random_start=False)),
], ids=["mixup", "crop", "stress", "worst_of", "adversarial"])
def test_text_and_table_name_the_same_policy(text, table, expected):
    assert as_augment(text) == as_augment(table) == as_augment([table]) == (expected,)


def test_policies_of_other_floors_are_found_by_name_alone():
    code = "from fragility_nb.models.augment import as_augment; print(as_augment('crop, mixup, adversarial(steps=2)'))"
    assert python(code).startswith("(RandomCrop(padding=None), MixUp(alpha=1.0), Adversarial(epsilon=0.03")


@pytest.mark.quick
@pytest.mark.parametrize("wrong, message", [
    ("mixup(beta=1)", "option of mixup in augment`: 'beta'"), ("mixup(0.4)", "'name(option=1)'"),
    ("mixup(alpha=0)", "`augment`, mixup: Expected `alpha`"), ("mixpu", "Did you mean 'mixup'"),
    ("adversarial(norm='l1')", "adversarial: Unknown `norm`"), ("adversarial(steps=0)", "`steps`"),
    ("adversarial(epsilon=-0.1)", "`epsilon`"), ("stress(stressors=[])", "at least one"),
    ("stress(stressors='fgsm')", "stressor in stressors`: 'fgsm'"),
    ("crop(padding=__import__('os'))", "'name(option=1)'"),
    (dict(alpha=1), "to have a `name`"), (3, "`augment`"),
], ids=lambda v: v if isinstance(v, str) and "__" not in v else None)
def test_wrong_policies_are_one_clear_error(wrong, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)): as_augment(wrong)
