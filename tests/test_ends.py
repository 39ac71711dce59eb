"""The ends of things: every command over every mixture of runs, hostile names on every page, and mistakes that are told
before anything long begins."""
import contextlib
import fcntl
import html
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT, environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.options import OPTIONS, check_options, find_option
from fragility_nb.core.results import load_result, provenance, save_result
from fragility_nb.run import cluster, grid, studies
from fragility_nb.run.collect import collect_study, report_study, study_table
from fragility_nb.run.grid import run_grid, study_status
from fragility_nb.run.parameters import list_templates, template_parameters
from fragility_nb.run.study_files import as_study, axis_column, check_study, load_study, value_word

HOSTILE = ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a & b", "$", "$$", "$$$", r"$\frac{1$", r"\$",
           "x{a}", "a|b", "**b**_i_`c`", "[l](javascript:alert(1))", "日本語" * 40, '"\'>', "a\nb")


def fragility(*args):
    "The command in this process: its result, without a traceback."
    done = CliRunner().invoke(app, list(map(str, args)))
    assert done.exception is None or isinstance(done.exception, SystemExit), (args, done.exception, done.output)
    return done


def study(folder, axis="a", values=(1, 2, 3)):
    "A study file whose template has this axis and no work to do."
    cells = [nbformat.v4.new_code_cell(f"{axis} = {values[0]!r}  # what differs\nout = '.'  # folder for result.nc",
                                       metadata=dict(tags=["parameters"])), nbformat.v4.new_code_cell("pass")]
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "work.ipynb")
    told = ", ".join(json.dumps(v, ensure_ascii=False) for v in values)
    text = f"template = 'work.ipynb'\nfolder = 'study'\n[axes]\n{json.dumps(axis, ensure_ascii=False)} = [{told}]\n"
    (folder / "s.toml").write_text(text, encoding="utf-8")
    return folder / "s.toml"


class Here(cluster.Engine):
    "An engine without processes of its own."
    def run(self, call, arguments, stop=None): yield from ((i, call(a)) for i, a in enumerate(arguments))


class Deadly(cluster.Engine):
    "An engine whose workers die."
    def run(self, call, arguments, stop=None):
        yield from ((i, cluster.WorkerDied("killed by signal 9")) for i, _ in enumerate(arguments))


