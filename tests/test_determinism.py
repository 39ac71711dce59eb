"Same seed, same bits: for every batch size, in any company, in another process."
import numpy as np
import pytest
import torch
from conftest import python

from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import model_hash
from fragility_nb.models.answers import predict
from fragility_nb.stress.stressors import GaussianBlur, GaussianNoise, Rotation, apply_stress
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.training import fit

FIELDS = ("pred", "correct", "margin", "loss")


@pytest.mark.parametrize("batch_size", [1, 7, 100, 1000])
def test_stress_sweep_does_not_depend_on_the_batch(trained, digits, stress_result, batch_size):
    data = digits.take(range(100)) if batch_size == 1 else digits
    again = stress_sweep(trained, data, [GaussianNoise(), FGSM(0.03)], (0, 3), seeds=(1,), batch_size=batch_size,
                         device="cpu", progress=False)
    for k in FIELDS:
        whole = stress_result[k].sel(stress=["gaussian_noise", "fgsm"], severity=[0, 3], seed=[1], sample=again.sample)
        np.testing.assert_array_equal(again[k], whole)


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1)], ids=repr)
def test_attacks_do_not_depend_on_the_batch(trained, digits, attack):
    one = attack_images(trained, digits, attack, batch_size=500, device="cpu")
    assert torch.equal(attack_images(trained, digits, attack, batch_size=33, device="cpu"), one)
    rows = [400, 17, 230]
    assert torch.equal(attack_images(trained, digits.take(rows), attack, device="cpu"), one[rows])


@pytest.mark.parametrize("stressor", [GaussianNoise(), GaussianBlur(), Rotation()], ids=repr)
def test_an_image_keeps_its_noise(digits, stressor):
    x = digits.batch(0, 60)
    whole = apply_stress(stressor, x, 2.5, seed=3)
    for i in (0, 31, 59):
        torch.testing.assert_close(apply_stress(stressor, x[i:i + 1], 2.5, seed=3, index=[i])[0], whole[i], rtol=0,
                                   atol=1e-6)


def test_filter_sweep_does_not_depend_on_the_batch(trained, digits):
    sweep = lambda b: filter_sweep(trained, digits, layers=["conv1", "conv2"], thresholds=7, attack=FGSM(0.08),
                                   batch_size=b, device="cpu", progress=False)
    first = sweep(None)
    for b in (32, 100, 999): np.testing.assert_array_equal(sweep(b).correct, first.correct)


def test_another_process_gives_the_same(trained, digits):
    code = """
from fragility_nb import *
from fragility_nb.models import model_hash
import hashlib
model = create_model("cnn3"); fit(model, load_data("digits", "train"), epochs=2, device="cpu", progress=False)
r = stress_sweep(model, load_data("digits"), GaussianNoise(), (0, 2), device="cpu", progress=False)
print(model_hash(model), hashlib.md5(r.loss.values.tobytes()).hexdigest())
"""
    assert python(code) == python(code, PYTHONHASHSEED="7")


def test_global_random_state_is_left_alone(trained, digits):
    torch.manual_seed(5)
    np.random.seed(5)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    few = digits.take(range(50))
    fit(create_model("cnn3"), few, epochs=1, progress=False)
    stress_sweep(trained, few, GaussianNoise(), (0, 1), progress=False)
    filter_sweep(trained, few, thresholds=3, attack=FGSM(0.05), progress=False)
    assert torch.equal(torch.get_rng_state(), torch_state) and (np.random.get_state()[1] == numpy_state).all()


def test_a_resumed_training_is_the_same_training(tmp_path, digits):
    whole, halved = create_model("cnn4"), create_model("cnn4")
    fit(whole, digits, epochs=4, device="cpu", progress=False)
    fit(create_model("cnn4"), digits, epochs=2, folder=tmp_path, device="cpu", progress=False)
    log = fit(halved, digits, epochs=4, folder=tmp_path, device="cpu", progress=False)
    assert model_hash(whole) == model_hash(halved) and list(log.epoch.values) == [1, 2, 3, 4]


def test_logits_do_not_depend_on_the_company(trained, digits):
    whole = predict(trained, digits, device="cpu")
    for rows in ([5], list(range(100, 133))):
        assert torch.equal(predict(trained, digits.take(rows), device="cpu"), whole[rows])
