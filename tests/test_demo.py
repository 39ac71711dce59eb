"The main job as a user runs it: `fragility demo`, its files, its bars, and the second call that reuses them."
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import xarray as xr
from conftest import NO_TORCH, environment, python, run

from fragility_nb.core.results import load_result
from fragility_nb.run.studies import is_done, run_study
from fragility_nb.run.parameters import template_parameters

FRAGILITY = [sys.executable, "-c", "from fragility_nb.cli import app; app()"]
MODELS = ("cnn3", "cnn7")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    "The demo, run once."
    folder = tmp_path_factory.mktemp("demo")
    printed = run(*FRAGILITY, "demo", "--out", folder / "runs", cwd=folder, timeout=900)
    return folder / "runs", printed


def test_everything_is_there(demo):
    out, printed = demo
    for name in MODELS:
        for file in ("model_report.ipynb", "model_report.html", "result.nc", "run.json"):
            assert (out / name / file).is_file(), file
        assert not list((out / name).glob("*running*")) and not (out / name / "parts").exists()
    page = (out / "comparison.html").read_text(encoding="utf-8")
    assert "cnn3 against cnn7" in page and "data:image/png;base64" in page
    assert re.search("cnn7 (is (more|less) fragile than|and cnn3 cannot be told apart)", page)
    assert "differences are paired" in page and "The images are not shown" not in page
    assert printed.splitlines()[0] == f"made {out / 'images.png'}" and (out / "images.png").is_file()
    for words in ("clean accuracy", "accuracy at ε", "noise AUC", "blur AUC", "most fragile layer",
                  "fragile / robust / antifragile / undecided", "comparison.html"):
        assert words in printed, printed


def test_bars(demo):
    for name in MODELS:
        report = load_result(demo[0] / name / "result.nc")
        clean = report["stress_summary"].accuracy.sel(stress="gaussian_noise", severity=0)
        assert float(clean) >= 0.95
        first = report["scores"].to_dataset().sel(kind="clean", filter="combined", layer="conv1")
        assert float(first.high) < 0 and str(first.label.values) == "fragile"
        assert float(report["epsilon"].relative_accuracy) == pytest.approx(0.5, abs=0.01)


def test_the_saved_baselines_agree(demo):
    for name in MODELS:
        report = load_result(demo[0] / name / "result.nc")
        clean = report["stress"].correct.sel(severity=0).isel(seed=0)
        for stress in clean.stress.values:
            np.testing.assert_array_equal(clean.sel(stress=stress),
                                          report["filters"].reference_correct.sel(stress="clean"))
        attacked = report["filters"].reference_accuracy.sel(stress="adversarial")
        assert float(attacked) == float(report["epsilon"].accuracy)
        assert list(report["landscape"].epoch.values) == [6, 12, 18, 24]


def test_result_opens_with_plain_xarray_and_draws_without_torch(demo, tmp_path):
    path = demo[0] / "cnn3" / "result.nc"
    with xr.open_datatree(path) as tree:
        assert {"stress", "filters", "scores", "landscape_scores"} <= set(tree.children)
    code = NO_TORCH + f"""
import matplotlib; matplotlib.use("agg")
from fragility_nb.core.results import load_result
from fragility_nb.figures.plots import plot_compactness, plot_filter_response, plot_landscape, plot_scores, plot_stress
report = load_result({str(path)!r})
part = lambda g: report[g].to_dataset()
plot_stress(part("stress")); plot_filter_response(part("filters"), "conv1"); plot_scores(part("scores"))
plot_landscape(part("landscape_scores")); plot_compactness(part("filters"), "conv1")
print("drawn")"""
    assert python(code, cwd=tmp_path) == "drawn"


