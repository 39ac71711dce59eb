"""The ends of things: every command over every mixture of runs, hostile names on every page, and mistakes that are told
before anything long begins."""
import contextlib
import html
import io
import json
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
from fragility_nb.core.owner import own_folder
from fragility_nb.core.results import provenance, save_result
from fragility_nb.run import cluster, model_runs, studies
from fragility_nb.run.collect import collect_study, study_table
from fragility_nb.run.grid import run_grid, study_status
from fragility_nb.run.parameters import list_templates, template_parameters
from fragility_nb.run.study_files import axis_column, check_study, load_study, value_word

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
                locks.enter_context(own_folder(run.folder, "Another process computes this run"))
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


@pytest.mark.parametrize("axis", ["state", "seconds", "error", "cell", "run", "score", "traceback", "end", "深さ"])
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


# What can be known before the first training is told before it

RUN = ("run", "--model", "cnn3")
TRAIN = ("train", "--model", "cnn3")
DIFFERENTIAL = ("differential", "--models", "cnn3,cnn4")


@pytest.mark.parametrize("command, told", [
    ((*RUN, "--ci", 95), "`ci`"), ((*RUN, "--band", -0.1), "`band`"), ((*RUN, "--n", 0), "`n`"),
    ((*RUN, "--seed", 2**64), "`seed`"), ((*RUN, "--epochs", 0), "`epochs`"), ((*RUN, "--lr", "nan"), "`lr`"),
    ((*RUN, "--snapshots", 99), "`snapshots`"), ((*RUN, "--thresholds", 1), "`thresholds`"),
    ((*RUN, "--relative-accuracy", 1.5), "`relative_accuracy`"), ((*RUN, "--stem", "cifarr"), "Did you mean 'cifar'"),
    ((*RUN, "--device", "gpu"), "`device`"), ((*RUN, "--image-size", 0), "`image_size`"),
    ((*RUN, "--resize", 0), "`resize`"), ((*RUN, "--batch-size", 0), "`batch_size`"),
    ((*RUN, "--data", "digist"), "Did you mean 'digits'"), (("run", "--model", "cnnn3"), "Unknown `model`: 'cnnn3'"),
    ((*TRAIN, "--optimizer", "adm"), "Did you mean 'adam'"), ((*TRAIN, "--schedule", "cosin"), "Did you mean 'cosine'"),
    ((*TRAIN, "--ema", 1), "`ema`"), ((*TRAIN, "--inits", 0), "`inits`"), ((*TRAIN, "--n", 0), "`n`"),
    ((*TRAIN, "--weight-decay", -1), "`weight_decay`"), ((*TRAIN, "--augment", "flp"), "Did you mean 'flip'"),
    ((*TRAIN, "--snapshots", "0,99"), "`snapshots`"), ((*TRAIN, "--seed", -1), "`seed`"),
    ((*DIFFERENTIAL, "--steps", -1), "`steps`"), ((*DIFFERENTIAL, "--step", 0), "`step`"),
    ((*DIFFERENTIAL, "--threshold", 2), "`threshold`"), ((*DIFFERENTIAL, "--n", 0), "`n`"),
    ((*DIFFERENTIAL, "--epochs", 0), "`epochs`"), ((*DIFFERENTIAL, "--constraint", "ligt"), "Did you mean 'light'"),
    (("differential", "--models", "cnn3,cnnn4"), "Unknown `model`: 'cnnn4'"),
])
def test_the_command_line_refuses_before_it_trains(tmp_path, monkeypatch, command, told):
    for module in ("training", "steps"):
        monkeypatch.setattr(f"fragility_nb.models.{module}.TrainingSteps", None) # without which nothing is trained
    done = fragility(*command, "--out", tmp_path / "out")
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.output
    assert not (tmp_path / "out" / "result.nc").exists()


