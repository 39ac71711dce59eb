"Layers by name or number, an accuracy over more images, how long a report takes, AutoAttack: in report and command."
import re
import time

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.code import read_options
from fragility_nb.core.results import load_result
from fragility_nb.data.convert import as_data
from fragility_nb.data.sets import load_data
from fragility_nb.models.activations import find_layers, pick_layers
from fragility_nb.models.answers import predict
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit, train_model
from fragility_nb.models.wrap import model_hash
from fragility_nb.probes.batchnorm.layers import norms_after
from fragility_nb.run.estimate import Estimate, Rates, duration, estimate_report, report_parameters, section_seconds
from fragility_nb.run.estimate import forward_seconds, smaller_report
from fragility_nb.run.in_memory import report
from fragility_nb.run.parameters import check_template

FEW = dict(thresholds=2, severities=[0, 2], seeds=[0], control=0, with_coverage=False, with_kernels=False)
RATES = Rates(forward=1., attack=0.1, beside=0.1, stress=(0.01,)*3, random=(True, False, False), copy=2., first=4.,
              layers=50, norms=49, kernels=32, image_bytes=10**8, seen=500)


@pytest.fixture(scope="module")
def net():
    model = create_model("cnn4")
    fit(model, load_data("digits", "train", n=300), epochs=4, lr=0.01, batch_size=30, progress=False, device="cpu")
    return model


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    return save_checkpoint(net, tmp_path_factory.mktemp("net")/"net.safetensors")


@pytest.mark.quick
@pytest.mark.parametrize("number", [1, 2, 8, 20, 21, 99])
def test_layers_are_spread_over_the_depth(number):
    model = create_model("resnet18", in_chans=3, image_size=32)
    names = [layer.name for layer in find_layers(model)]
    found = [names.index(name) for name in pick_layers(model, number)]
    assert len(found) == min(number, 21) and found == sorted(found) and found[0] == 0
    gaps = np.diff(found)
    assert number == 1 or (found[-1] == 20 and gaps.max() - gaps.min() <= 1)


@pytest.mark.quick
def test_layers_by_name(net):
    assert pick_layers(net, "linear, conv1") == pick_layers(net, ["linear", "conv1"]) == ["linear", "conv1"]
    assert pick_layers(net, None) is None
    with pytest.raises(ValueError, match="`layers` not to be empty"): pick_layers(net, "")
    with pytest.raises(ValueError, match="Unknown `layers`: 'conv9'.*conv1"): pick_layers(net, "conv1,conv9")
    with torch.no_grad(): flat = create_model("cnn4").network
    flat.linear.weight.data.zero_()  # no range to filter
    assert pick_layers(flat, 2) == ["conv1", "conv3"]
    assert norms_after(net, ["conv2"], load_data("digits", n=4)) == ["bn2"]


@pytest.mark.quick
@pytest.mark.parametrize("wrong", [0, True, [], " ", 2.5, [3]], ids=repr)
def test_layers_that_cannot_be_meant(wrong):
    with pytest.raises((TypeError, ValueError), match="Expected `layers`"):
        check_template("model_report", dict(layers=wrong))


def test_a_report_of_some_layers(net, tmp_path):
    report(net, load_data("digits", n=30), tmp_path, layers=2, progress=False, **FEW)
    result = load_result(tmp_path/"result.nc")
    assert result["filters"].layer.values.tolist() == ["conv1", "linear", "global"]
    assert set(result["batchnorm_statistic_stress"].layer.values) == {"bn1", "global"}
    assert "removed from 2 of them" in (tmp_path/"model_report.html").read_text()


