"""What a run belongs to, seen from outside: by `run_study`, `fragility run` and a study, through kernels. The right
values come from a plain loop over the images."""
import json
import os
import shutil
import sys
import warnings

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from test_data import idx
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result
from fragility_nb.core.whole import finished_run
from fragility_nb.data.sets import load_data
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.run.grid import run_grid
from fragility_nb.run.machine import kernel_interpreter
from fragility_nb.run.studies import is_done, run_study

CODE = """
import warnings
from pathlib import Path
from own_steps import THRESHOLDS
from fragility_nb.core.results import save_result
from fragility_nb.data.sets import load_data
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.create import load_checkpoint
warnings.simplefilter("ignore")
data = load_data(data, image_size=8, progress=False)
found = filter_sweep(load_checkpoint(model), data, thresholds=THRESHOLDS, layers=["conv1"], device="cpu",
                     progress=False)
save_result(found, Path(out)/"result.nc")
"""


@pytest.fixture(scope="module")
def net():
    model = create_model("cnn2")
    fit(model, load_data("digits", "train", n=300), epochs=1, lr=3e-3, batch_size=20, device="cpu", progress=False)
    return model


@pytest.fixture(scope="module")
def digits():
    found = load_data("digits", n=40)
    return found.images[:, 0].numpy(), found.labels.numpy()


@pytest.fixture
def place(tmp_path, net, monkeypatch):
    "A working folder with a template, a module beside it, and a network."
    first = nbformat.v4.new_code_cell("data = 'images'  # name of a data set, or a path\nmodel = 'net.safetensors'\n"
                                      "out = '.'  # folder for result.nc", metadata=dict(tags=["parameters"]))
    (tmp_path/"here").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[first, nbformat.v4.new_code_cell(CODE)])
    nbformat.write(notebook, tmp_path/"here"/"own.ipynb")
    (tmp_path/"here"/"own_steps.py").write_text("THRESHOLDS = 3\n")
    save_checkpoint(net, tmp_path/"here"/"net.safetensors")
    monkeypatch.chdir(tmp_path/"here")
    return tmp_path/"here"


def write(folder, images, labels):
    "An image folder."
    shutil.rmtree(folder, ignore_errors=True)
    for k in range(10): (folder/str(k)).mkdir(parents=True)
    for i, (a, y) in enumerate(zip(images, labels)): Image.fromarray(a).save(folder/str(y)/f"{i:03}.png")


def moved(labels): return (labels + (labels < 5)) % 10 # half of the classes are wrong


def accuracy(net, images, labels):
    "A plain loop."
    right = 0
    with torch.no_grad():
        for a, y in zip(images, labels): right += int(net(torch.from_numpy(a)[None, None].float() / 255).argmax()) == y
    return right / len(labels)


def found(out): return float(load_result(out/"result.nc").reference_accuracy[0])


def anew(words, run):
    "The run is not used again, and one line says why."
    with pytest.warns(UserWarning, match=rf"is not used again: .*{words}.*It runs anew"): run()


def again(run):
    "The run is used again without a word."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


def test_images_that_moved_and_a_module_that_changed(place, net, digits):
    images, labels = digits
    write(place/"images", images, labels)
    out = place/"run"
    run = lambda: run_study("own.ipynb", out, progress=False)
    run()
    assert found(out) == pytest.approx(accuracy(net, images, labels))
    stamp = (out/"result.nc").stat().st_mtime_ns
    again(run)
    assert (out/"result.nc").stat().st_mtime_ns == stamp
    write(place/"images", images, moved(labels))
    anew("contents.images changed", run)
    assert found(out) == pytest.approx(accuracy(net, images, moved(labels))) != accuracy(net, images, labels)
    (place/"own_steps.py").write_text("THRESHOLDS = 4\n")
    anew("modules.own_steps.py changed", run)
    assert load_result(out/"result.nc").sizes["threshold"] == 4


def test_the_same_words_for_other_files(place, net, digits, monkeypatch, tmp_path):
    "A relative path from another folder, `~` of another user, $FRAGILITY_DATA that points elsewhere."
    images, labels = digits
    right = [accuracy(net, images, y) for y in (labels, moved(labels))]
    for name, y in (("a", labels), ("b", moved(labels))):
        write(tmp_path/name/"images", images, y)
        raw = tmp_path/name/"sets"/"MNIST"/"raw"
        idx(raw/"t10k-images-idx3-ubyte", images)
        idx(raw/"t10k-labels-idx1-ubyte", y.astype(np.uint8))
        for file in ("net.safetensors", "own_steps.py"): shutil.copy(place/file, tmp_path/name)
    out, template = tmp_path/"out", place/"own.ipynb"
    run = lambda **how: run_study(template, out, progress=False, **how)
    monkeypatch.chdir(tmp_path/"a")
    run()
    assert found(out) == pytest.approx(right[0])
    monkeypatch.chdir(tmp_path/"b")
    anew("contents.images changed", run)
    assert found(out) == pytest.approx(right[1])
    monkeypatch.setenv("HOME", str(tmp_path/"a"))
    anew("parameters.data", lambda: run(data="~/images"))
    assert found(out) == pytest.approx(right[0]) and is_done(out, template, data="~/images")
    monkeypatch.setenv("HOME", str(tmp_path/"b"))
    assert not is_done(out, template, data="~/images")
    monkeypatch.setenv("FRAGILITY_DATA", str(tmp_path/"b"/"sets"))
    anew("parameters.data: ~/images → mnist", lambda: run(data="mnist"))
    assert found(out) == pytest.approx(right[1]) and is_done(out, template, data="mnist")
    monkeypatch.setenv("FRAGILITY_DATA", str(tmp_path/"a"/"sets"))
    assert not is_done(out, template, data="mnist")


