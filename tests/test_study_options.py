"What a study varies: norm, first weights, width, activation, momentum, policies, stressors, initialisations, by name."
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.identity import stable_seed
from fragility_nb.core.results import load_result
from fragility_nb.data.sets import load_data
from fragility_nb.measure.scores import average_inits, synaptic_scores
from fragility_nb.measure.sweeps import filter_landscape, filter_sweep
from fragility_nb.models.augment import epoch_order
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.networks import ACTIVATES
from fragility_nb.models.training import fit, fit_inits, kept_snapshots
from fragility_nb.models.wrap import model_hash
from fragility_nb.run.parameters import check_template, find_template
from fragility_nb.run.studies import is_done, run_fingerprint, run_study
from fragility_nb.run.study_files import check_study, load_study
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.corruptions import STRESSORS, as_stressors
from fragility_nb.stress.stressors import GaussianNoise, Rotation

QUIET = dict(device="cpu", progress=False)
TINY = dict(n=30, thresholds=2, severities=[0, 2], seeds=[0], control=0, landscape_thresholds=2, landscape_images=30)


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", n=120)


# Networks

@pytest.mark.quick
@pytest.mark.parametrize("name", ACTIVATES)
def test_activations_against_torch(name, digits):
    functions = dict(relu=torch.relu, leaky_relu=F.leaky_relu, elu=F.elu, gelu=F.gelu, silu=F.silu, tanh=torch.tanh,
                     sigmoid=torch.sigmoid)
    act, x = functions[name], digits.batch(0, 5)
    cnn, lenet = (create_model(m, model_options=dict(activation=name)) for m in ("cnn3", "lenet1"))
    n, z = cnn.network, 2*x - 1
    with torch.no_grad():
        a = act(n.bn1(n.conv1(z)))
        b = act(n.bn2(n.conv2(F.max_pool2d(a, 2))))
        torch.testing.assert_close(n.linear(b.mean((2, 3))), cnn(x))
        n = lenet.network
        a = F.max_pool2d(act(n.conv1(z)), 2)
        torch.testing.assert_close(n.linear(F.max_pool2d(act(n.conv2(a)), 2).flatten(1)), lenet(x))


@pytest.mark.quick
def test_first_weights_are_torchs_kaiming_draws():
    net = create_model("cnn3", seed=4, start="kaiming_uniform", model_options=dict(width=8))
    with torch.random.fork_rng():
        torch.manual_seed(stable_seed("start", 4))
        for m in (net.network.conv1, net.network.conv2, net.network.linear):
            w = nn.init.kaiming_uniform_(torch.empty_like(m.weight))
            assert torch.equal(w, m.weight) and w.abs().max() <= math.sqrt(6 / w[0].numel())
    assert net.network.conv1.out_channels == 8 and not net.network.linear.bias.any()
    state = torch.get_rng_state()
    assert model_hash(create_model("cnn3", start="kaiming_normal")) != model_hash(create_model("cnn3"))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.quick
def test_a_checkpoint_knows_how_it_was_built(tmp_path, digits):
    net = create_model("cnn3", norm="group(groups=4)", start="kaiming_normal",
                       model_options=dict(width=8, activation="silu"))
    again, few = load_checkpoint(save_checkpoint(net, tmp_path / "a.safetensors")), digits.take(range(20))
    assert again.spec == net.spec and torch.equal(again(few.batch(0, 9)), net(few.batch(0, 9)))
    swept = filter_sweep(net, few, thresholds=2, layers=["conv2"], filters=["low_pass"], control=0, **QUIET)
    with torch.no_grad(): right = (net(few.batch(0, 20)).argmax(1) == few.labels).double().mean()
    assert float(swept.reference_accuracy.squeeze()) == float(right)


# Recipes