def test_the_command_takes_layers_and_more_images_for_the_accuracy(net, file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = ["run", "--model", str(file), "--n", "30", "--thresholds", "2", "--control", "0", "--out", "r"]
    done = CliRunner().invoke(app, [*args, "--layers", "conv2,nothing"])
    assert done.exit_code == 2 and "Unknown `layers`: 'nothing'" in done.stderr
    done = CliRunner().invoke(app, [*args, "--layers", "conv2", "--accuracy-images", "200"])
    assert done.exit_code == 0, done.output
    test = load_data("digits", n=200)
    right = float((predict(net, test).argmax(1) == test.labels).double().mean())
    result = load_result("r/result.nc")
    assert result["filters"].layer.values.tolist() == ["conv2", "global"] and result["filters"].sizes["sample"] == 30
    assert float(result["clean"].accuracy.squeeze()) == pytest.approx(right)
    assert re.search(rf"clean accuracy, all images +{right:.3f}", done.output)


# How long it takes

@pytest.mark.quick
def test_what_is_asked_for_is_what_takes_time():
    whole, seconds = report_parameters({}), lambda **p: section_seconds(RATES, report_parameters(p))
    assert max(seconds(thresholds=5)["filters"], seconds(layers=8)["filters"]) < seconds()["filters"]
    assert seconds(n=32)["filters"] == pytest.approx(seconds()["filters"]/16)  # 500 images are 16 blocks of 32
    assert seconds(layers=8, thresholds=5, control=0)["filters"] == 16*3*4*(8*2 + 4)
    assert set(seconds()) - set(seconds(with_coverage=False, with_kernels=False)) == {"coverage", "kernels"}
    change, least = smaller_report(RATES, whole)
    assert least < sum(section_seconds(RATES, whole).values()) and set(change) <= {"layers", "thresholds", "n"}
    assert least == sum(section_seconds(RATES, whole | change).values())
    assert "layers" not in smaller_report(RATES, whole | dict(layers="conv1,fc"))[0]
    text = Estimate(dict(filters=12000.), 3*2**30, change, least).text
    assert "about 3 h 20 min on this machine" in text() and "memory about 3.0 GiB" in text()
    assert f"--thresholds {change['thresholds']}" in text(command=True)
    assert [duration(v) for v in (1, 600, 7140, 12000, 3e5)] == ["10 s", "10 min", "2 h", "3 h 20 min", "3.5 days"]


def test_an_estimate_is_within_a_factor_of_the_report(net, tmp_path):
    "In CPU seconds; the wide bounds of a test that runs beside others. Nothing of the network changes."
    test, before = load_data("digits", n=64), model_hash(net)
    found = estimate_report(net, test, clock=time.process_time, layers=2, thresholds=5)
    assert model_hash(net) == before and not found.smaller
    began = time.process_time()
    report(net, test, tmp_path, layers=2, thresholds=5, progress=False)
    assert found.seconds / 5 < time.process_time() - began < 5 * found.seconds


@pytest.mark.parametrize("pixels, rows", [(8, 32), (224, 2)])
def test_what_is_timed_is_what_is_counted(pixels, rows):
    "No image that only fills a block: two large ones once counted as two and took the time of 32."
    seen = []
    class Counts(torch.nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x.flatten(1)[:, :10]
    few = (torch.rand(40, 1, pixels, pixels), torch.zeros(40, dtype=torch.long))
    forward_seconds(Counts(), as_data(few), "cpu")
    assert set(seen) == {rows}


def test_the_command_only_estimates(file, tmp_path):
    args = ["run", "--model", str(file), "--out", str(tmp_path/"r"), "--estimate"]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0 and re.match(r"The report takes about \d+ \w+ on this machine", done.output)
    assert not (tmp_path/"r").exists()


# AutoAttack, through a whole report

def test_autoattack_through_a_report_by_the_command(file, tmp_path):
    args = ["run", "--model", str(file), "--n", "20", "--layers", "1", "--thresholds", "2", "--control", "0",
            "--attack", "autoattack", "--attack-options", "steps=3,queries=10", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    result = load_result(tmp_path/"result.nc")
    names = result["stress"].stress.values.tolist()
    assert {"autoattack", "fgsm", "pgd"} <= {n.split("(")[0].lower() for n in names}
    assert "FGSM" in result["filters"].attrs["attack"] and "FGSM" in result["epsilon"].attrs["attack"]
    left = result["stress"].correct.isel(severity=-1).mean(("seed", "sample"))
    strong = [n for n in names if "autoattack" in n][0]
    assert all(float(left.sel(stress=strong)) <= float(left.sel(stress=n)) for n in names if n.startswith("fgsm"))
    assert "AutoAttack leaves" in (tmp_path/"model_report.html").read_text()


# One reader of options, one place for a network's options, no lock that stays

@pytest.mark.quick
@pytest.mark.parametrize("text, value", [
    ("a=none", None), ("a=None", None), ("a=null", None), ("a='none'", "none"), ("a=TRUE", True), ("a=1e-3", 1e-3),
    ("a=flip,mixup", "flip,mixup"), ("a=[1, 2]", [1, 2]), ('{"a": "x,b=1"}', "x,b=1"), ("a=", "")], ids=str)
def test_options_in_one_line(text, value): assert read_options(text) == dict(a=value)


def test_options_from_two_places_must_agree(tmp_path):
    how = dict(epochs=1, n=60, progress=False, device="cpu")
    with pytest.raises(ValueError, match="`model_options` to be given once"):
        train_model("cnn2", tmp_path/"a", model_options=dict(width=8), network=dict(model_options=dict(width=4)), **how)
    train_model("cnn2", tmp_path/"a", model_options=dict(width=8), network=dict(model_options=dict(width=8)), **how)
    assert not list((tmp_path/"a").rglob(".lock")) and (tmp_path/"a/model.safetensors").is_file()


