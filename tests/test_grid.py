"""A study through everything that can happen to it: kills, a full disk, damage, edits, two at once; and what is made of
its runs."""
import functools
import importlib.util
import json
import queue
import re
import shutil
import signal
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import psutil
import pytest
import xarray as xr
from conftest import ROOT, environment
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result, provenance, save_result
from fragility_nb.run import cluster, dask_engine
from fragility_nb.run.collect import _by_axis, _stacked, collect_study, report_study, study_table
from fragility_nb.run.grid import run_grid, study_status, time_left
from fragility_nb.run.parameters import template_parameters
from fragility_nb.run.study_files import check_study, load_study

spec = importlib.util.spec_from_file_location("grid_faults", ROOT / "benchmarks" / "grid_faults.py")
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)


def fragility(*args):
    "The command, with what it printed; in this process, which has imported everything."
    return CliRunner().invoke(app, list(map(str, args)))


class Here(cluster.Engine):
    "An engine without processes of its own, where the engine is not what is tested."
    def run(self, call, arguments, stop=None):
        for i, argument in enumerate(arguments):
            answer = queue.SimpleQueue()
            thread = threading.Thread(target=lambda to, given: to.put(call(given)), args=(answer, argument))
            thread.start()
            thread.join()
            yield i, answer.get_nowait()


