"""The shipped templates: by papermill itself, by hand, and by the grid; what they write, and what they refuse."""
import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from papermill import inspect_notebook

from fragility_nb.core.results import load_result
from fragility_nb.data.sets import load_data
from fragility_nb.measure.matrix import train_test_matrix
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.create import load_checkpoint
from fragility_nb.models.training import train_model
from fragility_nb.run.parameters import find_template, list_templates, template_parameters
from fragility_nb.run.studies import run_cells, run_study
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.stressors import GaussianNoise

ROOT = Path(__file__).resolve().parent.parent
SMALL = dict(n=40, thresholds=3, severities=[0, 4], seeds=[0])

def cells(template):
    "The cells of a template: kind, tags, source."
    found = json.loads(find_template(template).read_text())["cells"]
    return [(c["cell_type"], c["metadata"].get("tags", []), "".join(c["source"])) for c in found]

@pytest.mark.quick
@pytest.mark.parametrize("template", list_templates())
def test_the_first_screen_is_words_and_parameters(template):
    first, second, *rest = cells(template)
    assert first[0] == "markdown" and first[1] == ["remove-cell"]
    for words in ("# ", "**What the page shows.**", "**What to change.**"): assert words in first[2]
    assert second[0] == "code" and second[1] == ["parameters"]
    assert not [tags for _, tags, _ in rest if "parameters" in tags]

@pytest.mark.quick
@pytest.mark.parametrize("template", list_templates())
def test_cells_are_short_and_imports_name_what_they_import(template):
    code = [source for kind, tags, source in cells(template) if kind == "code" and "parameters" not in tags]
    assert max(len(source.splitlines()) for source in code) <= 15
    trees = [ast.parse("\n".join(line for line in source.splitlines() if not line.startswith("%"))) for source in code]
    for tree in trees:
        stars = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) if n.names[0].name == "*"]
        inside = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        assert not stars and not inside, "what a page says is made in run.report"

def papermill(template, folder, **params):
    "The command that a user types."
    words = [w for k, v in params.items() for w in ("-y", json.dumps({k: v}))]
    env = dict(os.environ, PYTHONPATH=os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
               OMP_NUM_THREADS="1", MPLBACKEND="agg")
    command = [sys.executable, "-m", "papermill", str(find_template(template)), "out.ipynb", "--no-progress-bar",
               *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=300)

def outputs(notebook):
    "Text, number of figures, and errors and warnings of an executed notebook."
    cells = json.loads(Path(notebook).read_text())["cells"]
    found = [o for c in cells for o in c.get("outputs", [])]
    text = "\n".join("".join(o.get("data", {}).get("text/markdown", "")) for o in found)
    wrong = [o for o in found if o["output_type"] == "error" or o.get("name") == "stderr"]
    return text, sum("image/png" in o.get("data", {}) for o in found), wrong

def test_every_parameter_is_explained():
    for name in list_templates():
        table, papermills = template_parameters(name), inspect_notebook(str(find_template(name)))
        # papermill overlooks a line that has another = in its comment
        assert table.help.to_dict() == {k: p["help"] for k, p in papermills.items()}, name
        assert table.default.to_dict() == {k: p["default"] for k, p in papermills.items()}, name
        short = table.index[table.help.str.len() <= 8].tolist()
        assert len(table) and not short, f"{name}: {short}"
    assert {"model_report", "train_and_report", "train_test_matrix", "depth_comparison"} <= set(list_templates())

def test_train_and_report_by_papermill(tmp_path):
    """The training, then the report with the chosen sections: the same numbers as when both are done by hand."""
    done = papermill("train_and_report", tmp_path, model="cnn4", epochs=2, snapshots=1, sections=["coverage"],
                     report=SMALL | dict(landscape_thresholds=3, landscape_images=40))
    assert done.returncode == 0, done.stderr[-2000:]
    text, figures, wrong = outputs(tmp_path/"out.ipynb")
    assert "# How cnn4 breaks" in text and figures >= 8 and not wrong
    assert "## How it was trained" in text and "## Coverage" in text and "## Fragile kernels" not in text
    report = load_result(tmp_path/"result.nc")
    assert {"landscape", "coverage"} <= set(report.children) and "fragile_kernels" not in report.children
    own = report["scores"].to_dataset().sel(kind="clean", filter="combined", layer="conv1")
    labels = report["scores"].label.sel(kind="clean", filter="combined")
    fragile = [str(name) for name in labels.layer.values if name != "global" and labels.sel(layer=name) == "fragile"]
    for layer in fragile[:4]: assert layer in text.split("**Stress on the weights**")[1].split("\n")[0]
    if "conv1" in fragile: assert f"{float(own.score):+.3f}".replace("-", "−") in text
    train_model("cnn4", tmp_path/"hand", epochs=2, lr=3e-3, batch_size=32, progress=False)
    net, test = load_checkpoint(tmp_path/"hand"/"model.safetensors"), load_data("digits", "test", n=SMALL["n"])
    filters = filter_sweep(net, test, scope="both", thresholds=3, attack=FGSM(float(report["epsilon"].epsilon)),
                           progress=False)
    assert filters.attrs["model_hash"] == report["filters"].attrs["model_hash"]
    for name in filters.data_vars: np.testing.assert_array_equal(filters[name].values, report["filters"][name].values)