@pytest.mark.parametrize("momentum", [0, 0.5])
def test_momentum_against_a_bare_loop(train, momentum):
    ours, theirs = (create_model("cnn2") for _ in range(2))
    fit(ours, train, epochs=2, optimizer="sgd", momentum=momentum, lr=0.05, batch_size=40, **QUIET)
    opt = torch.optim.SGD(theirs.train().parameters(), 0.05, momentum=momentum)
    for epoch in (1, 2):
        for rows in epoch_order(len(train), 0, epoch).split(40):
            loss = F.cross_entropy(theirs(train.images[rows].float() / 255), train.labels[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
    for k, v in theirs.state_dict().items(): torch.testing.assert_close(ours.state_dict()[k], v, rtol=1e-5, atol=1e-6)


BASE = dict(optimizer="sgd", momentum=0.5, augment="mixup(alpha=0.4)")
BUILT = dict(norm="group", start="kaiming_uniform", model_options=dict(activation="tanh"))
OTHER = {"momentum": (dict(momentum=0.9), {}), "policy": (dict(augment="mixup(alpha=0.5)"), {}),
         "another policy": (dict(augment="adversarial(epsilon=0.1, steps=1)"), {}),
         "norm": ({}, dict(norm="group(groups=4)")), "layer norm": ({}, dict(norm="layer")),
         "start": ({}, dict(start="kaiming_normal")), "activation": ({}, dict(model_options=dict(activation="elu")))}


@pytest.fixture(scope="module")
def begun(train, tmp_path_factory):
    "A training of one epoch, kept."
    folder = tmp_path_factory.mktemp("begun")
    fit(create_model("cnn2", **BUILT), train, epochs=1, folder=folder, **BASE, **QUIET)
    return folder


@pytest.mark.parametrize("how, built", OTHER.values(), ids=OTHER)
def test_another_recipe_is_another_training(train, begun, how, built):
    with pytest.raises(ValueError, match="holds another training"):
        fit(create_model("cnn2", **(BUILT | built)), train, epochs=1, folder=begun, **(BASE | how), **QUIET)


def test_the_same_recipe_is_the_same_training_however_it_is_written(train, begun):
    model = create_model("cnn2", **BUILT | dict(norm=dict(name="group", groups=8)))
    log = fit(model, train, epochs=2, folder=begun, **BASE | dict(augment=[dict(name="mixup", alpha=0.4)]), **QUIET)
    whole = create_model("cnn2", **BUILT)
    fit(whole, train, epochs=2, **BASE, **QUIET)
    assert model_hash(model) == model_hash(whole)
    assert (log.attrs["momentum"], log.attrs["norm"]) == (0.5, "group(groups=8)")


# What is refused before the first training

WRONG = [dict(optimizer="adam", momentum=0.5), dict(momentum=1.0, optimizer="sgd"), dict(norm="grup"), dict(norm=[3]),
         dict(start="kaiming"), dict(model_options=[1]), dict(inits=0), dict(augment="mixup(alfa=1)"),
         dict(augment={"name": "adversarial", "epsilon": -1}), dict(augment="stress(stressors='fogg')"),
         dict(report={"stressors": []}), dict(report={"stressors": ["fog(constants='tinny')"]}),
         dict(report={"stressors": [{"name": "gaussian_noise", "sigma": "x"}]}), dict(report={"attack_mode": "fix"})]


@pytest.mark.quick
@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
def test_values_that_cannot_be_meant(wrong, tmp_path):
    with pytest.raises((ValueError, TypeError), match="Expected|Unknown"): check_template("train_and_report", wrong)
    lines = "\n".join(f"{k} = {_toml(v)}" for k, v in wrong.items())
    (tmp_path / "s.toml").write_text(f"template = 'train_and_report'\n[axes]\nseed = [0]\n[parameters]\n{lines}\n")
    with pytest.raises((ValueError, TypeError), match="Expected|Unknown"): load_study(tmp_path / "s.toml")


def _toml(value):
    "A value as TOML writes it."
    if isinstance(value, dict): return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


@pytest.mark.quick
@pytest.mark.parametrize("line, message", [
    ("norm = 'group(groups=5)'", "`groups`"), ("model_options = {width = 0}", "`width`"),
    ("model_options = {activation = 'rely'}", "Did you mean 'relu'"), ("model_options = {widht = 3}", "'widht'"),
], ids=["groups", "width", "activation", "name"])
def test_networks_that_cannot_be_built_are_found_by_a_dry_run(tmp_path, line, message):
    text = f"template = 'train_and_report'\n[axes]\nmodel = ['cnn3', 'cnn4']\n[parameters]\n{line}\n"
    (tmp_path / "s.toml").write_text(text)
    done = CliRunner().invoke(app, ["grid", str(tmp_path / "s.toml"), "--dry-run"])
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


@pytest.mark.quick
def test_a_study_of_all_of_it_is_planned(tmp_path):
    (tmp_path / "s.toml").write_text("""template = 'train_and_report'
[axes]
augment = ["", "crop,flip", {name = "adversarial", epsilon = 0.1, steps = 3}, "stress(stressors='fog', severities=[1])"]
norm = ["batch", "group(groups=4)"]
inits = [1, 3]
[parameters]
optimizer = "sgd"
momentum = 0
start = "kaiming_uniform"
model_options = {width = 8, activation = "gelu"}
[parameters.report]
stressors = ["gaussian_noise", {name = "fog", constants = "cifar"}]
attack_mode = "fixed"
""")
    plan = load_study(tmp_path / "s.toml")
    check_study(plan)
    assert len({run.fingerprint for run in plan.runs}) == len({run.folder for run in plan.runs}) == 16


@pytest.mark.quick
def test_each_parameter_is_in_the_identity_of_a_run(tmp_path):
    path, base = find_template("train_and_report"), dict(optimizer="sgd", model="cnn2")
    values = [{}, dict(momentum=0.5), dict(norm="group"), dict(start="kaiming_uniform"), dict(inits=2),
              dict(model_options=dict(width=8)), dict(model_options=dict(activation="tanh")),
              dict(augment="mixup(alpha=0.4)"), dict(augment=dict(name="mixup", alpha=0.5)),
              dict(report=dict(attack_mode="fixed")), dict(report=dict(stressors=["fog"]))]
    assert len({run_fingerprint(path, base | v) for v in values}) == len(values)


@pytest.mark.quick
def test_stressors_by_name():
    mixed = as_stressors(["gaussian_noise(sigma=0.2), rotation", dict(name="fog", constants="cifar"), Rotation(5)])
    assert mixed == [GaussianNoise(0.2), Rotation(), STRESSORS["fog"]("cifar"), Rotation(5)]
    assert as_stressors("rotation") == as_stressors(Rotation()) == [Rotation()]


# Real runs

@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    "Two initialisations with snapshots, as `fit_inits` keeps them."
    folder = tmp_path_factory.mktemp("pair")
    build = lambda seed: create_model("cnn3", seed=seed, norm="group")
    fit_inits(build, load_data("digits", "train", n=400), inits=2, epochs=2, lr=0.1, batch_size=20, optimizer="sgd",
              momentum=0.8, snapshots=1, folder=folder, test=load_data("digits"), **QUIET)
    return folder


def page_text(folder, name):
    "What the cells of an executed notebook say."
    cells = json.loads((Path(folder) / f"{name}.ipynb").read_text())["cells"]
    found = [o for c in cells for o in c.get("outputs", [])]
    assert not [o for o in found if o["output_type"] == "error"]
    return "\n".join("".join(v) for o in found for v in o.get("data", {}).values() if isinstance(v, list))


def test_a_report_of_a_folder_of_initialisations(pair, tmp_path):
    """Without a checkpoint: the last network of the first one; scores over both, as by hand."""
    run_study("model_report", tmp_path, progress=False, snapshots=str(pair), stressors=["rotation", "gaussian_noise"],
              attack_mode="fixed", with_coverage=False, with_batchnorm=False, with_kernels=False, **TINY)
    tree, test = load_result(tmp_path / "result.nc"), load_data("digits", n=30)
    assert tree["stress"].stress.values.tolist()[:2] == ["rotation", "gaussian_noise"]
    assert tree["filters"].attrs["attack_mode"] == "fixed"
    first = load_checkpoint(pair / "init-0" / "epoch-002.safetensors")
    assert tree["filters"].attrs["model_hash"] == model_hash(first)
    epsilon = float(tree["epsilon"].epsilon)
    landscape = filter_landscape(first, kept_snapshots(pair), test, attack=FGSM(epsilon), attack_mode="fixed",
                                 scope="both", thresholds=2, **QUIET)
    mean = average_inits(synaptic_scores(landscape, band=0.01, ci=0.95).isel(epoch=-1))
    for name in ("score", "sd", "low", "high"):
        np.testing.assert_allclose(tree["scores_inits"][name].values, mean[name].values)
    text = page_text(tmp_path, "model_report")
    assert "## Over 2 initialisations" in text and "## The learning landscape" in text
    assert re.search(r"\*\*Trained\*\* by SGD with momentum 0.8, .*2 epochs.*norm: group.*2 initialisations", text)


def test_train_and_report_with_everything(tmp_path):
    how = dict(model="cnn3", epochs=2, lr=0.1, optimizer="sgd", momentum=0.5, norm="group(groups=4)", inits=2,
               snapshots=0,
               start="kaiming_uniform", model_options=dict(width=12, activation="tanh"), sections=[],
               augment=[dict(name="adversarial", epsilon=0.05, steps=1)], report=TINY | dict(stressors=["rotation"]))
    run_study("train_and_report", tmp_path, progress=False, **how)
    assert is_done(tmp_path, "train_and_report", **how)
    assert not is_done(tmp_path, "train_and_report", **how | dict(momentum=0.4))
    for seed in (0, 1):
        train = load_data("digits", "train")
        net = load_checkpoint(tmp_path / "trainings" / f"init-{seed}" / "model.safetensors")
        facts = {k: net.spec[k] for k in ("mean", "std", "norm", "start", "model_options")}
        hand = create_model("cnn3", seed=seed, **facts)
        fit(hand, train, epochs=2, seed=seed, lr=0.1, batch_size=32, optimizer="sgd", momentum=0.5,
            augment="adversarial(epsilon=0.05, steps=1)", **QUIET)
        assert model_hash(hand) == model_hash(net)
    text = page_text(tmp_path, "train_and_report")
    assert "Over 2 initialisations" in text and "The learning landscape" not in text
    assert "activation=tanh" in text and "Adversarial(epsilon=0.05, steps=1" in text and "kaiming" in text


def test_the_command_line_takes_it_all(tmp_path):
    words = """run --model cnn3 --epochs 2 --optimizer sgd --momentum 0.5 --lr 0.1 --norm group(groups=4) --n 30
        --start kaiming_uniform --augment mixup(alpha=0.4) --stressors fog(constants='cifar') --attack-mode fixed
        --control 0 --thresholds 2 --snapshots 0"""
    done = CliRunner().invoke(app, [*words.split(), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    tree = load_result(tmp_path / "result.nc")
    assert tree["stress"].stress.values.tolist() == ["fog", "fgsm"]
    log = load_result(tmp_path / "training" / "log.nc", "training")
    assert [log.attrs[k] for k in ("optimizer", "momentum", "norm", "start", "augment")] \
        == ["sgd", 0.5, "group(groups=4)", "kaiming_uniform", "MixUp(alpha=0.4)"]
    words = "train --model cnn2 --epochs 1 --optimizer sgd --momentum 0 --norm layer --inits 2 --no-progress"
    done = CliRunner().invoke(app, [*words.split(), "--out", str(tmp_path / "two")])
    assert done.exit_code == 0, done.output
    log = load_result(tmp_path / "two" / "log.nc", "training")
    assert log.sizes["init"] == 2 and log.attrs["momentum"] == 0 and log.attrs["norm"] == "layer"
