"""A run folder has one owner, and nothing finished is overwritten: two at once, kills and full disks, links, wrong
clocks, file systems without locks, machines that went away."""
import errno
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import ROOT, environment
from kills import child, die, held, replaced
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core import copies, kept, owner, whole
from fragility_nb.core.results import load_result, provenance, save_result
from fragility_nb.run import studies
from fragility_nb.run.collect import collect_study, report_study, save_collection
from fragility_nb.run.grid import run_grid, study_status
from fragility_nb.run.studies import is_done, run_study
from fragility_nb.run.study_files import load_study

spec = importlib.util.spec_from_file_location("grid_faults", ROOT / "benchmarks" / "grid_faults.py")
faults = importlib.util.module_from_spec(spec)
spec.loader.exec_module(faults)
numbers, steps_of, at_step = faults.numbers, faults.steps_of, faults.at_step


def template(path, *work): return faults.saving(path, *work)


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "_execute", faults.in_process)
    monkeypatch.setattr(studies, "notebook_page", lambda path: "<html>a page</html>")
    return template(tmp_path/"own.ipynb")


def number(folder): return float(load_result(Path(folder)/"result.nc").y)


def consistent(out, template, tried=(1, 2, 3)):
    "No run is said to be done whose number is another's."
    faults.consistent(out, template, tried)


# --- one at a time

def test_a_folder_in_use_is_refused_with_who_has_it(own, tmp_path):
    "By run_study, by the command line and by a study; when that process is killed, it is free at once."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    p = held(out)
    try:
        with pytest.raises(BlockingIOError, match=f"Another run works in .*process {p.pid} on "):
            run_study(own, out, a=2, progress=False)
        done = CliRunner().invoke(app, ["run", "--model", "cnn3", "--out", str(out)])
        assert done.exit_code == 2 and f"process {p.pid}" in done.stderr and "Traceback" not in done.stderr
        run_study(own, out, a=1, progress=False) # done already: nothing is written
        there = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name not in (".owner", ".lock")}
        assert there == before
    finally:
        p.kill()
        p.wait()
    began = time.monotonic()
    run_study(own, out, a=2, progress=False)
    assert number(out) == 2 and time.monotonic() - began < 5


def test_the_run_that_is_killed_after_its_save_signs_nothing(own, tmp_path):
    "a=1 is finished, a=2 is killed when its result.nc is written: the folder is a=1's, in every respect."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    status = child(lambda: (replaced(1, "result.nc"), run_study(own, out, a=2, progress=False)))
    assert os.WIFSIGNALED(status)
    assert is_done(out, own, a=1) and not is_done(out, own, a=2) and number(out) == 1
    run_study(own, out, a=1, progress=False)
    assert number(out) == 1 and (out/"table.csv").read_text() == "a,1"
    run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=2) and numbers(out) == [1, 2]


def test_a_failure_after_its_save_loses_nothing(own, tmp_path):
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    for _ in range(2):
        with pytest.raises(ValueError, match="after its save"): run_study(own, out, a=-2, progress=False)
        assert is_done(out, own, a=1) and number(out) == 1
    run_study(own, out, a=3, progress=False)
    assert is_done(out, own, a=3)
    aside, = out.glob("earlier/*")
    assert number(aside) == 1 and json.loads((aside/"run.json").read_text())["own"]["params"] == dict(a="1")
    assert (aside/"table.csv").read_text() == "a,1" and (aside/"training"/"weights.bin").read_bytes()[-1] == 1


def test_two_templates_with_files_of_the_same_name(own, tmp_path):
    other, out = template(tmp_path/"other.ipynb"), tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    with pytest.warns(UserWarning, match="finished run of `own` with files of the same names"):
        run_study(other, out, a=2, progress=False)
    assert is_done(out, other, a=2) and not is_done(out, own, a=1) and numbers(out) == [1, 2]
    aside, = out.glob("earlier/*")
    assert whole.is_intact(aside, whole.finished_run(aside, "own"), deep=True)
    template(tmp_path/"third.ipynb", "b = 1")
    run_study(tmp_path/"third.ipynb", out, progress=False) # no file in common: both stay
    assert is_done(out, other, a=2) and is_done(out, tmp_path/"third.ipynb")


