"""Each way to name a network, to give images and to attack them, in each of three places: command, template, study.

The ways are paired, not crossed: each occurs at least once in each place, and runs are shared; networks are tiny."""
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result
from fragility_nb.data.sets import load_data
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.run.grid import run_grid
from fragility_nb.run.in_memory import report
from fragility_nb.run.study_files import load_study
from fragility_nb.run.studies import run_study

OWN = """from torch import nn
def make(num_classes, in_chans, width=8):
    return nn.Sequential(nn.Conv2d(in_chans, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(),
                         nn.Linear(9*width, num_classes))
"""
NETWORKS = {"zoo": ("cnn2", "cnn2.safetensors"), "timm": ("timm:test_resnet", "timm.safetensors"),
            "hub": ("torch.hub:hub:make", "own.pth"), "module": ("waysnets.own:make", "own.pth"),
            "file": ("own.py:make", "own.pth")}
IMAGES = {"name": "digits", "folder": "sorted", "table": "table"}
ATTACKS = {"torchattacks": "torchattacks:FGSM", "foolbox": "foolbox:LinfFastGradientAttack",
           "art": "art:FastGradientMethod", "captum": "captum:FGSM"}
FEW = dict(n=20, thresholds=2, severities=[0, 2], seeds=[0], control=0, layers=1, with_coverage=False,
           with_batchnorm=False, with_kernels=False)


def ways(shift):
    "A network, images and an attack each; over all of them every way occurs."
    pick = lambda kinds, i: list(kinds.items())[i % len(kinds)]
    return {f"{net}-{pick(IMAGES, i + shift)[0]}-{pick(ATTACKS, i + shift)[0]}":
            (*NETWORKS[net], pick(IMAGES, i + shift)[1], pick(ATTACKS, i + shift)[1]) for i, net in enumerate(NETWORKS)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    "A folder with the code of networks, weights that know digits, and digits as files."
    home = tmp_path_factory.mktemp("home")
    for place in ("own.py", "hub/hubconf.py", "waysnets/own.py"):
        (home/place).parent.mkdir(exist_ok=True)
        (home/place).write_text(OWN)
    train, few = load_data("digits", "train", n=400), load_data("digits", n=20)
    how = dict(lr=0.01, batch_size=20, progress=False, device="cpu")
    built = dict(num_classes=10, in_chans=1, image_size=8)
    for name, file in (NETWORKS[k] for k in ("zoo", "timm", "file")):
        net = create_model(str(home/name) if name.startswith("own") else name, **built)
        fit(net, train, epochs=4, **how)
        if file.endswith("pth"): torch.save(net.state_dict(), home/file)
        else: save_checkpoint(net, home/file)
    write_images(home, few)
    return home


def write_images(home, few):
    "Digits in class folders, and in a table."
    (home/"table").mkdir()
    rows = ["file_name,label"]
    for i, (image, label) in enumerate(zip(few.images, few.labels.tolist())):
        for file in (home/f"sorted/{label}/{i}.png", home/f"table/{i}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0].numpy()).save(file)
        rows.append(f"{i}.png,{label}")
    (home/"table/metadata.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture
def here(home, monkeypatch):
    "The current folder, from which relative paths start."
    monkeypatch.chdir(home)
    return home


def found(out, attack):
    "The result of a report, of the attack that was asked for."
    result = load_result(Path(out)/"result.nc")
    assert attack.partition(":")[2] in result["epsilon"].attrs["attack"]
    assert result["filters"].sizes["sample"] == 20 and float(result["epsilon"].epsilon) > 0
    return result


@pytest.mark.quick
def test_every_way_occurs_in_every_place():
    for shift in range(3):
        told = [set(part) for part in zip(*(key.split("-") for key in ways(shift)))]
        assert told == [set(NETWORKS), set(IMAGES), set(ATTACKS)]


@pytest.mark.parametrize("model, weights, data, attack", ways(0).values(), ids=ways(0))
def test_command(here, model, weights, data, attack, request):
    "One whole report; of the others what comes before it, measured: network, images and attack are the real ones."
    args = ["run", "--model", model, "--weights", weights, "--data", data, "--attack", attack, "--n", "20", "--layers",
            "1", "--thresholds", "2", "--control", "0", "--out", "runs/cli"]
    whole = "file" in request.node.callspec.id
    done = CliRunner().invoke(app, args + ([] if whole else ["--estimate"]))
    assert done.exit_code == 0, done.output
    if whole: return found("runs/cli", attack)
    assert "The report takes about" in done.output and not Path("runs/cli").exists()


@pytest.mark.parametrize("model, weights, data, attack", ways(1).values(), ids=ways(1))
def test_template(here, model, weights, data, attack, request):
    "The template, once in a process of its own; else its cells in this one."
    out = Path("runs/template")/request.node.callspec.id
    if "hub" in request.node.callspec.id:
        run_study("model_report", out, model=model, weights=weights, data=data, attack=attack, progress=False, **FEW)
    else: report(model, data, out, weights=weights, attack=attack, progress=False, **FEW)
    assert len(found(out, attack)["filters"].layer) == 2  # one layer, and global


def test_study(here):
    "One study with all five."
    names = ("model", "weights", "data", "attack")
    table = lambda values: "\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items())
    runs = "\n".join(f"[[runs]]\n{table(dict(zip(names, row)))}" for row in ways(2).values())
    study = f'template = "model_report"\n[parameters]\n{table(FEW)}\n{runs}\n'
    Path("ways.toml").write_text(study)
    plan = load_study("ways.toml")
    status = run_grid(plan)
    assert status.state.tolist() == ["done"]*5, status.error.tolist()
    for run in plan.runs: found(run.folder, run.params["attack"])
