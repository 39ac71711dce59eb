"Bad input: one clear error each, that names the argument, what was expected and what came."
import os
import pickle

import pytest
import torch
from torch import nn

from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.data.images import ImageData
from fragility_nb.data.convert import as_data
from fragility_nb.data.sets import load_data
from fragility_nb.models.wrap import Normalized
from fragility_nb.models.activations import find_layers
from fragility_nb.models.answers import match_data
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.stress.corruptions import STRESSORS
from fragility_nb.stress.stressors import GaussianNoise
from fragility_nb.run.model_runs import run_model
from fragility_nb.run.studies import run_study
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep

X, Y = torch.rand(20, 1, 8, 8), torch.arange(20) % 10

WRONG_DATA = {
    "above 1": ((X * 255, Y), "`images` to be in \\[0, 1\\].*but got \\[.*25"),
    "below 0": ((X - 0.5, Y), "`images` to be in \\[0, 1\\].*but got \\[-0"),
    "NaN": ((X.clone().fill_(float("nan")), Y), "`images` to be in \\[0, 1\\].*nan"),
    "integers": ((X.long(), Y), "`images` to be uint8 or floating point, but got torch.int64"),
    "three dimensions": ((X[:, 0], Y), "`images` to be of shape \\(N, C, H, W\\), but got \\(20, 8, 8\\)"),
    "empty": ((X[:0], Y[:0]), "`images` to be a non-empty set"),
    "too many labels": ((X, torch.cat([Y, Y])), "`labels` to be of shape \\(20,\\).*but got \\(40,\\)"),
    "negative label": ((X, Y - 1), "`labels` to be in \\[0, \\d\\].*but got \\[-1"),
    "float labels": ((X, Y.float()), "`labels` to be integer.*float32"),
    "labels as text": ((X, ["a"] * 20), "`labels` to be integer class indices.*by `classes`"),
}


@pytest.mark.parametrize("data,message", WRONG_DATA.values(), ids=WRONG_DATA)
@pytest.mark.parametrize("call", [lambda m, d: stress_sweep(m, d, GaussianNoise(), progress=False), lambda m,
                                  d: filter_sweep(m, d, progress=False),
                                  lambda m, d: find_epsilon(m, d, progress=False)],
                                  ids=["stress_sweep", "filter_sweep", "find_epsilon"])
def test_data(trained, call, data, message):
    with pytest.raises((ValueError, TypeError), match=message): call(trained, data)


def test_label_out_of_range(trained):
    with pytest.raises(ValueError, match="10 logits|11"):
        stress_sweep(trained, (X, Y + 1), GaussianNoise(), progress=False)
    with pytest.raises(ValueError, match="`labels` to be in \\[0, 9\\].*\\[0, 10\\]"):
        ImageData(X, torch.arange(20) % 11, tuple("0123456789"))


def test_probabilities_are_warned_about(trained, digits):
    with pytest.warns(UserWarning, match="seems to return probabilities; logits are expected"):
        stress_sweep(nn.Sequential(trained, nn.Softmax(1)), digits, GaussianNoise(), (0,), progress=False)


def test_wrong_number_of_classes(digits):
    with pytest.raises(ValueError, match="`model` to give 10 logits.*but got 7"):
        filter_sweep(create_model("cnn3", 7), digits, progress=False)


def test_no_layers(digits):
    class Mean(nn.Module):
        def forward(self, x): return x.flatten(1)[:, :10] * 3
    with pytest.raises(ValueError, match="`model` to have convolution or linear layers, but `Mean` has none"):
        filter_sweep(Mean(), digits, progress=False)


UNKNOWN = {
    "model": (lambda: create_model("resnet-18"), "Unknown `model`: 'resnet-18'. Did you mean 'resnet18'"),
    "dataset": (lambda: load_data("mnits"), "Unknown `dataset`: 'mnits'. Did you mean 'mnist'"),
    "stressor": (lambda: STRESSORS["gaussian noise"],
                 "Unknown `stressor`: 'gaussian noise'. Did you mean 'gaussian_noise'"),
    "filter": (lambda: filter_sweep(create_model("cnn3"), (X, Y), filters=["highpass"], progress=False),
               "Unknown `filter`: 'highpass'. Did you mean 'high_pass'"),
    "layer": (lambda: filter_sweep(create_model("cnn3"), (X, Y), layers=["conv11"], progress=False),
              "Unknown `layers`: 'conv11'.*Known: conv1, conv2, linear"),
    "template": (lambda: run_study("report", "x"), "Unknown `template`: 'report'.*Known: .*model_report"),
    "parameter": (lambda: run_study("model_report", "x", threshold=3),
                  "Unknown `parameter`: 'threshold'. Did you mean 'thresholds'"),
}


