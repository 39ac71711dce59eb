"""Kill a study at random moments and compare what comes out with an undisturbed one.

    python benchmarks/grid_faults.py [--quick] [--seed N]

Twelve small networks are trained on digits and filtered, two at a time. The controller, a worker or a kernel gets
SIGKILL at 20 random moments, and the command is run again. At the end every run must be complete, no finished run
computed twice, no process left, and the collected result the same to the bit. `--quick`: six runs without torch, six
kills.

Before that, single runs in one folder: killed, or with a full disk, at every step that changes a folder; and six
processes with wrong clocks that run different parameters into the same folder and are killed at random, on a disk
with locks and on one without. No finished run may be lost, and none may be signed by another.
"""
import argparse
import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

from fragility_nb.core import owner, whole
from fragility_nb.core.results import load_result
from fragility_nb.run import studies
from fragility_nb.run.collect import collect_study
from fragility_nb.run.grid import study_status
from fragility_nb.run.studies import is_done, run_study
from fragility_nb.run.study_files import load_study

FRAGILITY = [sys.executable, "-c", "from fragility_nb.cli import app; app()"]
KERNEL = dict(kernelspec=dict(name="python3", display_name="python3", language="python"))
LIGHT = ("""
seed = 0  # of the numbers
steps = 4  # parts
pause = 0.3  # seconds per part
out = '.'  # folder for result.nc
""", """
import sys
import time
from pathlib import Path
sys.modules["dask"] = None # xarray would load it, for nothing
import numpy as np
import xarray as xr
from fragility_nb.core.results import PartStore, provenance, save_result
""", """
store, parts = PartStore(Path(out)/"parts", "light", seed), []
def compute(i):
    time.sleep(pause)
    return dict(x=np.random.default_rng([seed, i]).normal(size=(40, 3)).cumsum(0))
for i in range(steps): parts.append(store.get(lambda: compute(i), i)["x"])
data = dict(walk=(("step", "time", "dim"), np.stack(parts)), end=float(parts[-1].sum()))
save_result(xr.Dataset(data, attrs=provenance("light", seed=seed)), Path(out)/"result.nc")
""")
DIGITS = ("""
model = 'cnn3'  # name of a network
seed = 0  # of the training
epochs = 4  # of training
n = 120  # test images
out = '.'  # folder for result.nc
""", """
from pathlib import Path
from fragility_nb.stress.attacks import FGSM
from fragility_nb.core.results import save_result
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.training import fit
""", """
train, test = load_data("digits", "train"), load_data("digits", n=n)
net = create_model(model, seed=seed)
log = fit(net, train, epochs=epochs, lr=3e-3, batch_size=32, seed=seed, folder=Path(out)/"training", device="cpu",
          progress=False)
filters = filter_sweep(net, test, thresholds=9, attack=FGSM(0.05), device="cpu", resume=Path(out)/"parts",
                       progress=False)
save_result(dict(training=log, filters=filters, scores=synaptic_scores(filters)), Path(out)/"result.nc")
""")


def template(path, parameters, *code):
    "A template notebook from its parameters and the code of its cells."
    first = nbformat.v4.new_code_cell(parameters.strip(), metadata=dict(tags=["parameters"]))
    cells = [nbformat.v4.new_markdown_cell(f"# {path.stem}"), first,
             *map(nbformat.v4.new_code_cell, (c.strip() for c in code))]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def study(folder, light=True, runs=6, **parameters):
    "A study file with its template."
    folder.mkdir(parents=True, exist_ok=True)
    template(folder / "work.ipynb", *(LIGHT if light else DIGITS))
    axes = f"seed = {list(range(runs))}" if light else f"model = ['cnn3', 'cnn4']\nseed = {list(range(runs // 2))}"
    fixed = "\n".join(f"{k} = {v!r}" for k, v in parameters.items())
    (folder / "study.toml").write_text(f"template = 'work.ipynb'\nfolder = 'study'\n[axes]\n{axes}\n"
                                       f"[parameters]\n{fixed}\n")
    return folder / "study.toml"