def test_executed_notebooks_have_no_error(demo):
    for path in demo[0].rglob("*.ipynb"):
        nb = nbformat.read(path, as_version=4)
        assert not [o for c in nb.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"], path


def test_a_second_demo_reuses_what_is_there(demo):
    out, printed = demo
    files = [p for p in out.rglob("*") if p.is_file()]
    before = {p: p.stat().st_mtime_ns for p in files if p.suffix in (".nc", ".html", ".ipynb", ".safetensors")}
    again = run(*FRAGILITY, "demo", "--out", out, cwd=out.parent, timeout=300)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert again.splitlines()[-12:] == printed.splitlines()[-12:]


def test_a_damaged_result_is_made_again_and_other_parameters_do_not_overwrite(demo, tmp_path):
    out = demo[0] / "cnn3"
    params = json.loads((out / "run.json").read_text())["model_report"]["params"]
    checkpoint = params["checkpoint"]
    few = dict(checkpoint=checkpoint, n=40, thresholds=3, severities=[0, 1], seeds=[0], progress=False)
    run_study("model_report", tmp_path, **few)
    assert is_done(tmp_path, "model_report", **{k: v for k, v in few.items() if k != "progress"})
    first = load_result(tmp_path / "result.nc")
    (tmp_path / "result.nc").write_bytes((tmp_path / "result.nc").read_bytes()[:-500])
    assert not is_done(tmp_path, "model_report", **{k: v for k, v in few.items() if k != "progress"})
    run_study("model_report", tmp_path, **few)
    again = load_result(tmp_path / "result.nc")
    xr.testing.assert_equal(again["filters"].to_dataset(), first["filters"].to_dataset())
    kept = (tmp_path / "result.nc").read_bytes()
    run_study("model_report", tmp_path, **(few | dict(thresholds=4)))
    assert [p for p in (tmp_path / "earlier").rglob("result.nc") if p.read_bytes() == kept]


def test_a_killed_run_goes_on(tmp_path):
    "SIGKILL in the middle of training: the second call starts after the last finished epoch, ends as if undisturbed."
    args = ["run", "--model", "cnn3", "--out", tmp_path / "a", "--epochs", "6", "--snapshots", "0", "--n", "40",
            "--thresholds", "3"]
    process = subprocess.Popen([*FRAGILITY, *map(str, args)], cwd=tmp_path, env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    state = tmp_path / "a" / "training" / "state.safetensors"
    until = time.time() + 120
    while not state.exists() and time.time() < until: time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists() and not (tmp_path / "a" / "result.nc").exists()
    run(*FRAGILITY, *args, cwd=tmp_path)
    args[4] = tmp_path / "b"
    run(*FRAGILITY, *args, cwd=tmp_path)
    a, b = (load_result(tmp_path / x / "result.nc") for x in "ab")
    for group in ("stress", "filters", "scores"): xr.testing.assert_equal(a[group].to_dataset(), b[group].to_dataset())


def test_command_line_errors_are_one_line(tmp_path):
    for args, message in ((["run", "--model", "resnet81", "--out", "x"], "Did you mean 'resnet18'"),
                          (["run", "--model", "cnn3", "--data", "mnits", "--out", "x"], "Did you mean 'mnist'"),
                          (["run", "--model", "cnn3", "--data", "mnist", "--root", "none", "--out", "x"], "--download"),
                          (["run", "--model", "cnn3", "--device", "gpu", "--out", "x"], "Expected `device`")):
        done = subprocess.run([*FRAGILITY, *args], cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_help_names_every_option_with_its_unit():
    for command in ("demo", "run", "list"):
        text = run(*FRAGILITY, command, "--help", cwd=Path.cwd(), COLUMNS="200", NO_COLOR="1")
        options = re.findall(r"(--[a-z-]+)(?:  .*)", text)
        assert "--help" in options or "--help" in text
    for unit in ("in pixels", "between 0 and 1", "passes over", "images per step"):
        assert unit in run(*FRAGILITY, "run", "--help", cwd=Path.cwd(), COLUMNS="300", NO_COLOR="1")


def test_every_template_parameter_is_explained():
    for template in ("model_report", "comparison"): assert (template_parameters(template).help.str.len() > 5).all()
