"The caller's model comes back as it was: weights, buffers, each submodule's mode, requires_grad, grads, hooks, device."
import copy

import pytest
import torch

from fragility_nb.models.activations import record_activations
from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.models.answers import match_data, predict
from fragility_nb.stress.stressors import GaussianNoise
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep


def boom(x, severity, streams): raise ZeroDivisionError


CALLS = {
    "predict": lambda m, d: predict(m, d),
    "match": lambda m, d: match_data(m, d),
    "record_activations": lambda m, d: record_activations(m, d),
    "attack_images": lambda m, d: attack_images(m, d, PGD(0.05, steps=2)),
    "find_epsilon": lambda m, d: find_epsilon(m, d, progress=False),
    "stress_sweep": lambda m, d: stress_sweep(m, d, [GaussianNoise(), FGSM(0.05)], (0, 1), progress=False),
    "filter_sweep": lambda m, d: filter_sweep(m, d, scope="both", thresholds=3, attack=FGSM(0.05), progress=False),
    "filter_sweep, adaptive, batch": lambda m, d: filter_sweep(
        m, d, thresholds=3, attack=FGSM(0.05), attack_mode="adaptive", bn_mode="batch", progress=False),
    "an error inside": lambda m, d: pytest.raises(ZeroDivisionError, stress_sweep, m, d, boom, (0, 1), progress=False),
}


def state(model):
    return dict(tensors={k: v.clone() for k, v in model.state_dict().items()},
                modes={k: m.training for k, m in model.named_modules()},
                wanted={k: p.requires_grad for k, p in model.named_parameters()},
                grads={k: p.grad for k, p in model.named_parameters()},
                ids=[id(p) for p in model.parameters()],
                hooks=[(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
                devices=[p.device for p in model.parameters()], types=[type(m) for m in model.modules()])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_model_comes_back_unchanged(trained, digits, call):
    model = copy.deepcopy(trained)
    model.train()
    model.network.bn1.eval()
    model.network.conv2.weight.requires_grad_(False)
    before = state(model)
    call(model, digits.take(range(60)))
    after = state(model)
    for k, v in before.pop("tensors").items(): assert torch.equal(v, after["tensors"][k]), k
    after.pop("tensors")
    assert before == after


def test_data_come_back_unchanged(trained, digits):
    before = digits.images.clone()
    for call in CALLS.values(): call(trained, digits)
    assert torch.equal(digits.images, before)