def test_what_changed_is_told_and_the_earlier_run_keeps_what_it_belongs_to(own, tmp_path):
    "Another parameter, another template, and then a damaged file: one line each, and all runs are kept."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    first = whole.finished_run(out, "own")
    with pytest.warns(UserWarning, match=r"not used again: parameters\.a: 1 → 2\. It runs anew"):
        run_study(own, out, a=2, progress=False)
    aside, = out.glob("earlier/*")
    assert whole.finished_run(aside, "own") == first and first["identity"]["parameters"] == dict(a=1)
    template(own, faults.SAVING[1] + "\nb = 1")
    assert not is_done(out, own, a=2)
    with pytest.warns(UserWarning, match="not used again: template"): run_study(own, out, a=2, progress=False)
    (out/"table.csv").write_text("")
    with pytest.warns(UserWarning, match="files are not as they were"): run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=2) and numbers(out) == [1, 2, 2, 2]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"token": "x"}',
                                  '{"token": 1, "pid": "x", "began": 1, "host": 1}'])
def test_a_damaged_claim_is_nobodys(own, tmp_path, monkeypatch, text):
    monkeypatch.setattr(owner, "PATIENCE", 0.2)
    (tmp_path/"run").mkdir()
    (tmp_path/"run"/".owner").write_text(text)
    assert owner.owner_of(tmp_path/"run") == {}
    run_study(own, tmp_path/"run", a=1, progress=False)
    assert is_done(tmp_path/"run", own, a=1) and not (tmp_path/"run"/".owner").exists()


def test_names_of_earlier_runs_do_not_collide(own, tmp_path, monkeypatch):
    "A clock that stands still."
    monkeypatch.setattr(studies, "time_stamp", lambda: "2026-01-31T00:00:00+00:00")
    monkeypatch.setattr(kept, "time_name", lambda: "20260131T000000")
    for a in (1, 2, 1, 3, 2, 1): run_study(own, tmp_path/"run", a=a, progress=False)
    assert numbers(tmp_path/"run") == [1, 1, 1, 2, 2, 3] and number(tmp_path/"run") == 1
    for aside in (tmp_path/"run").glob("earlier/*"):
        run = whole.finished_run(aside, "own")
        assert whole.is_intact(aside, run, deep=True) and number(aside) == float(run["params"]["a"])


def test_clocks_count_for_nothing(own, tmp_path, monkeypatch):
    "A result.nc 30 s, or 50 years, older than the start, and a clock that goes backwards."
    clock = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    (tmp_path/"s.toml").write_text("template = 'own.ipynb'\n[axes]\na = [1, 2]\n[parameters]\nlate = true\n")
    assert run_here(tmp_path/"s.toml").state.tolist() == ["done", "done"]
    assert (study_status(tmp_path/"s.toml").seconds >= 0).all()
    shown = study_status(load_study(tmp_path/"s.toml"))
    assert shown.state.tolist() == ["done", "done"]


def run_here(file, **options):
    "A study whose runs are computed in this process."
    from fragility_nb.run.cluster import Engine

    class Here(Engine):
        def run(self, call, arguments, stop=None): yield from ((i, call(a)) for i, a in enumerate(arguments))
    handler = __import__("signal").getsignal(2)
    runtime = os.environ.get("JUPYTER_RUNTIME_DIR")
    try: return run_grid(file, engine=Here(), **options)
    finally:
        __import__("signal").signal(2, handler)
        os.environ.pop("JUPYTER_RUNTIME_DIR", None)
        if runtime is not None: os.environ["JUPYTER_RUNTIME_DIR"] = runtime


# --- done means that every file is there

@pytest.mark.parametrize("name", ["own.html", "own.ipynb", "result.nc", "table.csv", "training/weights.bin"])
@pytest.mark.parametrize("how", ["emptied", "removed", "changed"])
def test_what_is_missing_or_changed_is_not_done(own, tmp_path, name, how):
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    assert is_done(out, own, a=1)
    good, path = (out/name).read_bytes(), out/name
    if how == "removed": path.unlink()
    else: path.write_bytes(b"" if how == "emptied" else good[:-1] + bytes([good[-1] ^ 1]))
    assert not is_done(out, own, a=1)
    run_study(own, out, a=1, progress=False)
    assert is_done(out, own, a=1) and number(out) == 1
    if how == "changed": assert list(out.glob(f"earlier/*/{name}"))


