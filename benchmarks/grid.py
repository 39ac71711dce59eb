"""What a study costs beside its work.

    python benchmarks/grid.py [--quick]

The work of a run is what its cells take, imports included, as any script would pay them; all else is overhead: a
process, a kernel, the page, the checks.
Bars: at most 3 s a run, at most 5 % of runs of 60 s, two workers 1.7 times as fast as one on two cores, and under 5 s
for the list, the state and the collection of 1,000 runs, planned or finished. Counted from the command's first line to
its last, its start shared by the runs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import xarray as xr
from grid_faults import FRAGILITY, study, template

from fragility_nb.core.results import provenance, save_result
from fragility_nb.run.grid import study_status
from fragility_nb.run.studies import finish_run
from fragility_nb.run.study_files import load_study

BUSY = ("seed = 0  # of the numbers\nwork = 1.0  # seconds of CPU\nout = '.'  # folder for result.nc",
        "import time\nimport xarray as xr\nfrom fragility_nb.core.results import provenance, save_result", """
began = time.process_time()
while time.process_time() - began < work: sum(range(1000))
save_result(xr.Dataset(dict(y=float(seed)), attrs=provenance("busy")), out + "/result.nc")
""")


def timed(*args):
    "Seconds of a command."
    began = time.perf_counter()
    done = subprocess.run([*FRAGILITY, *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - began


def busy(folder, runs, work):
    "A study of single-threaded runs of so many seconds."
    folder.mkdir(parents=True)
    template(folder / "busy.ipynb", *BUSY)
    (folder / "s.toml").write_text(f"template = 'busy.ipynb'\n[axes]\nseed = {list(range(runs))}\n"
                                   f"[parameters]\nwork = {float(work)}\n")
    return folder / "s.toml"


def overhead(folder, runs, work):
    "Seconds per run beside its cells, and their share."
    file = busy(folder, runs, work)
    whole, status = timed("grid", file, "--workers", 1), study_status(file)
    inside = float(status.cell_seconds.sum())
    own = float((status.seconds - status.cell_seconds).mean())
    return dict(runs=runs, cell_seconds=round(inside / runs, 2), overhead_per_run=round((whole - inside) / runs, 2),
                of_it_kernel_and_page=round(own, 2), share=round((whole - inside) / inside, 4))


def speedup(folder, runs, work):
    "One worker against two."
    one, two = (timed("grid", busy(folder / str(n), runs, work), "--workers", n) for n in (1, 2))
    return dict(runs=runs, seconds_each=work, one_worker=round(one, 1), two_workers=round(two, 1),
                ratio=round(one / two, 2))


def thousand(folder, done):
    "Seconds for the list, the state and the collection of 1,000 runs, some of them done."
    file = study(folder, runs=10)
    file.write_text(file.read_text().replace("[axes]", f"[axes]\nsteps = {list(range(1, 101))}"))
    plan = load_study(file)
    assert len(plan.runs) == 1000
    for run in plan.runs[:done]:
        run.folder.mkdir(parents=True)
        for name in ("work.ipynb", "work.html"): (run.folder / name).write_text(json.dumps(dict(cells=[])))
        save_result(xr.Dataset(dict(y=1.), attrs=provenance("toy")), run.folder / "result.nc")
        finish_run(run.folder, Path("work.ipynb"), run.params, run.fingerprint, 0., True)
    return dict(done=done, dry_run=round(timed("grid", file, "--dry-run"), 2), status=round(timed("status", file), 2),
                collect=round(timed("collect", file), 2))


def main(quick):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts = dict(short=overhead(folder / "short", 3 if quick else 6, 1))
        if not quick: facts["long"] = overhead(folder / "long", 4, 60)
        facts["two"] = speedup(folder / "two", 4, 4 if quick else 15)
        facts["planned"] = thousand(folder / "planned", 20)
        if not quick: facts["finished"] = thousand(folder / "finished", 1000)
    print("\n".join(f"{what:10} " + "  ".join(f"{k} {v}" for k, v in row.items()) for what, row in facts.items()))
    print(json.dumps(facts))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parent))
    main(parser.parse_args().quick)