def test_one_epoch_needs_no_word_on_snapshots(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(model_runs, "_trained", lambda *a, **_: given.update(a[3]) or tmp_path / "none")
    monkeypatch.setattr(model_runs, "run_owned", lambda *a, **_: tmp_path / "page.html")
    model_runs.run_model("cnn3", tmp_path / "out", epochs=1, progress=False)
    assert given["snapshots"] == [1]


WRONG = ["optimizer = ['adm']", "schedule = ['cosin']", "stem = ['imagnet']", "device = ['gpu']", "device = ['cuda:x']",
         "epochs = [0]", "epochs = [-3]", "lr = [nan]", "lr = [0]", "lr = [-0.1]", "lr = [inf]", "batch_size = [0]",
         "weight_decay = [-1.0]", "ema = [1.5]", "seed = [-1]", "snapshots = [99]", "sections = [['coverge']]",
         "image_size = [0]", "resize = [0]", "n = [0]", "report = [{ci = 95}]", "report = [{severities = [1, 2]}]",
         "report = [{seeds = []}]", "epochs = [4]\nsnapshots = [5]"]


@pytest.mark.parametrize("text", WRONG)
def test_an_odd_study_file_is_refused_when_it_is_read(tmp_path, text):
    (tmp_path / "s.toml").write_text(f"template = 'train_and_report'\n[axes]\n{text}\n")
    with pytest.raises((ValueError, TypeError)): load_study(tmp_path / "s.toml")
    done = fragility("grid", tmp_path / "s.toml", "--dry-run")
    assert done.exit_code == 2 and [p.name for p in tmp_path.iterdir()] == ["s.toml"]


def test_names_in_a_study_file_are_looked_up(tmp_path):
    (tmp_path / "s.toml").write_text("template = 'train_and_report'\n[axes]\naugment = ['crop,flp']\n")
    with pytest.raises(ValueError, match="Did you mean 'flip'"): check_study(tmp_path / "s.toml")


@pytest.mark.parametrize("template", list_templates())
def test_every_parameter_of_a_template_is_in_the_table(template):
    "Kind and default agree with it; so one table says what each may be."
    known, values = template_parameters(template), {}
    for name, row in known.iterrows():
        if name == "out": continue
        option = find_option(name, template)
        kinds = ("", "named", row.type.split("[")[0] if row.type else "")
        assert option is not None and (not row.type or option.kind in kinds), (name, row.type, option)
        values[name] = eval(row.default, {})
        assert option.optional or values[name] is not None, name
    check_options(values, template)


def test_choices_of_the_table_are_those_of_the_code():
    from fragility_nb.core.options import SECTIONS
    from fragility_nb.models.steps import OPTIMIZERS, SCHEDULES
    from fragility_nb.run.report import section_switches
    from fragility_nb.stress.minimal import SEARCHES
    assert set(OPTIONS["optimizer"].choices) == set(OPTIMIZERS) and set(OPTIONS["schedule"].choices) == set(SCHEDULES)
    assert set(OPTIONS["searches"].items.choices) == set(SEARCHES)
    assert {f"with_{k}" for k in SECTIONS} == set(section_switches(()))


def test_the_options_of_commands_are_in_the_table():
    import typer
    for name, command in typer.main.get_command(app).commands.items():
        for option in command.params:
            if find_option(option.name, name) and option.name != "model":
                assert option.help == find_option(option.name, name).meaning, (name, option.name)


# Good messages without a traceback

def program(*args, **env):
    "The command as a program."
    return subprocess.run([sys.executable, "-c", "from fragility_nb.cli import app; app()", *map(str, args)], cwd=ROOT,
                          env=environment(**env), stdin=subprocess.DEVNULL, capture_output=True, timeout=200)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_screen_that_is_not_utf_8(encoding):
    done = program("list", PYTHONIOENCODING=encoding)
    assert done.returncode == 0 and b"train_test_matrix" in done.stdout, done.stderr


def test_bars_in_a_file_are_one_line_a_minute():
    code = ("import sys, time; from fragility_nb.cli.base import make_do; make_do(sys.stdout, sys.stderr)\n"
            "from tqdm.auto import tqdm\nfor i in tqdm(range(20)): time.sleep(0.02)\n"
            "for i in tqdm(range(20), delay=0, mininterval=0.05, maxinterval=0.1): time.sleep(0.02)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), timeout=60)
    bars = done.stderr.count("20/20")
    assert done.returncode == 0 and bars == 1, done.stderr


def test_a_training_in_a_file_draws_no_bar_an_epoch(tmp_path):
    done = program("train", "--model", "cnn3", "--n", 40, "--epochs", 5, "--out", tmp_path)
    assert done.returncode == 0 and b"after 5 epochs" in done.stdout, done.stderr
    assert done.stderr.count(b"training cnn3") == 0, done.stderr


def test_dask_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = fragility("grid", study(tmp_path), "--engine", "dask")
    assert done.exit_code == 2 and "needs the extra `cluster`" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("text, told", [
    ("{", "work.ipynb` is not a notebook"), ("[]", "work.ipynb` is not a notebook"), ("null", "is not a notebook"),
    ('{"cells": [3]}', "is not a notebook"), ('{"nbformat": 3, "worksheets": []}', "is a notebook of format 3"),
])
def test_a_broken_notebook_is_named(tmp_path, text, told):
    file = study(tmp_path)
    (tmp_path / "work.ipynb").write_text(text)
    done = fragility("grid", file)
    assert done.exit_code == 2 and told in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_mark_that_an_editor_put_before_the_text(tmp_path):
    file = study(tmp_path)
    names = [r.name for r in load_study(file).runs]
    for path in (file, tmp_path / "work.ipynb"): path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [r.name for r in load_study(file).runs] == names


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"runs": 3}', '{"runs": [3], "name": 1}', '{"run'])
def test_a_damaged_plan_is_one_line(tmp_path, text):
    write(tmp_path / "study", "study.json", text)
    for command in ("grid", "status", "collect", "report"):
        done = fragility(command, tmp_path / "study")
        assert done.exit_code == 2 and "study.json" in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_papermill_gets_paths_as_they_are_and_time_to_read(tmp_path, monkeypatch):
    "Braces in a path are no parameters; what 30,000 lines take to be read is no failure."
    from papermill.parameterize import parameterize_path
    seen = {}

    class Papermill:
        @staticmethod
        def execute_notebook(path, running, given, **how):
            seen.update(how, running=parameterize_path(running, given))
            raise ValueError("seen enough")
    monkeypatch.setattr(studies, "quiet_papermill", lambda: contextlib.nullcontext(Papermill))
    out = tmp_path / "x{a}" / "{{cookiecutter.name}}"
    file = study(tmp_path)
    with pytest.raises(ValueError, match="seen enough"): studies.run_study(file.parent / "work.ipynb", out, a=5)
    assert Path(seen["running"]).resolve().is_relative_to(tmp_path) and "x{a}" in seen["running"]
    assert "{{cookiecutter.name}}" in seen["running"] and seen["iopub_timeout"] >= 3600


# Names that do nothing on pages and in figures

def shown(texts, tables=()):
    "The page of a notebook that shows these texts and tables."
    from fragility_nb.run import report
    outputs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("IPython.display.display", lambda o: outputs.append(o))
        for text in texts: report.show_text(text)
        for table in tables: report.show_table(table)
    data = [{"text/markdown": o.data} if type(o).__name__ == "Markdown" else {"text/html": o.data} for o in outputs]
    cell = nbformat.v4.new_code_cell("", outputs=[nbformat.v4.new_output("display_data", d) for d in data])
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), Path(folder) / "page.ipynb")
        return studies.notebook_page(Path(folder) / "page.ipynb").split("<body", 1)[1]