@pytest.mark.parametrize("text", ["[]", "null", "{", "7", '{"own": null}', '{"own": []}', '{"own": {"files": 3}}', ""])
def test_a_damaged_run_json(own, tmp_path, text):
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    (out/"run.json").write_text(text)
    assert not is_done(out, own, a=1)
    run_study(own, out, a=1, progress=False)
    assert is_done(out, own, a=1) and numbers(out) == [1, 1]


def test_runs_of_the_version_before_are_still_done(own, tmp_path):
    "Their run.json has digests of results only."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    runs = json.loads((out/"run.json").read_text())
    for key in ("sizes", "copy"): del runs["own"][key]
    runs["own"]["hashes"] = {"result.nc": runs["own"]["hashes"]["result.nc"]}
    (out/"run.json").write_text(json.dumps(runs))
    assert is_done(out, own, a=1)
    (out/"own.html").write_bytes(b"")
    assert not is_done(out, own, a=1)


# --- links and names

@pytest.mark.parametrize("name", ["log.txt", "result.nc", "table.csv", "own.html", "own.ipynb", "run.json", "parts",
                                  "training", ".owner", "own.failed.ipynb", ".result.copy"])
@pytest.mark.parametrize("there", [True, False])
def test_symbolic_links_are_not_written_through(own, tmp_path, monkeypatch, name, there):
    monkeypatch.setattr(owner, "PATIENCE", 0.2)
    out, precious = tmp_path/"run", tmp_path/"precious"
    out.mkdir()
    if there:
        precious.mkdir()
        (precious/"weights.bin").write_text("mine")
        if name not in ("parts", "training"): precious = precious/"weights.bin"
    (out/name).symlink_to(precious)
    with pytest.raises(ValueError, match="after its save"): run_study(own, out, a=-2, progress=False)
    run_study(own, out, a=1, progress=False)
    run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=2)
    if there:
        assert precious.read_text() == "mine" if precious.is_file() else \
            [p.read_text() for p in precious.iterdir()] == ["mine"]
    else: assert not precious.exists()


@pytest.mark.parametrize("name", [".lock", ".work", "earlier"])
def test_links_where_a_folder_or_lock_is_needed_are_told(own, tmp_path, name):
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    assert not (out/".lock").exists()
    (tmp_path/"elsewhere").mkdir()
    (out/name).symlink_to(tmp_path/"elsewhere")
    with pytest.raises(OSError, match="Cannot write"): run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=1) and not list((tmp_path/"elsewhere").iterdir())


def test_a_folder_that_is_itself_a_link_is_its_users_choice(own, tmp_path):
    (tmp_path/"big disk").mkdir()
    (tmp_path/"run").symlink_to(tmp_path/"big disk")
    run_study(own, tmp_path/"run", a=1, progress=False)
    assert is_done(tmp_path/"big disk", own, a=1)


@pytest.mark.parametrize("line", ["name = '..'", "name = '.'", "name = '...'", "name = '.hidden'", "name = ''",
                                  "name = 'a/b'", "folder = '..'", "folder = '.'", "folder = '../..'", "folder = ''",
                                  "folder = 'x/..'", "folder = '/'"])
def test_names_that_make_another_folder_the_studys(own, tmp_path, line):
    (tmp_path/"s.toml").write_text(f"template = 'own.ipynb'\n{line}\n[axes]\na = [1]\n")
    with pytest.raises(ValueError, match="Expected `(name|folder)`"): load_study(tmp_path/"s.toml")
    for good in ("name = 'a-b_c.1'", "folder = 'x/y'", "folder = '../z'"):
        (tmp_path/"s.toml").write_text(f"template = 'own.ipynb'\n{good}\n[axes]\na = [1]\n")
        load_study(tmp_path/"s.toml")