def start(file, *options, env=None, **how):
    "The command, in a session of its own."
    return subprocess.Popen([*FRAGILITY, "grid", str(file), *options], env=env, stdin=subprocess.DEVNULL,
                            start_new_session=True, **how)


def workers(file):
    "Processes that compute runs now."
    found = []
    for path in (file.parent / "study" / "runs").glob("*/running.json"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            found.append(psutil.Process(json.loads(path.read_text())["pid"]))
    return found


def victim(controller, file, rng, kind=None):
    "A controller, worker or kernel."
    found = workers(file)
    kind = (kind or rng.choice(["controller", "worker", "kernel"])) if found else "controller"
    if kind == "controller": return kind, psutil.Process(controller.pid)
    worker = rng.choice(found)
    with contextlib.suppress(psutil.Error, StopIteration):
        if kind == "kernel":
            return kind, next(p for p in worker.children() if "ipykernel_launcher" in " ".join(p.cmdline()))
    return "worker", worker


def finished(file):
    "What must not change any more: run -> contents of its files."
    plan = load_study(file)
    done = study_status(plan).state == "done"
    files = ("result.nc", "run.json", "work.html")
    return {r.name: {f: (r.folder / f).read_bytes() for f in files} for r, d in zip(plan.runs, done) if d}


def below(process):
    "All processes under one, and itself."
    with contextlib.suppress(psutil.Error): return [process, *process.children(recursive=True)]
    return []


def still_alive(processes, patience=10):
    "Command lines of those that do not end; one that is dead and only waits to be counted is gone."
    def alive(p):
        with contextlib.suppress(psutil.Error): return p.is_running() and p.status() != psutil.STATUS_ZOMBIE
        return False
    until = time.time() + patience
    while time.time() < until and any(map(alive, processes)): time.sleep(0.05)
    return [p.cmdline() for p in processes if alive(p)]


def run_files(file):
    "How many runs have been finished."
    return len(list((file.parent / "study" / "runs").glob("*/run.json")))


def disturbed(file, kills, seed=0, wait=(0.2, 6.), env=None, say=lambda *a: None, kinds=()):
    """Kills and starts again until it has killed so often, then lets it end. Gives what was killed, and how many runs
    were finished then. However slow the machine is, the kills are spread over the whole study: the nth comes when its
    share of the runs is finished, at a random moment from then on."""
    rng, runs = random.Random(seed), len(load_study(file).runs)
    killed, controller, before = [], None, {}
    while len(killed) < kills:
        if controller is None or controller.poll() is not None:
            if len(finished(file)) == runs: break
            controller = start(file, "--workers", "2", "--retry-failed", env=env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
        while controller.poll() is None and run_files(file) < (len(killed) + 1) * (runs - 2) // kills: time.sleep(0.05)
        until = time.time() + (60 if rng.random() < 0.8 or kinds else 0)  # mostly not while all of it still starts
        while time.time() < until and controller.poll() is None and not workers(file): time.sleep(0.05)
        time.sleep(rng.uniform(*wait))
        if controller.poll() is not None: continue
        kind, process = victim(controller, file, rng, kinds[len(killed)] if kinds else None)
        family = below(process)
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)
            killed.append((kind, run_files(file)))
        if kind == "controller": controller.wait()
        left = still_alive([p for p in family if kind != "kernel" or p == process])
        assert not left, f"still alive after the {kind} was killed: {left}"
        now = finished(file)
        assert all(now.get(name) == files for name, files in before.items()), "a finished run was touched"
        before = now
        say(f"{len(killed):3} {kind:10} killed, {len(now)} runs done")
    if controller is not None: controller.wait(600)
    done = subprocess.run([*FRAGILITY, "grid", str(file), "--workers", "2", "--retry-failed"], env=env,
                          capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    now = finished(file)
    assert all(now.get(name) == files for name, files in before.items()), "a finished run was touched"
    return killed


def check(file, reference):
    "Everything is there, once, and the same."
    plan = load_study(file)
    assert (study_status(plan).state == "done").all()
    for run in plan.runs:
        lines = [line.split()[2].rstrip(":") for line in (run.folder / "log.txt").read_text().splitlines()
                 if line.startswith("--- ") and "cell" not in line]
        assert lines.count("finished") == 1 and lines[-1] == "finished", f"{run.name}: {lines}"
        left = [p for p in run.folder.rglob("*") if p.suffix == ".part"
                or p.name in ("running.json", "parts", ".jupyter", ".owner", ".work")]
        assert not left, run.name
    a, b = collect_study(file), collect_study(reference)
    for tree in (a, b):
        for node in tree.subtree: node.attrs.pop("created_at", None)
    assert a.identical(b), "the collected result is not that of the undisturbed study"


SAVING = ("""
a = 1  # number; a negative one fails after its save
late = False  # as the clock of a file server may have it
out = '.'  # folder for result.nc
""", """
import os
from pathlib import Path
import xarray as xr
from fragility_nb.core.results import provenance, save_result
home = Path(out)
save_result(xr.Dataset(dict(y=float(a)), attrs=provenance("toy")), home/"result.nc")
(home/"table.csv").write_text(f"a,{a}")
(home/"training").mkdir(exist_ok=True)
(home/"training"/"weights.bin").write_bytes(bytes(100) + bytes([abs(a)]))
if late: os.utime(home/"result.nc", (0, 0))
if a < 0: raise ValueError("after its save")
""")


def saving(path, work=SAVING[1]):
    "A template that saves a number."
    return template(path, SAVING[0], work)


def in_process(path, running, given, progress, cwd, log):
    "Executes the cells here and without a kernel, where the kernel is not what is tested."
    nb, names = nbformat.read(path, 4), {}
    for cell in nb.cells:
        if cell.cell_type == "code": exec(cell.source, names)
        if "parameters" in cell.metadata.get("tags", []): names.update(given)
    nb.cells.insert(2, nbformat.v4.new_code_cell(f"out = {given['out']!r}"))
    nbformat.write(nb, running)


def numbers(folder):
    "Every result that is anywhere in a folder."
    return sorted(float(load_result(p).y) for p in Path(folder).rglob("result.nc"))


def consistent(out, path, tried):
    "No run is said to be done whose number is another's."
    number = float(load_result(out / "result.nc").y) if (out / "result.nc").is_file() else None
    for a in tried: assert not is_done(out, path, a=a) or number == a, f"{a} is signed, {number} is there"
    run = whole.finished_run(out, path.stem)
    if run and whole.is_intact(out, run, deep=True): assert number == float(run["params"]["a"])


STEPS = [(os, "rename"), (os, "replace"), (os, "unlink"), (os, "mkdir"), (os, "open"), (os, "rmdir"), (os, "fsync")]


def at_step(n, then):
    "Calls `then` in the nth step that changes a folder; gives the count of them."
    count = [0]
    for module, name in STEPS:
        real = getattr(module, name)

        def step(*args, _real=real, _name=name, **kwargs):
            if _name != "open" or (len(args) > 1 and args[1] & (os.O_CREAT | os.O_WRONLY | os.O_RDWR)):
                count[0] += 1
                if count[0] == n: then()
            return _real(*args, **kwargs)
        setattr(module, name, step)
    return count


def die(): os.kill(os.getpid(), signal.SIGKILL)


def full(): raise OSError(errno.ENOSPC, "No space left on device")


def forked(work):
    "The status of a copy of this process that does something."
    pid = os.fork()
    if pid: return os.waitpid(pid, 0)[1]
    try: work()
    except BaseException: os._exit(1)
    os._exit(0)


def steps_of(work):
    "How many steps that change a folder a piece of work has."
    read, write = os.pipe()

    def counted():
        count = at_step(0, die)
        work()
        os.write(write, str(count[0]).encode())
    assert forked(counted) == 0
    os.close(write)
    with os.fdopen(read) as f: return int(f.read())


def every_step(folder, path, then):
    "Something happens at each step of a second run into a folder; how many steps there were."
    def start(name):
        run_study(path, folder / name, a=1, progress=False)
        return folder / name
    steps = steps_of(lambda: run_study(path, start("counted"), a=2, progress=False))
    for n in range(1, steps + 1):
        out = start(f"step{n}")
        forked(lambda n=n, out=out: (at_step(n, then), run_study(path, out, a=2, progress=False)))
        consistent(out, path, (1, 2))
        assert 1. in numbers(out), f"lost at step {n}"
        run_study(path, out, a=2, progress=False)
        assert is_done(out, path, a=2) and 1. in numbers(out), f"not complete after step {n}"
    return steps


def signed(note):
    "What a run.json says of a run that was put aside is what lies beside it."
    for run in json.loads(note.read_text()).values():
        assert float(load_result(note.parent / "result.nc").y) == float(run["params"]["a"])


def shared(folder, path, seed, locks, seconds):
    "Processes with wrong clocks share a folder and are killed: how many runs were finished, refused and killed."
    out, notes, rng = folder / "shared", folder / "notes", random.Random(seed)
    notes.mkdir(parents=True)

    def life(i):
        rng, wrong, real = random.Random(f"{seed} {i}"), random.uniform(-1e8, 1e8), time.time
        time.time = lambda: real() + wrong
        if not locks: owner.fcntl = None
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            a = rng.randint(1, 9)
            try: run_study(path, out, a=a, progress=False)
            except BlockingIOError: (notes / f"refused-{os.getpid()}-{rng.random()}").touch()
            else: (notes / f"finished-{os.getpid()}-{rng.random()}").write_text(str(a))

    def begin(i):
        pid = os.fork()
        if pid: return pid
        with contextlib.suppress(BaseException):
            life(i)
            os._exit(0)
        os._exit(1)
    alive, kills, until = [begin(i) for i in range(6)], 0, time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.2, 0.6))
        victim = alive.pop(rng.randrange(6))
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        kills += 1
        alive.append(begin(6 + kills))
    ended = [os.waitpid(pid, 0)[1] for pid in alive]
    assert not any(ended), f"a process ended with {ended}"
    consistent(out, path, range(1, 10))
    finished = {float(p.read_text() or 0) for p in notes.glob("finished-*")} - {0.}
    assert finished <= set(numbers(out)), "a finished run is lost"
    for aside in out.glob("earlier/*/run.json"): signed(aside)
    return dict(finished=len(list(notes.glob("finished-*"))), refused=len(list(notes.glob("refused-*"))), killed=kills)