def words_of(page): return " ".join(html.unescape(re.sub(r"<[^>]*>", "", page)).split())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_on_a_page_is_what_it_is(name):
    "In a sentence, in bold, in a table of facts, in a link, in a data frame."
    import pandas as pd

    from fragility_nb.run.comparison import place_sentence
    from fragility_nb.run.report import data_words, facts_table, page_link, plain_words
    scores = xr.Dataset({k: ("layer", [-0.1]) for k in ("score", "low", "high")}, dict(layer=[name]))
    page = shown([f"says {plain_words(name)}.", place_sentence(name, scores), facts_table({"n": name}),
                  page_link(name, f"{name}/a.html"), f"# {data_words(name)}"], [pd.DataFrame({name: [name]})])
    assert "<script>alert" not in page and "<img src" not in page and "<strong>b</strong>" not in page
    assert 'href="javascript:' not in page and "<em>" not in page and "<code>" not in page
    told = words_of(page)
    assert told.count(" ".join(name.split())) >= 7, (name, told)
    if "$" in name: assert "&#36;</span>" in page or "<span>$</span>" in page # so MathJax finds no pair


def test_text_of_a_template_makes_no_markup(tmp_path):
    assert "<script>alert" not in shown(["a <script>alert(1)</script> b"])


def results_named(name):
    "Small results, with this name wherever data can have one."
    from test_plots import filter_result, scored, stress_result, training_log
    stress = stress_result(stresses=(name, "fgsm")).assign_attrs(model=name)
    stress["strength_unit"] = ("stress", [name, name])
    rename = lambda r: r.assign_coords(layer=[name, *r.layer.values[1:]]).assign_attrs(model=name)
    return stress, rename(filter_result()), rename(scored()), training_log().assign_attrs(model=name)