def test_a_run_may_use_our_names(tmp_path, own):
    "What a template writes under a name of ours is kept under another one."
    template(own, "from pathlib import Path\nfor n in ('log.txt', 'run.json', '.owner', 'earlier', '.hidden'):\n"
                  "    (Path(out)/n).write_text(n)")
    run_study(own, tmp_path/"run", progress=False)
    assert {p.name: p.read_text() for p in (tmp_path/"run").glob("own-*")} == \
        {"own-log.txt": "log.txt", "own-run.json": "run.json", "own-owner": ".owner", "own-earlier": "earlier"}
    assert is_done(tmp_path/"run", own) and (tmp_path/"run"/".hidden").read_text() == ".hidden"


def test_the_notebook_names_the_folder_that_it_is_in(own, tmp_path):
    run_study(own, tmp_path/"run é", a=1, progress=False)
    text = (tmp_path/"run é"/"own.ipynb").read_text()
    assert ".work" not in text and str(tmp_path/"run é") in text


# --- kills and full disks at every step

def test_killed_at_every_step(own, tmp_path):
    """Between any two steps: no run is signed by another, the finished one is not lost, and the same call completes.
    (Every third step: benchmarks/grid_faults.py takes all.)"""
    def start(name):
        run_study(own, tmp_path/name, a=1, progress=False)
        return tmp_path/name
    work = lambda out: run_study(own, out, a=2, progress=False)
    first = start("count")
    steps = steps_of(lambda: work(first))
    assert steps > 20
    for n in range(1, steps + 1, 3):
        out = start(f"run{n}")
        status = child(lambda n=n, out=out: (at_step(n, die), work(out)))
        assert os.WIFSIGNALED(status), n
        consistent(out, own)
        assert 1. in numbers(out), n
        if n % 2: # another run comes first
            run_study(own, out, a=3, progress=False)
            consistent(out, own)
            assert {1., 3.} <= set(numbers(out)), n
        work(out)
        assert is_done(out, own, a=2) and 1. in numbers(out) and number(out) == 2, n
        work(out)
        assert not list(out.glob(".work/*")) and not owner.owner_of(out), n


def test_the_disk_is_full_at_every_step(own, tmp_path):
    "One error, nothing of it in the folder; with room again the same call completes."
    def full(): raise OSError(errno.ENOSPC, "No space left on device")
    first = tmp_path/"count"
    run_study(own, first, a=1, progress=False)
    steps = steps_of(lambda: run_study(own, first, a=2, progress=False))
    failed = 0
    for n in range(1, steps + 1, 4):
        out = tmp_path/f"run{n}"
        run_study(own, out, a=1, progress=False)
        status = child(lambda n=n, out=out: (at_step(n, full), run_study(own, out, a=2, progress=False)))
        failed += status != 0
        consistent(out, own)
        assert 1. in numbers(out), n
        run_study(own, out, a=2, progress=False)
        assert is_done(out, own, a=2) and 1. in numbers(out) and number(out) == 2, n
    assert failed > 5


def test_files_may_not_grow(own, tmp_path):
    "As with a quota: no file over 2 kB can be written."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    def small(): resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    assert child(lambda: (small(), run_study(own, out, a=2, progress=False))) == 1 << 8
    consistent(out, own)
    assert is_done(out, own, a=1) and number(out) == 1
    run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=2) and numbers(out) == [1, 2]


# --- file systems and machines

class NoLocks:
    "A file system on which the system's lock fails."
    LOCK_EX, LOCK_NB, LOCK_SH = 1, 2, 4
    def __init__(self, code): self.code = code
    def flock(self, *args): raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, None])
def test_without_flock(own, tmp_path, monkeypatch, code):
    "As on Lustre and some NFS, and on Windows: one at a time all the same, and a killed owner holds nothing up."
    monkeypatch.setattr(owner, "fcntl", None if code is None else NoLocks(code))
    out = tmp_path/"run"
    p = held(out)
    try:
        with pytest.raises(BlockingIOError, match=f"process {p.pid}"): run_study(own, out, a=1, progress=False)
        assert owner.owner_of(out)["pid"] == p.pid
    finally:
        p.kill()
        p.wait()
    assert owner.owner_of(out) == {}
    run_study(own, out, a=1, progress=False)
    assert is_done(out, own, a=1) and not (out/".owner").exists()


