"Sixty mistakes as users make them, over the whole package: each is one clear error, which names the argument."
import re
from functools import cache

import pytest
import torch
from torch import nn

import fragility_nb as fn
from fragility_nb.data import ImageData, as_data
from fragility_nb.figures import plot_differences, plot_scores_together
from fragility_nb.measure import init_differences, stress_differences, stress_summary, targeted_weights
from fragility_nb.models import open_model, predict
from fragility_nb.probes import NC, TKNC, bn_probe, kernel_dropout, neuron_coverage
from fragility_nb.run import compare_results, load_reports, run_study
from fragility_nb.stress import PGD, as_attack, as_stressors, attack_images, check_attack, minimal_perturbation

pytestmark = pytest.mark.quick
QUIET = dict(device="cpu", progress=False)


@cache
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


@cache
def coloured():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


@cache
def digits(): return fn.load_data("digits", "test", n=60, progress=False)


@cache
def swept(): return fn.stress_sweep(net(), digits(), fn.GaussianNoise(), (0, 2), **QUIET)


@cache
def filtered(): return fn.filter_sweep(net(), digits(), thresholds=3, **QUIET)


def images(): return torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
def labels(): return torch.arange(20) % 10


def nan_images():
    x = images()
    x[3, 0, 2, 2] = float("nan")
    return x