@pytest.mark.parametrize("call,message", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names_list_the_known_ones(call, message):
    with pytest.raises(ValueError, match=message): call()
    assert not os.path.exists("x")


def test_numbers(trained, digits):
    with pytest.raises(ValueError, match="`thresholds` to be an integer at least 2, but got 1"):
        filter_sweep(trained, digits, thresholds=1)
    with pytest.raises(ValueError, match="`epsilon` to be a number at least 0, but got -0.1"): FGSM(-0.1)
    with pytest.raises(ValueError, match="`epsilon`"): PGD(-1)
    with pytest.warns(UserWarning, match="did you mean 8/255"): FGSM(8)


def test_a_layer_of_equal_weights(trained, digits):
    model = create_model("cnn3")
    nn.init.constant_(model.network.conv2.weight, 0.5)
    few = digits.take(range(20))
    with pytest.raises(ValueError, match="layer `conv2` to have weights that differ, but all are 0.5"):
        filter_sweep(model, few, layers="conv2", progress=False)
    with pytest.warns(UserWarning, match="weights are equal.*conv2"):
        swept = filter_sweep(model, few, thresholds=2, progress=False)
    assert swept.layer.values.tolist() == [layer.name for layer in find_layers(model) if layer.name != "conv2"]


def test_nan_names_the_layer(digits):
    model = create_model("cnn3")
    model.network.conv2.weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="`network.conv2.weight` holds NaN"):
        stress_sweep(model, digits, GaussianNoise(), progress=False)

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.root, self.last = nn.Linear(64, 16), Root(), nn.Linear(16, 10)
        def forward(self, x): return self.last(self.root(self.first(x.flatten(1))))

    class Root(nn.Module):
        def forward(self, x): return (-x.abs() - 1).sqrt()
    with pytest.raises(ValueError, match="finite logits, but NaN or infinity comes out of layer `root`"):
        filter_sweep(Broken(), digits, progress=False)


class Code:
    def __reduce__(self): return (os.mkdir, ("the_code_of_the_pickle_ran",))


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_pickle_with_code_is_refused(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    torch.save({"weights": Code()}, f"evil{suffix}")
    with pytest.raises(ValueError, match="is refused"): load_checkpoint(f"evil{suffix}", create_model("cnn3"))
    with open(f"plain{suffix}", "wb") as f: pickle.dump(Code(), f)
    with pytest.raises(ValueError, match="is refused"): load_checkpoint(f"plain{suffix}", create_model("cnn3"))
    assert not os.path.exists("the_code_of_the_pickle_ran")


def test_a_checkpoint_of_another_architecture(tmp_path):
    path = save_checkpoint(create_model("cnn5"), tmp_path / "cnn5.safetensors")
    with pytest.raises(ValueError, match="another architecture than `cnn3`: .*unexpected: .*misshaped: "):
        load_checkpoint(path, create_model("cnn3"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"): load_checkpoint(path)


def test_an_output_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write"): run_model("cnn3", tmp_path / "file" / "out", progress=False)


def test_own_model_and_arrays_work(digits):
    net = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), mean=0.3, std=0.4)
    pair = (digits.images.numpy(), digits.labels.tolist())
    assert filter_sweep(net, pair, thresholds=3, progress=False).layer.values.tolist() == ["1"]
    assert len(as_data(pair)) == len(digits)


def test_mixed_up_channels(digits):
    with pytest.raises(ValueError, match="`model` cannot take images of shape \\(1, 8, 8\\)"):
        match_data(create_model("cnn3", in_chans=3), digits)


def test_attack_severity(trained, digits):
    with pytest.raises(ValueError, match="`severity`"): attack_images(trained, digits, FGSM(0.1), -1)
    assert torch.equal(attack_images(trained, digits, FGSM(0.1), 0), digits.batch(0, len(digits)))