def claimed(out, beat=0, machine="node7 somewhere"):
    "A claim of a process on another machine."
    facts = dict(host="node7", machine=machine, pid=1, began="1", token=uuid.uuid4().hex, beat=f"{beat:09}")
    out.mkdir(exist_ok=True)
    (out/".owner").write_text(json.dumps(facts))
    return facts


def test_an_owner_elsewhere_counts_as_long_as_it_counts(own, tmp_path, monkeypatch):
    "It is watched: refused while its number grows, taken over when it stands still; no clocks are compared."
    monkeypatch.setattr(owner, "PATIENCE", 1.5)
    out = tmp_path/"run"
    facts = claimed(out)
    script = (f"import json, time, pathlib\nf = {facts!r}\nfor i in range(40):\n    time.sleep(0.2)\n"
              f"    pathlib.Path({str(out/'.owner')!r}).write_text(json.dumps(f | dict(beat=f'{{i + 1:09}}')))")
    p = subprocess.Popen([sys.executable, "-c", script])
    try:
        with pytest.raises(BlockingIOError, match="process 1 on node7"): run_study(own, out, a=1, progress=False)
        assert owner.owner_of(out)["host"] == "node7"
    finally:
        p.kill()
        p.wait()
    os.utime(out/".owner", (2**31, 2**31)) # from the future
    began = time.monotonic()
    run_study(own, out, a=1, progress=False)
    assert is_done(out, own, a=1) and time.monotonic() - began > 1.4


def test_taken_over_in_the_middle(own, tmp_path):
    "A process that was not heard of for long writes nothing into what has become another's; nor is its work lost."
    out = tmp_path/"run"
    run_study(own, out, a=1, progress=False)
    real, new = studies.notebook_page, {}
    def page(path):
        new.update(claimed(out))
        return real(path)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(studies, "notebook_page", page)
        with pytest.raises(BlockingIOError, match="taken over"): run_study(own, out, a=2, progress=False)
    assert json.loads((out/".owner").read_text()) == new
    assert is_done(out, own, a=1) and number(out) == 1 and list(out.glob(".work/*/whole.json"))
    (out/".owner").unlink()
    with pytest.MonkeyPatch.context() as m:
        m.setattr(studies, "_execute", lambda *_: pytest.fail("it was computed already"))
        run_study(own, out, a=2, progress=False)
    assert is_done(out, own, a=2) and numbers(out) == [1, 2]


def test_of_many_that_find_a_dead_owner_one_gets_the_folder(tmp_path):
    out = tmp_path/"run"
    p = held(out)
    p.kill()
    p.wait()
    code = (f"from fragility_nb.core import owner; import time, sys\nowner.fcntl = None\n"
            f"while time.time() < {time.time() + 4}: pass\n"
            f"try:\n    with owner.own_folder({str(out)!r}, 'In use') as still:\n        time.sleep(2)\n"
            f"        still()\n        print('had it')\nexcept BlockingIOError: print('refused')")
    several = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment())
               for _ in range(6)]
    said = [p.communicate(timeout=60)[0].strip() for p in several]
    assert said.count("had it") == 1 and said.count("refused") == 5, said


def test_windows_is_told_what_works(tmp_path, monkeypatch):
    from fragility_nb.run.cluster import LocalEngine
    monkeypatch.delattr(os, "fork")
    with pytest.raises(OSError, match="Windows.*single run .*works"): list(LocalEngine().run(abs, [1]))
    lacking = ("import sys, os, signal\nsys.modules['fcntl'] = sys.modules['resource'] = None\n"
               "del signal.SIGKILL, os.fork, os.O_NOFOLLOW, os.getuid\n"
               "import fragility_nb.run.grid, fragility_nb.run.collect\n"
               f"from fragility_nb.core.owner import own_folder\nwith own_folder({str(tmp_path)!r}, 'x'): print('ok')")
    done = subprocess.run([sys.executable, "-c", lacking], capture_output=True, text=True, env=environment())
    assert done.stdout.strip() == "ok", done.stderr


# --- what kills leave behind

