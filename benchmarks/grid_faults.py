"""Kill a study at random moments and compare what comes out with an undisturbed one.

    python benchmarks/grid_faults.py [--quick] [--seed N]

Twelve small networks are trained on digits and filtered, two at a time. The controller, a worker or a kernel gets
SIGKILL at 20 random moments, and the command is run again. At the end every run must be complete, no finished run
computed twice, no process left, and the collected result the same to the bit. `--quick`: six runs without torch, six
kills.
"""
import argparse
import contextlib
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

from fragility_nb.core.results import load_result
from fragility_nb.run.collect import collect_study
from fragility_nb.run.grid import study_status
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
                or p.name in ("running.json", "parts", ".jupyter")]
        assert not left, run.name
    a, b = collect_study(file), collect_study(reference)
    for tree in (a, b):
        for node in tree.subtree: node.attrs.pop("created_at", None)
    assert a.identical(b), "the collected result is not that of the undisturbed study"


def main(quick, seed):
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