def test_a_study_after_images_moved(place, net, digits):
    images, labels = digits
    write(place/"images", images, labels)
    (place/"s.toml").write_text("template = 'own.ipynb'\nfolder = 'study'\n[axes]\ndata = ['images']\n")
    lines = []
    grid = lambda: run_grid(place/"s.toml", tell=lines.append)
    only = lambda: next(p for p in sorted((place/"study"/"runs").iterdir(), key=lambda p: -p.stat().st_mtime)
                        if (p/"result.nc").is_file())
    assert grid().state.tolist() == ["done"] and found(only()) == pytest.approx(accuracy(net, images, labels))
    write(place/"images", images, moved(labels))
    status = grid()
    assert status.state.tolist() == ["done"]
    assert found(place/"study"/"runs"/status.index[0]) == pytest.approx(accuracy(net, images, moved(labels)))
    assert any("1 finished runs are not used again" in line and "contents.images changed" in line for line in lines)


def test_fragility_run_after_images_moved(place, net, digits):
    "The network is trained anew and the report made anew; each is told, and nothing of the first is lost."
    images, labels = digits
    write(place/"images"/"train", images, labels)
    write(place/"images"/"test", images, labels)
    out = place/"report"
    words = ["run", "--model", "cnn2", "--data", str(place/"images"), "--epochs", "12", "--batch-size", "5", "--lr",
             "0.01", "--snapshots", "0", "--thresholds", "3", "--out", str(out)]
    def run():
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    with warnings.catch_warnings(action="ignore"): run()
    first = load_result(out/"result.nc")["stress"].attrs
    for part in ("train", "test"): write(place/"images"/part, images, moved(labels))
    with pytest.warns(UserWarning) as told: run()
    text = " ".join(str(w.message) for w in told)
    assert "holds another training (data: " in text and "trained anew" in text and "contents." in text
    second = load_result(out/"result.nc")["stress"].attrs
    assert second["data_hash"] != first["data_hash"] and second["model_hash"] != first["model_hash"]
    asides = list(out.glob("earlier/*"))
    assert any((p/"training"/"state.safetensors").is_file() for p in asides)
    assert any((p/"result.nc").is_file() for p in asides)


# The interpreter of the kernel

def kernel(folder, monkeypatch, *argv, **env):
    "A description of the kernel `python3` that comes before all others."
    (folder/"kernels"/"python3").mkdir(parents=True)
    words = [*argv, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    facts = dict(argv=words, env=env, display_name="Python 3", language="python")
    (folder/"kernels"/"python3"/"kernel.json").write_text(json.dumps(facts))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))


@pytest.mark.parametrize("kind", ["no package", "another version", "not there"])
def test_a_kernel_with_another_package_is_refused_in_a_sentence(place, digits, monkeypatch, tmp_path, kind):
    "By run_study, and by `fragility run` before it trains."
    write(place/"images", *digits)
    if kind == "another version":
        facts = tmp_path/"other"/"fragility_nb-0.0.1.dist-info"
        facts.mkdir(parents=True)
        (facts/"METADATA").write_text("Metadata-Version: 2.1\nName: fragility_nb\nVersion: 0.0.1\n")
        kernel(tmp_path/"jupyter", monkeypatch, sys.executable, PYTHONPATH=str(tmp_path/"other"))
        told = r"has fragility_nb 0\.0\.1"
    elif kind == "no package":
        monkeypatch.delenv("PYTHONPATH", raising=False)
        kernel(tmp_path/"jupyter", monkeypatch, os.path.realpath(sys.executable))
        told = "has no fragility_nb"
    else:
        kernel(tmp_path/"jupyter", monkeypatch, str(tmp_path/"gone"/"python"))
        told = "is not there"
    with pytest.raises(ValueError, match=f"Expected the kernel `python3` to compute with fragility_nb .*{told}"):
        run_study("own.ipynb", place/"run", progress=False)
    assert not (place/"run"/"result.nc").exists()
    done = CliRunner().invoke(app, ["run", "--model", "cnn2", "--epochs", "1", "--out", str(place/"report")])
    assert done.exit_code == 2 and "Expected the kernel" in done.stderr and done.stderr.count("\n") == 1
    assert not (place/"report"/"training").exists()


def test_the_same_python_by_another_path_computes_and_is_named(place, net, digits, monkeypatch, tmp_path):
    write(place/"images", *digits)
    beside = os.path.join(os.path.dirname(sys.executable), "python3")
    other = beside if beside != sys.executable else os.path.join(os.path.dirname(sys.executable), "python")
    kernel(tmp_path/"jupyter", monkeypatch, other)
    run_study("own.ipynb", place/"run", progress=False)
    assert found(place/"run") == pytest.approx(accuracy(net, *digits))
    assert finished_run(place/"run", "own")["identity"]["kernel"]["executable"] == other != sys.executable
    assert kernel_interpreter()["executable"] == other