def test_files_of_dead_kernels_go_at_the_next_start(tmp_path):
    "Only ours, and only of dead processes; a killed run leaves one, the next start removes it."
    env = environment(TMPDIR=str(tmp_path/"tmp"), OMP_NUM_THREADS="1")
    (tmp_path/"tmp").mkdir()
    template(tmp_path/"own.ipynb", "import time\ntime.sleep(60 * (a == 2))")
    code = (f"from fragility_nb.run.studies import run_study\n"
            f"run_study({str(tmp_path/'own.ipynb')!r}, {str(tmp_path/'run')!r}, progress=False, a=%d)")
    p = subprocess.Popen([sys.executable, "-c", code % 2], env=env)
    until = time.time() + 60
    while not (made := list((tmp_path/"tmp").glob("fragility-kernel-*.json"))):
        assert time.time() < until and p.poll() is None
        time.sleep(0.05)
    p.kill()
    p.wait()
    alive = made[0].with_name(made[0].name.replace(f"-{p.pid}-", f"-{os.getpid()}-"))
    for name in (alive.name, "fragility-notes.json", "kernel-1.json", made[0].name.replace("fragility", "other")):
        (tmp_path/"tmp"/name).write_text("{}")
    assert made[0].is_file() and "key" in json.loads(made[0].read_text()) and made[0].stat().st_mode & 0o077 == 0
    subprocess.run([sys.executable, "-c", code % 1], env=env, check=True)
    left = {p.name for p in (tmp_path/"tmp").iterdir()}
    assert left >= {alive.name, "fragility-notes.json", "kernel-1.json"} and made[0].name not in left
    assert not [n for n in left if n.endswith(".json")
                and n not in (alive.name, "fragility-notes.json", "kernel-1.json",
                              made[0].name.replace("fragility", "other"))]


# --- many results, and exports

RESULTS = {
    "plain": xr.Dataset(dict(y=1.5, n=3, ok=True)),
    "arrays": xr.Dataset(dict(score=(("layer", "filter"), np.array([[0.1, np.nan], [2., -np.inf]])),
                              hit=("layer", np.array([True, False])), small=("filter", np.arange(2, dtype="int8"))),
                         dict(layer=["conv1", "fc"], filter=["low_pass", "pulse"], depth=("layer", [0.5, 1.]))),
    "empty": xr.Dataset(dict(none=("layer", np.zeros(0))), dict(layer=np.array([], dtype="<U1"))),
    "text": xr.Dataset(dict(word=("n", ["é", "", "a b"]), single="one"), attrs=dict(list=np.array([1., 2.]), k=2)),
}


@pytest.mark.parametrize("name", [*RESULTS, "several"])
def test_a_copy_is_the_very_same(tmp_path, name):
    one = {k: v.assign_attrs(provenance("toy", seed=1) | v.attrs) for k, v in RESULTS.items()}
    path = save_result(dict(one) if name == "several" else one[name], tmp_path/"result.nc")
    result = load_result(path)
    digest = copies.keep_copy(result, tmp_path/"copy")
    assert digest == kept.file_digest(tmp_path/"copy")
    back = copies.unpack_result((tmp_path/"copy").read_bytes())
    assert back.identical(result) and type(back) is type(result)
    nodes = (result.subtree, back.subtree) if name == "several" else ([result], [back])
    for a, b in zip(*nodes, strict=True):
        assert {k: v.dtype for k, v in a.variables.items()} == {k: v.dtype for k, v in b.variables.items()}
        assert list(a.variables) == list(b.variables)


def test_a_copy_that_is_damaged_or_of_something_large_is_not_used(tmp_path, monkeypatch):
    path = save_result(xr.Dataset(dict(y=1.), attrs=provenance("toy")), tmp_path/"result.nc")
    result = load_result(path)
    digest = copies.keep_copy(result, tmp_path/"copy")
    good = (tmp_path/"copy").read_bytes()
    for bad in (b"", good[:-1], good + b" ", bytes([good[0] ^ 1]) + good[1:]):
        (tmp_path/"copy").write_bytes(bad)
        assert copies.load_copied(path, tmp_path/"copy", digest).identical(result)
    (tmp_path/"copy").unlink()
    assert copies.load_copied(path, tmp_path/"copy", digest).identical(result)
    monkeypatch.setattr(copies, "LARGEST", 4)
    assert copies.keep_copy(result, tmp_path/"copy") == "" and not (tmp_path/"copy").exists()