@pytest.mark.parametrize("name", [n for n in HOSTILE if "$" in n])
def test_a_name_in_a_figure_is_no_formula(name):
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from explorer_results import coverage, landscape

    from fragility_nb import figures
    from fragility_nb.explore import explore_coverage, explore_scores
    stress, filters, scores, log = results_named(name)
    drawn = [figures.plot_stress(stress), figures.plot_comparison({name: stress, "b": stress}),
             figures.plot_scores(scores), figures.plot_filter_response(filters, name), figures.plot_training(log),
             figures.plot_depth({name: scores, "b": scores}), figures.plot_compactness(filters, name),
             figures.plot_severity({name: stress}, "accuracy"), figures.plot_areas({name: stress}),
             figures.plot_stress_map(stress)]
    for made in drawn:
        figure = np.ravel(np.array(made, dtype=object))[0].figure
        for suffix in ("png", "svg"): figure.savefig(io.BytesIO(), format=suffix)
        assert any(name in t.get_text() for t in figure.findobj(matplotlib.text.Text))
    plt.close("all")
    one = landscape(3, 2, samples=8)
    explorer = explore_scores(one.assign_coords(layer=[name, "b", "c"]))
    assert json.loads(json.dumps(explorer.spec))["datasets"]["cells"][0]["layer"] == name
    explorer.figure().savefig(io.BytesIO(), format="svg")
    covered = coverage()
    again = covered.assign_coords(layer_name=[name, *covered.layer_name.values[1:]],
                                  layer=("unit", [name if n == "conv1" else n for n in covered.layer.values]))
    assert explore_coverage(again).spec and explore_coverage(again).figure()


def test_an_svg_and_a_widget_hold_no_markup_of_a_name(tmp_path):
    from explorer_results import landscape

    from fragility_nb.explore import explore_scores
    name = HOSTILE[1]
    explorer = explore_scores(landscape(3, 2, samples=8).assign_coords(layer=[name, "b", "c"]))
    explorer.save(tmp_path / "a.svg")
    assert "<img" not in (tmp_path / "a.svg").read_text()
    assert name not in explorer.page()
    assert "<img" not in "".join(o["data"].get("text/html", "") for o in explorer.view.outputs)


def test_figures_have_a_style_of_their_own():
    "A user's settings change neither what is up nor what can be read; fonts and resolution are the user's."
    import matplotlib
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    from fragility_nb import figures
    stress, filters, scores, _ = results_named("a")

    def pictures():
        made = [figures.plot_scores(scores), figures.plot_stress_map(stress), figures.plot_compactness(filters, "a")]
        drawn = []
        for axes in made:
            figure, buffer = np.ravel(np.array(axes, dtype=object))[0].figure, io.BytesIO()
            figure.savefig(buffer, format="raw", dpi=50, facecolor=figure.get_facecolor())
            drawn.append(buffer.getvalue())
            plt.close(figure)
        return drawn
    plain = pictures()
    with plt.style.context("dark_background"), plt.rc_context({"image.origin": "lower", "axes.grid": True,
                                                               "lines.linewidth": 9, "image.cmap": "jet"}):
        before = dict(plt.rcParams)
        assert pictures() == plain and dict(plt.rcParams) == before