@pytest.fixture
def here(monkeypatch):
    "The command's engine is `Here`."
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "") # a run sets it, in a process that is its own
    monkeypatch.setattr(cluster, "LocalEngine", lambda *_, **__: Here())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    "Three runs that nothing happened to."
    file = faults.study(tmp_path_factory.mktemp("undisturbed"), runs=3)
    done = subprocess.run([*faults.FRAGILITY, "grid", file, "--workers", "2"], env=environment(),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and "3 done" in done.stdout and not done.stderr, done.stdout + done.stderr
    return file


@pytest.fixture
def copied(undisturbed, tmp_path):
    "The same, to be mistreated."
    shutil.copytree(undisturbed.parent, tmp_path / "study")
    return tmp_path / "study" / "study.toml"


def test_killed_again_and_again(undisturbed, tmp_path):
    """SIGKILL for kernel, worker and controller, the last when a run is finished: all complete, none twice, nothing
    left, the same to the bit."""
    file = faults.study(tmp_path, runs=3)
    killed = faults.disturbed(file, 3, wait=(0.1, 1.), env=environment(), kinds=("kernel", "worker", "controller"))
    assert len(killed) == 3 and killed[-1][1] >= 1, killed
    faults.check(file, undisturbed)


def test_on_dask_from_the_command_line(undisturbed, tmp_path):
    """A dask worker is killed in the middle of a run: this one is begun again, nothing else, and the collection is that
    of the local engine to the bit."""
    file = faults.study(tmp_path, runs=3)
    command = faults.start(file, "--engine", "dask", "--workers", "2", env=environment(), stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True)
    run = next(r for r in load_study(file).runs if r.folder in partly(file).parents)
    # run <- starter <- dask worker
    worker = psutil.Process(json.loads((run.folder / "running.json").read_text())["pid"]).parent().parent()
    worker.kill()
    printed, _ = command.communicate(timeout=200)
    assert command.returncode == 0 and "3 done" in printed, printed
    assert "Traceback" not in printed and "distributed" not in printed, printed
    starts = {r.name: (r.folder / "log.txt").read_text().count(" started:") for r in load_study(file).runs}
    assert starts == {name: 2 if name == run.name else 1 for name in starts}
    faults.check(file, undisturbed)


def partly(file, timeout=100):
    "Waits until a run has kept its first part; its folder of parts."
    until = time.time() + timeout
    while not (found := list((file.parent / "study" / "runs").glob("*/.work/*/parts/*/*.npz"))):
        assert time.time() < until, "no run got so far"
        time.sleep(0.02)
    return found[0].parent.parent


def test_a_scheduler_that_does_not_answer(tmp_path, monkeypatch):
    "One error on the command line; a second is a short time, ten is what the command gives it."
    monkeypatch.setattr(dask_engine, "DaskEngine", functools.partial(dask_engine.DaskEngine, timeout=1))
    file, began = faults.study(tmp_path, runs=1), time.time()
    done = fragility("grid", file, "--engine", "dask", "--scheduler", "tcp://127.0.0.1:9")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.output
    assert done.stderr.startswith("Error: No dask scheduler answers at `tcp://127.0.0.1:9`"), done.output
    assert time.time() - began < 20 and study_status(file).state.tolist() == ["planned"]


def test_every_run_has_its_files(undisturbed):
    plan = load_study(undisturbed)
    status = study_status(plan)
    for run in plan.runs:
        assert {p.name for p in run.folder.iterdir()} == {".result.copy", "log.txt", "params.json",
                                                          "result.nc", "run.json", "work.html", "work.ipynb"}
        assert re.fullmatch(r"seed=\d_[0-9a-f]{8}", run.name)
        assert json.loads((run.folder / "params.json").read_text())["params"] == run.params
    assert (status.seconds > status.cell_seconds).all() and (status.cell_seconds > 1.2).all()
    assert status.cpu_seconds.gt(0.1).all() and (status.peak_memory > 2**25).all()


def test_the_same_numbers_as_without_a_grid(undisturbed):
    result = collect_study(undisturbed)["result"]
    for i, seed in enumerate(result.run_seed.values):
        expected = [np.random.default_rng([seed, k]).normal(size=(40, 3)).cumsum(0) for k in range(4)]
        np.testing.assert_array_equal(result.walk[i], expected)
        assert float(result.end[i]) == expected[-1].sum()
    assert result.attrs["kind"] == "light" and "seed" not in result.attrs
    assert study_table(undisturbed).end.tolist() == result.end.values.tolist()


def test_a_second_call_computes_nothing(copied):
    before = faults.finished(copied)
    assert run_grid(copied).state.eq("done").all()
    assert faults.finished(copied) == before


def test_a_truncated_result_is_made_again_and_only_that(copied, here):
    plan, before = load_study(copied), faults.finished(copied)
    path = plan.runs[1].folder / "result.nc"
    good = load_result(path)
    path.write_bytes(path.read_bytes()[:-300])
    assert study_status(plan).state.tolist() == ["done", "damaged", "done"]
    assert len(collect_study(plan)["result"].run) == 2
    assert run_grid(plan, engine=Here()).state.eq("done").all()
    assert load_result(path).drop_attrs().identical(good.drop_attrs())
    assert list(plan.runs[1].folder.glob("earlier/*/result.nc"))
    others = [r.name for r in plan.runs if r is not plan.runs[1]]
    after = faults.finished(copied)
    assert {k: after[k] for k in others} == {k: before[k] for k in others}


def test_an_edited_template_makes_new_runs_and_keeps_the_old(copied, here):
    before, text = faults.finished(copied), copied.read_text()
    notebook = copied.parent / "work.ipynb"
    notebook.write_text(notebook.read_text().replace("size=(40, 3)", "size=(5, 3)"))
    copied.write_text(text.replace("[0, 1, 2]", "[0]"))
    assert study_status(copied).state.tolist() == ["planned"]
    run_grid(copied, engine=Here())
    assert collect_study(copied)["result"].sizes["time"] == 5
    notebook.write_text(notebook.read_text().replace("size=(5, 3)", "size=(40, 3)"))
    copied.write_text(text)
    assert faults.finished(copied) == before


def test_parameters_files_and_versions_make_another_run(copied, monkeypatch):
    first = load_study(copied).runs[0]
    copied.write_text(copied.read_text() + "pause = 0.1\n")
    assert load_study(copied).runs[0].folder != first.folder
    from fragility_nb.run import studies
    (copied.parent / "w.txt").write_text("a")
    one = studies.run_fingerprint(copied.parent / "work.ipynb", dict(x="w.txt"), copied.parent)
    (copied.parent / "w.txt").write_text("b!")
    two = studies.run_fingerprint(copied.parent / "work.ipynb", dict(x="w.txt"), copied.parent)
    monkeypatch.setattr(studies, "_versions", lambda: dict(fragility_nb="9.9"))
    assert len({one, two, studies.run_fingerprint(copied.parent / "work.ipynb", dict(x="w.txt"), copied.parent)}) == 3


def running(file, timeout=60):
    "Waits until a worker works."
    until = time.time() + timeout
    while not faults.workers(file):
        assert time.time() < until, "no worker began"
        time.sleep(0.05)


def test_two_controllers_and_ctrl_c(tmp_path):
    "The second controller is refused; Ctrl-C lets the running run end; a second one ends at once, and nothing is lost."
    file = faults.study(tmp_path, runs=3, steps=5, pause=1.)
    first = faults.start(file, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running(file)
    second = fragility("grid", file)
    assert second.exit_code == 2 and "Another `fragility grid`" in second.stderr and "Traceback" not in second.stderr
    assert "running  seed=0" in fragility("status", file).stdout
    first.send_signal(signal.SIGINT)
    printed, _ = first.communicate(timeout=60)
    assert first.returncode == 130 and "what runs now is finished" in printed
    assert study_status(file).state.tolist() == ["done", "planned", "planned"]
    first = faults.start(file, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    running(file)
    parts = partly(file)
    first.send_signal(signal.SIGINT)
    time.sleep(0.3)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=20)
    assert first.returncode == 130 and study_status(file).state.tolist() == ["done", "interrupted", "planned"]
    assert not faults.still_alive(faults.workers(file)) and list(parts.rglob("*.npz"))


FAILS = ("a = 1  # what happens\nout = '.'  # folder for result.nc", """
if a == 1: print("so far so good"); 1/0
""")


def test_what_fails_is_told_in_status_log_and_notebook(tmp_path, here):
    "A failed cell, with its traceback; a run that ends without a result is not done; neither is tried again unasked."
    faults.template(tmp_path / "fails.ipynb", *FAILS)
    (tmp_path / "s.toml").write_text("template = 'fails.ipynb'\n[axes]\na = [1, 2]")
    done = fragility("grid", tmp_path / "s.toml", "--workers", 1)
    plan = load_study(tmp_path / "s.toml")
    status, first = study_status(plan), plan.runs[0].folder
    assert done.exit_code == 1 and status.state.tolist() == ["failed", "failed"], done.output
    assert status.cell.tolist()[0] == 3 and status.error.iloc[0] == "ZeroDivisionError: division by zero"
    assert "wrote no result.nc" in status.error.iloc[1]
    for text in (status.traceback.iloc[0], done.output, fragility("status", tmp_path / "s.toml").output,
                 (first / "log.txt").read_text(), (first / "fails.failed.ipynb").read_text()):
        assert "1/0" in text and "ZeroDivisionError" in text
    assert "so far so good" in (first / "log.txt").read_text()
    assert fragility("grid", tmp_path / "s.toml").exit_code == 1
    assert (first / "log.txt").read_text().count("started") == 1


class Deadly(cluster.Engine):
    "An engine whose workers die."
    def run(self, call, arguments, stop=None):
        yield from ((i, cluster.WorkerDied("killed by signal 9")) for i, _ in enumerate(arguments))


def test_a_run_whose_process_dies_three_times_is_a_failure(tmp_path):
    lines = []
    status = run_grid(faults.study(tmp_path, runs=2), engine=Deadly(), tell=lines.append)
    assert status.state.eq("failed").all() and status.error.str.contains("died three times .*signal 9").all()
    assert len(lines) == 6 and all("died" in line for line in lines)


def test_the_disk_fills_in_the_middle(tmp_path, here):
    "The command ends with one error and marks nothing as failed; with room again, it goes on."
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", disk], capture_output=True).returncode:
        pytest.skip("no permission to mount a small disk")
    try:
        file = faults.study(tmp_path / "own", runs=1)
        file.write_text(file.read_text().replace("folder = 'study'", f"folder = '{disk}/study'"))
        (disk / "ballast").write_bytes(b"x" * (3 * 2**20 - 60_000))
        full = fragility("grid", file)
        assert full.exit_code == 2, full.stderr + full.stdout
        assert "make room" in full.stderr and "Traceback" not in full.stderr, full.stderr + full.stdout
        assert not study_status(file).state.isin(["failed", "done"]).any()
        (disk / "ballast").unlink()
        assert fragility("grid", file).exit_code == 0
    finally: subprocess.run(["umount", "-l", disk], check=True)


BASE = "template = 'model_report'\n"
@pytest.mark.parametrize("text, error, message", [
    ("[axes]\ndata = ['digits'\n", ValueError, "line 3"),
    ("[axes]\nn = 1 2\n", ValueError, "line 3"),
    ("[axis]\ndata = ['digits']", ValueError, "Did you mean 'axes'"),
    ("[axes]\ndatta = ['digits']", ValueError, "Did you mean 'data'"),
    ("[axes]\ndata = ['digits']\n[parameters]\ntreshold = 5", ValueError, "Did you mean 'thresholds'"),
    ("[axes]\ndata = []", ValueError, "it is empty"),
    ("[axes]\ndata = 'digits'", TypeError, "to be a list"),
    ("[axes]\nn = [40, 40]", ValueError, "comes twice"),
    ("[axes]\nthresholds = [5, 2.5]", TypeError, "an integer"),
    ("[axes]\nthresholds = [true]", TypeError, "an integer"),
    ("[axes]\nwith_coverage = [1]", TypeError, "true or false"),
    ("[axes]\nseverities = [0, 1]", TypeError, "a list"),
    ("[axes]\nn = [2026-01-01]", TypeError, "datetime.date"),
    ("[axes]\ncheckpoint = ['a.safetensors']", FileNotFoundError, "nothing at `a.safetensors`"),
    ("[axes]\nn = [1]\n[parameters]\nroot = 'nowhere'", FileNotFoundError, "`root`"),
    ("[axes]\nn = [1]\n[parameters]\ndata = './images'", FileNotFoundError, "`data`"),
    ("[axes]\nn = [1]\n[parameters]\nn = 2", ValueError, "an axis and a fixed parameter"),
    ("[axes]\nn = [1]\n[parameters]\nout = 'x'", ValueError, "set by the grid"),
    ("[axes]\nn = [1]\n[[exclude]]\nn = 1", ValueError, "leaves none"),
    ("[axes]\nn = [1]\n[[exclude]]\nci = 0.9", ValueError, "axis in [[exclude]]"),
    ("[parameters]\nn = 1", ValueError, "there is neither"),
    ("[axes]\nn = ['many']", TypeError, "`n` to be an integer, but got 'many'"),
    ("[axes]\nimage_size = [12.5]", TypeError, "an integer"),
    ("[axes]\nn = [1]\n[parameters]\nroot = 3", TypeError, "to be text"),
])
def test_mistakes_are_found_before_anything_starts(tmp_path, text, error, message):
    (tmp_path / "s.toml").write_text(BASE + text)
    with pytest.raises(error, match=re.escape(message)): load_study(tmp_path / "s.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


def test_templates_that_cannot_be_used(tmp_path):
    faults.template(tmp_path / "no_out.ipynb", "a = 1  # a number")
    (tmp_path / "plain.ipynb").write_text((tmp_path / "no_out.ipynb").read_text().replace('"parameters"', '"other"'))
    (tmp_path / "broken.ipynb").write_text("{")
    for template, message in (("no_out.ipynb", "parameter `out`"), ("plain.ipynb", "tagged `parameters`"),
                              ("broken.ipynb", "s.toml"), ("gone.ipynb", "No template"),
                              ("model_raport", "Did you mean 'model_report'")):
        (tmp_path / "s.toml").write_text(f"template = '{template}'\n[axes]\na = [1]")
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)): load_study(tmp_path / "s.toml")


@pytest.mark.parametrize("text, error, message", [
    ("template = 'train_and_report'\n[axes]\nmodel = ['cnn3', 'resnet81']", ValueError,
     "network in model`: 'resnet81'. Did you mean"),
    ("template = 'depth_comparison'\n[axes]\nmodels = [['cnn3', 'vgg_11']]", ValueError,
     "network in models`: 'vgg_11'"),
    ("template = 'train_and_report'\n[axes]\ndata = ['digits', 'mnits']", ValueError,
     "data set in data`: 'mnits'. Did you mean 'mnist'"),
    ("template = 'train_test_matrix'\n[axes]\nstressor = ['gauss_noise']", ValueError,
     "stressor in stressor`: 'gauss_noise'. Did you mean 'gaussian_noise'"),
    ("template = 'train_test_matrix'\n[axes]\nseeds = [[0]]\n[parameters]\ntests = ['blurr']", ValueError,
     "stressor in tests`"),
    ("template = 'train_and_report'\n[axes]\nseed = [0]\n[parameters.report]\ntreshold = 5", ValueError,
     "parameter in report`: 'treshold'. Did you mean 'thresholds'"),
    ("template = 'train_and_report'\n[axes]\nseed = [0]\n[parameters.report]\nthresholds = 'few'", TypeError,
     "`thresholds` to be an integer"),
])
def test_names_that_only_a_run_would_look_up(tmp_path, text, error, message):
    (tmp_path / "s.toml").write_text(text)
    for check in (check_study, run_grid):
        with pytest.raises(error, match=re.escape(message)): check(tmp_path / "s.toml")
    done = fragility("grid", tmp_path / "s.toml", "--dry-run")
    assert done.exit_code == 2 and message in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


def test_names_that_are_right(tmp_path):
    (tmp_path / "mine" / "train").mkdir(parents=True)
    (tmp_path / "w.safetensors").write_bytes(b"")
    axes = """model = ['cnn12', 'resnet18', 'timm:convnext_tiny', './w.safetensors']
data = ['digits', './mine', 'mine']"""
    (tmp_path / "s.toml").write_text(f"template = 'train_and_report'\n[axes]\n{axes}")
    check_study(tmp_path / "s.toml")
    faults.template(tmp_path / "own.ipynb", "model = 'cnn3'  # name of a network\nout = '.'  # folder")
    (tmp_path / "s.toml").write_text("template = 'own.ipynb'\n[axes]\nmodel = ['a_network_of_my_own']")
    check_study(tmp_path / "s.toml")


PARAMETERS = """\
%matplotlib inline
a = 1  # a = b, or what it is
b: int = None  # how many; c=3 means three
c = {"x": 1,
     "y": [2, 3]}  # two lines
d: "str" = 'a # b'  # text with a sign
e = f = -2.5
g = (1, 2)
h = 2 * a
_, i = 1, 2
print("not one")
"""
def test_parameters_are_read_as_python_reads_them(tmp_path):
    faults.template(tmp_path / "t.ipynb", PARAMETERS)
    table = template_parameters(tmp_path / "t.ipynb")
    assert list(table.index) == list("abcdefgh")
    assert table.loc["a"].tolist() == ["1", "int", "a = b, or what it is"]
    assert table.loc["b"].tolist() == ["None", "int", "how many; c=3 means three"]
    assert table.type.to_dict() == dict(a="int", b="int", c="dict", d="'str'", e="float", f="float", g="list", h="")
    assert table.help["c"] == "two lines" and table.help["d"] == "text with a sign" and table.default["d"] == "'a # b'"
    faults.template(tmp_path / "t.ipynb", "a = 1\nb = = 2")
    with pytest.raises(ValueError, match="line 2"): template_parameters(tmp_path / "t.ipynb")


def test_a_scheduler_that_does_not_answer_leaves_no_folder(tmp_path):
    (tmp_path / "s.toml").write_text(BASE + "[axes]\nn = [1]")
    with pytest.raises(ConnectionError, match="No dask scheduler answers"):
        run_grid(tmp_path / "s.toml", engine=dask_engine.DaskEngine("tcp://127.0.0.1:9", timeout=1))
    assert [p.name for p in tmp_path.iterdir()] == ["s.toml"]


def test_a_gpu_that_is_not_there(tmp_path):
    import torch
    if torch.cuda.is_available(): pytest.skip("there is one")
    (tmp_path / "s.toml").write_text(BASE + "[axes]\nn = [1]\n[parameters]\ndevice = 'cuda'")
    with pytest.raises(ValueError, match="no GPU"): run_grid(tmp_path / "s.toml")


def planned(folder, n=1000):
    "A study of so many runs."
    file = faults.study(folder, runs=10)
    file.write_text(file.read_text().replace("[axes]", f"[axes]\nsteps = {list(range(1, n // 10 + 1))}"))
    return file


def made(run, result, began=0.):
    "A finished run without its computing."
    from pathlib import Path

    from fragility_nb.run.studies import finish_run
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in ("work.ipynb", "work.html"): (run.folder / name).write_text(json.dumps(dict(cells=[])))
    save_result(result, run.folder / "result.nc")
    finish_run(run.folder, Path("work.ipynb"), run.params, run.fingerprint, began, True)


def test_a_thousand_planned_runs(tmp_path):
    file = planned(tmp_path)
    plan = load_study(file)
    assert len(plan.runs) == 1000 == len({r.name for r in plan.runs})
    for run in plan.runs[:30]: made(run, xr.Dataset(dict(y=1.), attrs=provenance("toy")))
    (plan.folder / "study.json").touch()
    for args in (("grid", file, "--dry-run"), ("status", file), ("collect", file)):
        began = time.time()
        done = fragility(*args)
        assert done.exit_code == 0 and "30" in done.stdout, done.output
        # the bar is 5 s on a quiet machine: benchmarks/grid.py
        assert time.time() - began < 20, f"{args[0]} took {time.time() - began:.1f} s"


def scores(layers, value, filters=("high_pass", "combined")):
    "What a run might leave."
    shape = dict(layer=layers, filter=list(filters))
    data = np.full((len(layers), len(filters)), float(value))
    return xr.Dataset(dict(score=(tuple(shape), data), total=float(value), weights=("layer", np.arange(len(layers)))),
                      shape, dict(kind="toy", schema="fragility_nb/1", value=value))


def test_equal_shapes_are_stacked_as_xarray_does():
    parts = {str(i): scores(["a", "b"], i) for i in range(3)}
    whole, reference = _stacked(parts), xr.concat([p.drop_attrs() for p in parts.values()],
                                                  pd.Index(list(parts), name="run"), data_vars="all", coords="minimal")
    xr.testing.assert_equal(whole.score, reference.score)
    xr.testing.assert_equal(whole.total, reference.total)
    assert whole.attrs == dict(kind="toy", schema="fragility_nb/1")


def test_ragged_layers_stand_one_after_the_other_without_fillers():
    parts = dict(x=scores(["a", "b"], 1), y=scores(["a", "b", "c"], 2))
    whole = _stacked(parts)
    assert whole.layer.values.tolist() == ["a", "b", "a", "b", "c"]
    assert whole.layer_run.values.tolist() == [0, 0, 1, 1, 1]
    for i, part in enumerate(parts.values()):
        one = whole.isel(layer=np.flatnonzero(whole.layer_run == i))
        np.testing.assert_array_equal(one.score, part.score)
        np.testing.assert_array_equal(one.weights, part.weights)
        assert float(whole.total[i]) == float(part.total)
    assert whole.score.dtype == float and whole.weights.dtype == parts["x"].weights.dtype
    assert _stacked(dict(x=scores(["a"], 1), y=scores(["b", "c"], 2, ("pulse",)))) is None


def test_what_differs_in_more_ways_stays_apart_and_everything_can_be_read_again(tmp_path):
    file = faults.study(tmp_path, runs=3)
    plan = load_study(file)
    made(plan.runs[0], dict(scores=scores(["a"], 1), odd=scores(["a"], 1)))
    made(plan.runs[2], dict(scores=scores(["a", "b"], 2), odd=scores(["a", "b"], 2, ("pulse",))))
    done = fragility("collect", file)
    assert done.exit_code == 0 and "Partial: 2 of 3" in done.stdout
    tree = load_result(plan.folder / "collected.nc")
    assert (tree.attrs["complete"], tree.attrs["planned"], tree.attrs["collected"]) == (0, 3, 2)
    assert tree["runs"].collected.values.tolist() == [True, False, True]
    assert tree["runs"].run_seed.values.tolist() == [0, 1, 2]
    assert tree["scores"].run_seed.values.tolist() == [0, 2]
    assert set(tree["odd"].children) == {plan.runs[0].name, plan.runs[2].name}
    table = pd.read_csv(plan.folder / "collected.csv")
    assert table.state.tolist() == ["done", "planned", "done"]
    assert table["scores.total"].tolist()[::2] == [1, 2] and np.isnan(table["scores.total"][1])


def test_time_left_asks_the_runs_most_alike():
    status = pd.DataFrame(dict(model=["a", "a", "b", "b", "a"], seed=[0, 1, 0, 1, 2],
                               state=["done", "planned", "done", "planned", "failed"],
                               seconds=[10, None, 100, None, None]))
    axes = ("model", "seed")
    assert time_left(status, axes) == pytest.approx((10 + 100) / 2 + (10 + 100) / 2) or time_left(status, axes) == 110
    assert time_left(status, axes, 2) == 55 and time_left(status[1:2], axes) is None


def test_the_report_is_one_page_with_links_and_safe_text(tmp_path):
    file = faults.study(tmp_path, runs=3)
    plan = load_study(file)
    for run, y in zip(plan.runs[:2], (1., 3.)): made(run, xr.Dataset(dict(y=y), attrs=provenance("toy")))
    (plan.runs[2].folder).mkdir()
    (plan.runs[2].folder / "failed.json").write_text(json.dumps(dict(cell=3, error="ValueError: <b>&", traceback="t")))
    page = report_study(file).read_text()
    assert f'href="runs/{plan.runs[0].name}/work.html"' in page
    assert "ValueError: &lt;b&gt;&amp;" in page and "partial" in page
    table = study_table(plan)
    assert _by_axis(table, "seed", ["y"]).y.tolist() == ["1", "3"]
    table["seed"] = 0
    told = _by_axis(table, "seed", ["y"])
    assert told.y.tolist() == ["2 (1\u00a0…\u00a03)"] and told.runs.tolist() == [2]
    assert "http" not in page