@contextlib.contextmanager
def without_kernels(fails=()):
    "Cells run at once and leave a small result; a run whose value is in `fails` fails in its second cell."
    def execute(path, running, given, progress, cwd, log):
        shutil.copy(path, running)
        value = next(v for k, v in given.items() if k != "out")
        if value in fails: raise ValueError(f"no <b>{value}</b>")
        facts = dict(end=1.5, score=-0.2, low=-0.3, high=-0.1) | (dict(run=7, seconds=8) if value == 77 else {})
        save_result(xr.Dataset(facts | dict(walk=("time", np.arange(3.))), attrs=provenance("light")),
                    Path(given["out"]) / "result.nc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(studies, "_execute", execute)
        patch.setattr(studies, "notebook_page", lambda *_: "<html></html>")
        patch.setenv("JUPYTER_RUNTIME_DIR", "")
        yield


def truncate(folder, name): (folder / name).write_bytes((folder / name).read_bytes()[:-200])
def write(folder, name, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


# what happens to a run, by how it was begun: "done", "failed", "planned"
HAPPENS = dict(
    done=("done", None), failed=("failed", None), planned=("planned", None),
    died=("died", None),
    emptied=("planned", lambda f: f.mkdir(parents=True)),
    killed=("planned", lambda f: write(f, "running.json", json.dumps(dict(started=time.time(), pid=1, host="x")))),
    running=("running", lambda f: write(f, "running.json", json.dumps(dict(started=time.time(), pid=1, host="x")))),
    running_half=("running", lambda f: write(f, "running.json", '{"star')),
    running_odd=("running", lambda f: write(f, "running.json", '{"started": "yesterday", "cell": []}')),
    truncated=("done", lambda f: truncate(f, "result.nc")),
    no_result=("done", lambda f: (f / "result.nc").unlink()),
    no_page=("done", lambda f: (f / "work.html").unlink()),
    run_list=("done", lambda f: write(f, "run.json", "[]")),
    run_null=("done", lambda f: write(f, "run.json", "null")),
    run_half=("done", lambda f: write(f, "run.json", '{"work": {"fing')),
    run_inner=("done", lambda f: write(f, "run.json", '{"work": []}')),
    run_files=("done", lambda f: rewrite(f, files=3)),
    run_no_files=("done", lambda f: rewrite(f, files=[])),
    run_resources=("done", lambda f: rewrite(f, resources=dict(seconds="long", cell_seconds=float("nan")))),
    failed_list=("failed", lambda f: write(f, "failed.json", "[1]")),
    failed_odd=("failed", lambda f: write(f, "failed.json", '{"cell": "x", "error": 3}')),
    failed_null=("failed", lambda f: write(f, "failed.json", "null")))


def rewrite(folder, **facts):
    "run.json with other facts."
    run = json.loads((folder / "run.json").read_text())
    run["work"] |= facts
    write(folder, "run.json", json.dumps(run))


@contextlib.contextmanager
def mixture(file, names):
    "A study whose runs are in these states, one each."
    plan = load_study(file)
    began = [HAPPENS[name][0] for name in names]
    values = [next(iter(r.axes.values())) for r in plan.runs]
    with contextlib.ExitStack() as locks:
        for ends, engine in ((("done", "failed"), Here()), (("died",), Deadly())):
            some = tuple(r for r, b in zip(plan.runs, began) if b in ends)
            fails = [v for v, b in zip(values, began) if b == "failed"]
            with without_kernels(fails):
                if some: run_grid(type(plan)(plan.name, plan.template, plan.folder, plan.home, plan.axes, some),
                                  engine=engine)
        for run, name in zip(plan.runs, names):
            if change := HAPPENS[name][1]: change(run.folder)
            if HAPPENS[name][0] == "running":
                lock = locks.enter_context(open(run.folder / ".lock", "a+"))
                fcntl.flock(lock, fcntl.LOCK_EX)
        (plan.folder / "study.json").unlink(missing_ok=True)
        yield plan


def every_command(file, names):
    "What each command says of a mixture; none ends with a traceback, and a page and a table are always there."
    with mixture(file, names) as plan:
        status, dry = fragility("status", file), fragility("grid", file, "--dry-run")
        states = study_status(plan).state.tolist()
        assert status.exit_code == dry.exit_code == 0 and f"{len(states)} run" in status.output, status.output
        report, collected = fragility("report", file), fragility("collect", file)
        assert report.exit_code == 0, report.output
        assert collected.exit_code == (0 if "done" in states else 2), collected.output
        page = (plan.folder / "report.html").read_text()
        assert page.endswith("</html>") and f"{states.count('done')} done" in page or "done" not in states
        assert len(study_table(plan)) == len(names)
        for name, state in zip(names, states):
            if name in ("done", "failed", "planned"): assert state == name
            if name.startswith("running"): assert state == "running"
            if name in ("truncated", "no_result"): assert state == "damaged"
        return states


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(HAPPENS)), min_size=1, max_size=4))
def test_every_command_works_on_every_mixture_of_runs(names):
    with tempfile.TemporaryDirectory() as folder:
        every_command(study(Path(folder), values=tuple(range(len(names)))), names)


@pytest.mark.parametrize("name", sorted(HAPPENS))
def test_every_command_works_where_all_runs_are_alike(tmp_path, name):
    every_command(study(tmp_path, values=(0, 1)), [name, name])


@pytest.mark.parametrize("axis", ["state", "seconds", "error", "cell", "run", "score", "low", "traceback", "end", "深さ"])
def test_an_axis_may_have_the_name_of_a_column(tmp_path, axis):
    assert every_command(study(tmp_path, axis), ["done", "done", "failed"]) == ["done", "done", "failed"]
    plan = load_study(tmp_path / "s.toml")
    assert study_status(plan)[axis_column(axis)].tolist() == [1, 2, 3]
    table = study_table(plan)
    assert table[axis_column(axis)].tolist() == [1, 2, 3] and table.state.tolist() == ["done", "done", "failed"]
    assert collect_study(plan)["result"][f"run_{axis}"].values.tolist() == [1, 2]


def test_an_axis_may_have_any_value(tmp_path):
    "Markup, TeX, line ends and 360 bytes: folders can be made, and pages show them and do nothing."
    file = study(tmp_path, values=HOSTILE)
    every_command(file, ["done"] * (len(HOSTILE) - 2) + ["failed"] * 2)
    page = (tmp_path / "study" / "report.html").read_text()
    assert "<script" not in page and "<img src=x" not in page and "onerror=alert(1)&gt;" in page
    assert max(len(p.name.encode()) for p in (tmp_path / "study" / "runs").iterdir()) <= 99
    assert "no <b>" not in page


def test_a_figure_may_have_the_name_of_a_column(tmp_path):
    every_command(study(tmp_path, values=(77, 78)), ["done", "done"])
    assert study_table(tmp_path / "s.toml")["result run"].tolist()[0] == 7


def test_names_are_cut_at_bytes():
    assert value_word("日本語" * 40) == "日本語" * 4 + "日" and len(value_word("a" * 90)) == 40