WRONG = {  # what a user does -> the call, the argument that is named, words of what was expected or came
    "labels before images": (lambda t: as_data((labels(), images())), "images", "got"),
    "bytes as floats": (lambda t: as_data((images()*255, labels())), r"\[0, 1\]", "255|larger|up to|between"),
    "NaN in an image": (lambda t: as_data((nan_images(), labels())), "images", "nan|NaN"),
    "one image too few": (lambda t: as_data((images()[:19], labels())), "labels", "19|20"),
    "images without channels": (lambda t: as_data((images()[:, 0], labels())), "images", "N, C, H, W|shape"),
    "channels last": (
        lambda t: as_data((images().repeat(1, 3, 1, 1).permute(0, 2, 3, 1), labels())),
        "images", "permute"),
    "labels below zero": (lambda t: as_data((images(), labels() - 1)), "label", "-1"),
    "labels as shares": (lambda t: as_data((images(), labels()/10)), "labels", "integer|whole|got"),
    "labels one-hot": (lambda t: as_data((images(), nn.functional.one_hot(labels()))), "labels", "20, 10|shape|one"),
    "fewer classes than labels": (lambda t: ImageData(images(), labels(), ("a", "b")), "label|classes", "9|2"),
    "a title that is a number": (lambda t: ImageData(images(), labels(), tuple("0123456789"), 3), "name", "3"),
    "an empty folder": (lambda t: fn.load_data(str(t), progress=False), "", "image|folder"),
    "a folder that is not there": (lambda t: fn.load_data(str(t/"no"), progress=False), "", "no"),
    "a misspelt data set": (lambda t: fn.load_data("digit", progress=False), "data|name", "digits"),
    "a misspelt split": (lambda t: fn.load_data("digits", "tests", progress=False), "split", "test"),
    "no images": (lambda t: fn.load_data("digits", n=0, progress=False), "`n`", "0"),
    "model and data swapped": (
        lambda t: fn.stress_sweep(digits(), net(), fn.GaussianNoise(), **QUIET),
        "model", "Module"),
    "a stressor's class": (
        lambda t: fn.stress_sweep(net(), digits(), fn.GaussianNoise, **QUIET),
        "stressor", "GaussianNoise"),
    "a misspelt stressor": (lambda t: as_stressors("gausian_noise"), "stressor", "gaussian_noise"),
    "a misspelt option": (lambda t: as_stressors("gaussian_noise(stp=0.1)"), "option|stressors", "sigma"),
    "a severity below zero": (
        lambda t: fn.stress_sweep(net(), digits(), fn.GaussianNoise(), (-1, 0), **QUIET),
        "severit", "-1"),
    "severities backwards": (
        lambda t: fn.stress_sweep(net(), digits(), fn.GaussianNoise(), (3, 0), **QUIET),
        "severities", "increas"),
    "one seed twice": (
        lambda t: fn.stress_sweep(net(), digits(), fn.GaussianNoise(), seeds=(1, 1), **QUIET),
        "seeds", "1"),
    "grey images, coloured network": (
        lambda t: predict(coloured(), digits(), device="cpu"),
        "model|channels|images", "1|3"),
    "other sizes of images": (lambda t: predict(net(), torch.rand(4, 1, 9, 9), device="cpu"), "image|model", "9"),
    "a device that is not there": (lambda t: predict(net(), digits(), device="cuda:99"), "device", "cuda:99"),
    "batches of nothing": (lambda t: predict(net(), digits(), batch_size=0, device="cpu"), "batch_size", "0"),
    "a misspelt network": (lambda t: fn.create_model("resnet81"), "", "resnet18"),
    "a network file that is not there": (lambda t: open_model(str(t/"a.safetensors"), digits()), "", "a.safetensors"),
    "a text as a network": (lambda t: fn.filter_sweep("resnet18", digits(), **QUIET), "model", "Module"),
    "a misspelt layer": (lambda t: fn.filter_sweep(net(), digits(), layers=["conv1"], **QUIET), "layers", "Known"),
    "one threshold": (lambda t: fn.filter_sweep(net(), digits(), thresholds=1, **QUIET), "thresholds", "2"),
    "half a threshold": (lambda t: fn.filter_sweep(net(), digits(), thresholds=2.5, **QUIET), "thresholds", "integer"),
    "a misspelt filter": (
        lambda t: fn.filter_sweep(net(), digits(), filters=["highpass"], **QUIET),
        "filter", "high_pass"),
    "a misspelt scope": (lambda t: fn.filter_sweep(net(), digits(), scope="all", **QUIET), "scope", "local"),
    "a misspelt mode": (lambda t: fn.filter_sweep(net(), digits(), attack=fn.FGSM(0.1), attack_mode="adaptiv", **QUIET),
                        "attack_mode", "adaptive"),
    "an epsilon in 255ths": (lambda t: fn.FGSM(-8), "epsilon", "-8"),
    "a norm of another name": (lambda t: PGD(0.1, norm="L1"), "norm", "l2"),
    "no step": (lambda t: PGD(0.1, steps=0), "steps", "0"),
    "a misspelt attack": (lambda t: as_attack("fgms"), "attack", "fgsm"),
    "an attack of no library": (lambda t: as_attack("torchattack:PGD"), "attack", "torchattack"),
    "attack and data swapped": (
        lambda t: attack_images(net(), fn.FGSM(0.1), digits(), device="cpu"),
        "data|images", "FGSM"),
    "accuracy in percent": (
        lambda t: fn.find_epsilon(net(), digits(), relative_accuracy=50, **QUIET),
        "relative_accuracy", "50"),
    "no shown progress as a word": (lambda t: minimal_perturbation(net(), digits(), progress="no"), "progress", "True"),
    "more images than there are": (lambda t: check_attack(net(), digits(), fn.FGSM(0.1), n=0), "`n`", "0"),
    "a stress sweep as a filter sweep": (lambda t: fn.synaptic_scores(swept()), "result", "filter_sweep"),
    "a filter sweep as a stress sweep": (lambda t: stress_summary(filtered()), "result", "stress_sweep"),
    "coverage in percent": (lambda t: fn.synaptic_scores(filtered(), ci=95), "ci", "95"),
    "a control that was not measured": (
        lambda t: fn.synaptic_scores(filtered(), baseline="random"),
        "control|baseline", "control=2"),
    "a negative band": (lambda t: fn.synaptic_scores(filtered(), band=-0.1), "band", "-0.1"),
    "another network's layer": (lambda t: targeted_weights(filtered(), "conv9"), "layer", "Known"),
    "kinds of sweeps mixed": (lambda t: stress_differences(swept(), filtered()), "`b`", "stress_sweep"),
    "one training as several": (
        lambda t: init_differences(*[fn.synaptic_scores(filtered())]*2),
        "`a`", "initialisations"),
    "a network as scores": (lambda t: plot_scores_together(dict(a=net())), "scores", "Sequential|result"),
    "a list of one kind of scores": (lambda t: plot_differences(dict(a=swept())), "differences", "stress_sweep"),
    "a folder without a result": (lambda t: compare_results(t, t), "", "result.nc"),
    "one report to compare": (lambda t: load_reports([str(t)]), "results", "two"),
    "a misspelt template": (
        lambda t: run_study("model_reports", t/"out", progress=False),
        "template|study|name", "model_report"),
    "a misspelt parameter": (
        lambda t: run_study("model_report", t/"out", progress=False, threshold=3),
        "threshold", "thresholds"),
    "a network without BatchNorm": (lambda t: bn_probe(coloured(), digits(), **QUIET), "model", "BatchNorm|channels"),
    "a criterion's class": (lambda t: neuron_coverage(net(), digits(), NC, progress=False), "criteri", "NC"),
    "k of no unit": (lambda t: TKNC(0), "`k`", "0"),
    "a kernel of a linear layer": (
        lambda t: kernel_dropout(net(), digits(), layer="4", progress=False),
        "layer", "convolution"),
    "training without a folder": (lambda t: fn.fit(net(), digits(), epochs=0, **QUIET), "epochs", "0"),
    "a rate below zero": (lambda t: fn.fit(net(), digits(), epochs=1, lr=-1e-3, **QUIET), "`lr`", "-0.001"),
    "a misspelt optimiser": (lambda t: fn.fit(net(), digits(), epochs=1, optimizer="sdg", **QUIET), "optimizer", "sgd"),
    "a misspelt augmentation": (
        lambda t: fn.fit(net(), digits(), epochs=1, augment="mixupp", **QUIET),
        "augment", "mixup"),
}


@pytest.mark.parametrize("call, named, told", WRONG.values(), ids=WRONG)
def test_a_users_mistake_is_one_clear_error(call, named, told, tmp_path):
    with pytest.raises((ValueError, TypeError, FileNotFoundError, ImportError)) as e: call(tmp_path)
    text = str(e.value)
    assert re.search(named, text), text
    assert re.search(told, text), text


def test_there_are_sixty(): assert len(WRONG) >= 60