def one_folder(folder, seed, seconds):
    "Single runs in one folder, without kernels."
    studies._execute, studies.notebook_page = in_process, lambda path: "<html>a page</html>"
    path = saving(folder / "own.ipynb")
    return dict(killed_at_steps=every_step(folder / "killed", path, die),
                full_at_steps=every_step(folder / "full", path, full),
                shared=shared(folder / "locks", path, seed, True, seconds),
                shared_without_locks=shared(folder / "no locks", path, seed, False, seconds))


def main(quick, seed):
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(one_folder(Path(folder), seed, 10 if quick else 60)))
    with tempfile.TemporaryDirectory() as folder:
        settings = dict(light=quick, runs=6 if quick else 12)
        files = [study(Path(folder) / name, **settings) for name in ("disturbed", "undisturbed")]
        began = time.time()
        subprocess.run([*FRAGILITY, "grid", str(files[1]), "--workers", "2"], check=True)
        undisturbed, began = time.time() - began, time.time()
        killed = disturbed(files[0], 6 if quick else 20, wait=(0.2, 4. if quick else 14.), seed=seed, say=print)
        check(*files)
        assert load_result(load_study(files[0]).runs[0].folder / "result.nc") is not None
    facts = dict(runs=settings["runs"], kills=len(killed),
                 **{k: [kind for kind, _ in killed].count(k) for k in ("controller", "worker", "kernel")},
                 after_finished_runs=sum(done > 0 for _, done in killed),
                 undisturbed_seconds=round(undisturbed, 1), disturbed_seconds=round(time.time() - began, 1),
                 identical=True)
    print(json.dumps(facts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="six runs without torch, six kills")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    main(**vars(parser.parse_args()))