def test_collecting_from_copies_gives_what_the_files_give(own, tmp_path):
    (tmp_path/"s.toml").write_text("template = 'own.ipynb'\n[axes]\na = [1, 2, 3]\n[parameters]\nlate = true\n")
    assert run_here(tmp_path/"s.toml").state.eq("done").all()
    plan = load_study(tmp_path/"s.toml")
    with pytest.MonkeyPatch.context() as m:
        m.setattr(copies, "load_result", lambda path: pytest.fail("read from its file"))
        fast = collect_study(plan)
    for run in plan.runs: (run.folder/".result.copy").unlink()
    slow = collect_study(plan)
    for tree in (fast, slow):
        for node in tree.subtree: node.attrs.pop("created_at", None)
    assert fast.identical(slow) and fast["result"].y.values.tolist() == [1, 2, 3]
    assert study_status(plan).state.eq("done").all()


def test_exports_are_kept_and_carry_the_settings(own, tmp_path):
    (tmp_path/"s.toml").write_text("template = 'own.ipynb'\n[axes]\na = [1, -2]\n[parameters]\nlate = true\n")
    run_here(tmp_path/"s.toml")
    study = load_study(tmp_path/"s.toml").folder
    failed = next(study.glob("runs/*/failed.json"))
    failed.write_text(json.dumps(json.loads(failed.read_text()) | dict(cell=3)))
    nc, csv, *counts = save_collection(study)
    assert counts == [1, 2]
    table = pd.read_csv(csv)
    assert table["parameters.late"].tolist() == ["true"]*2 or table["parameters.late"].tolist() == [True]*2
    assert table.template.tolist() == ["own"]*2 and table.a.tolist() == [1, -2]
    assert json.loads(load_result(nc).attrs["parameters"]) == dict(late=True)
    page = report_study(study)
    before = [p.read_bytes() for p in (nc, csv, page)]
    save_collection(study)
    report_study(study)
    assert [p.read_bytes() for p in (nc, csv, page)] == before and not (study/"earlier").exists()
    csv.write_text("my own notes")
    first = load_result(nc)
    save_collection(study)
    assert [p.read_text() for p in study.glob("earlier/*/collected.csv")] == ["my own notes"]
    assert load_result(nc).identical(first)


def test_free_names(tmp_path):
    (tmp_path/"a-2.csv").symlink_to(tmp_path/"nowhere")
    assert [kept.free_path(tmp_path/"a.csv").name for _ in range(3)] == ["a.csv", "a-3.csv", "a-4.csv"]


# --- files of strangers

@pytest.mark.parametrize("spec, word", [
    (dict(name="resnet18", weights="imagenet"), "weights"), (dict(name="cnn100000"), "name"),
    (dict(name="cnn3", seed=1), "seed"), (dict(name="cnn3", num_classes=10**9), "num_classes"),
    (dict(name="cnn3", in_chans=10**9), "in_chans"), (dict(name="cnn3", image_size=10**6), "image_size"),
    (dict(name="cnn" + "9" * 5000), "name"), ([1], "[1]"), ("cnn3", "'cnn3'"),
    (dict(name="cnn3", resize=1e9), "resize")])
def test_a_checkpoint_cannot_ask_for_downloads_or_large_networks(tmp_path, monkeypatch, spec, word):
    from safetensors.torch import save_file

    from fragility_nb.models import create
    monkeypatch.setattr(create, "_imagenet_weights", lambda *_: pytest.fail("it was to be fetched"))
    state = {k: v.clone() for k, v in create.create_model("cnn3").state_dict().items()}
    save_file(state, tmp_path/"w.safetensors", metadata=dict(spec=json.dumps(spec), facts="{}"))
    monkeypatch.setattr(create, "_build", lambda *_, **__: pytest.fail("it was to be built"))
    with pytest.raises(ValueError, match="asks for a network") as told: create.load_checkpoint(tmp_path/"w.safetensors")
    assert word in str(told.value)