def test_matrix_template(tmp_path):
    page = run_study("train_test_matrix", tmp_path, progress=False, levels=[0, 2], epochs=2, probes=8,
                     augments=["mixup"], epsilon=0.05, n=60)
    result = load_result(tmp_path/"result.nc", "train_test_matrix")
    assert result.train.values.tolist() == ["none", "gaussian_noise 2", "mixup"] and result.sizes["stress"] == 2
    text, figures, wrong = outputs(tmp_path/"train_test_matrix.ipynb")
    assert figures == 4 and not wrong and "image/png" in page.read_text()
    direct = train_test_matrix("cnn3", (load_data("digits", "train"), load_data("digits", "test", n=60)),
                               GaussianNoise(), [0, 2], epochs=2, lr=3e-3, batch_size=32,
                               rows=dict(mixup="mixup"), searches=(), progress=False)
    np.testing.assert_array_equal(result.pred.isel(stress=0).values, direct.pred.isel(stress=0).values)
    tested = direct.isel(stress=0, severity=1)
    right = tested.pred == direct.label if "label" in direct.coords else tested.correct
    hits = right.mean("sample").values.ravel()
    assert f"by {100*(hits[1] - hits[0]):+.1f} points".replace("-", "−") in text # what the page says the training buys

def test_depth_template(tmp_path):
    page = run_study("depth_comparison", tmp_path, progress=False, models=["cnn3", "cnn4"], image_size=8, epochs=2,
                     report=SMALL)
    tree = load_result(tmp_path/"result.nc")
    assert set(tree.children) == {"cnn3", "cnn4"}
    for name in tree.children:
        own = load_result(tmp_path/name/"result.nc")
        np.testing.assert_array_equal(tree[f"{name}/scores"].score.values, own["scores"].score.values)
        assert f'href="{name}/model_report.html"' in page.read_text() and (tmp_path/name/"model_report.html").is_file()
    text = outputs(tmp_path/"depth_comparison.ipynb")[0]
    assert "# cnn3 against cnn4" in text
    for name in tree.children:
        scores = tree[f"{name}/scores"].to_dataset().sel(kind="clean", filter="combined").score
        place = int(scores.sel(layer=[name for name in scores.layer.values if name != "global"]).values.argmin())
        assert f"**{name}** is most fragile in {scores.layer.values[place]}, layer {place + 1} of" in text

@pytest.mark.parametrize("template, wrong, words", [
    ("model_report", dict(thresholds=1), "`thresholds`"),
    ("model_report", dict(ci=95), "`ci`"),
    ("model_report", dict(severities="[0, 2]"), "`severities` to be a list"),
    ("model_report", dict(severities=[1, 2]), "increase from 0"),
    ("model_report", dict(data="digist"), "Did you mean 'digits'"),
    ("train_and_report", dict(sections=["coverge"]), "Did you mean 'coverage'"),
    ("train_and_report", dict(sections="coverage"), "`sections` to be a list"),
    ("train_and_report", dict(report=dict(treshold=3)), "Did you mean 'thresholds'"),
    ("train_and_report", dict(report=dict(data="mnist")), "sets `data`"),
    ("train_and_report", dict(snapshots=99), "`snapshots`"),
    ("train_test_matrix", dict(stressor="gausian_noise"), "Did you mean 'gaussian_noise'"),
    ("train_test_matrix", dict(levels="[0,2]"), "`levels` to be a list"),
    ("train_test_matrix", dict(searches=["fgms"]), "Did you mean 'fgsm'"),
    ("depth_comparison", dict(models=["cnn3"]), "at least two different networks"),
    ("depth_comparison", dict(models=["cnn3", "resnet81"]), "Did you mean 'resnet18'"),
    ("comparison", dict(results=["a.nc"]), "two or more paths"),
])
def test_refusals(template, wrong, words):
    """One error, before anything is trained or measured: in the cell after the parameters and the imports."""
    parameters, imports, setup = [source for kind, _, source in cells(template) if kind == "code"][:3]
    names = {}
    exec(parameters, names)
    names.update(wrong)
    exec(imports, names)
    with pytest.raises((ValueError, TypeError), match=words):
        exec("\n".join(line for line in setup.splitlines() if not line.startswith("%")), names)

def test_run_cells_needs_a_notebook():
    with pytest.raises(RuntimeError, match="Expected to be called in a notebook"): run_cells("comparison")
    with pytest.raises(ValueError, match="Unknown `parameter`"): run_cells("comparison", result=[])
