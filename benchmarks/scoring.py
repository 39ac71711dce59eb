"""Room and time of scoring a large study: answers in a file, scored snapshot by snapshot.

    python benchmarks/scoring.py [--layers 54] [--epochs 10] [--inits 3] [--images 10000] [--threads 2] [--keep FILE]

The default is the size of AIJ's own study: 54 layers, 10 epochs, 3 initialisations, 3 filters, 25 thresholds, 10,000
images, clean and attacked: 2.4 GB of answers. The answers are made up (chances that fall with the threshold), snapshot
by snapshot, by the very way in which `filter_landscape(..., out=...)` writes them, in a process of its own. Another
process opens the file lazily, scores it, and averages the initialisations; of that one the peak (resident memory) and
the seconds are told. With `--whole` the result is read into memory first, for comparison.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMITS = dict(peak_gib=4, seconds=600)  # what scoring AIJ's study may take on two cores


def snapshot(rng, a, size):
    "The made-up sweep of one snapshot."
    import numpy as np
    import xarray as xr
    from fragility_nb.core.results import provenance
    layers, filters, thresholds, n = size
    shape = (2, layers, filters, thresholds)
    chance = np.linspace(0.9, 0.1, thresholds)[:, None]*rng.uniform(0.7, 1, (2, layers, filters, 1, 1))
    correct = np.stack([rng.random(shape[1:] + (n,), dtype=np.float32) < c for c in chance.astype(np.float32)])
    reference = rng.random((2, n)) < np.array([[0.9], [0.6]])
    removed = np.broadcast_to(np.linspace(0, 1000, thresholds).astype(int), shape[1:])
    dims = ("stress", "layer", "filter", "threshold", "sample")
    found = dict(correct=(dims, correct), accuracy=(dims[:-1], correct.mean(-1)), removed=(dims[1:-1], removed),
                 weights=("layer", np.full(layers, 1000)), reference_correct=(("stress", "sample"), reference),
                 reference_accuracy=("stress", reference.mean(-1)))
    coords = dict(stress=["clean", "adversarial"], layer=[f"layer {i}" for i in range(layers)],
                  filter=["high_pass", "low_pass", "pulse"][:filters], threshold=np.linspace(0, 1, thresholds),
                  sample=np.arange(n), label=("sample", np.arange(n) % 10))
    return xr.Dataset(found, coords, provenance("filter_sweep", thresholds=thresholds, num_classes=10, model="made up",
                                                model_hash=f"made up {a}"))


def write(path, a):
    "The made-up landscape, snapshot by snapshot."
    import numpy as np
    from fragility_nb.measure.runner import as_landscape, snapshot_file
    rng, done = np.random.default_rng(0), {}
    with snapshot_file(path, [{e: "" for e in range(a.epochs)} for _ in range(a.inits)]) as kept:
        for init in range(a.inits):
            for epoch in range(a.epochs):
                made = snapshot(rng, (init, epoch), (a.layers, a.filters, a.thresholds, a.images))
                done[init, epoch] = kept.keep(made, init, epoch)
        kept.finish(as_landscape(done, False, {}))
    return dict(written_mb=os.path.getsize(path)/1e6)


def score(path, a):
    "Scores, labels and their mean over the initialisations."
    from fragility_nb.core.results import load_result
    from fragility_nb.measure.scores import average_inits, synaptic_scores
    before = peak()
    start, used = time.perf_counter(), time.process_time()
    with load_result(path, "filter_sweep", lazy=not a.whole) as result:
        scores = synaptic_scores(result, simultaneous=a.simultaneous)
    mean = average_inits(scores)
    return dict(seconds=time.perf_counter() - start, cpu_seconds=time.process_time() - used, imports_gib=before,
                answers_gb=a.inits*a.epochs*2*a.layers*a.filters*a.thresholds*a.images/1e9,
                scores=int(scores.score.size), mean_of_means=float(mean.score.mean()))


def peak():
    "The most memory that this process has held, GiB."
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in dict(layers=54, epochs=10, inits=3, filters=3, thresholds=25, images=10_000, threads=2).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--whole", action="store_true", help="read the file into memory before scoring")
    parser.add_argument("--simultaneous", action="store_true", help="intervals that hold together, and the lowest")
    parser.add_argument("--keep", help="the file of the answers: made if it is not there, and kept")
    parser.add_argument("--only", choices=("write", "score"), help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.only:
        found = dict(write=write, score=score)[a.only](a.keep, a)
        print(json.dumps(found | dict(peak_gib=peak())))
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ[name] = str(a.threads)
    with tempfile.TemporaryDirectory() as folder:
        path = a.keep or str(Path(folder)/"answers.nc")
        steps = ["write"]*(not Path(path).exists()) + ["score"]
        for step in steps:
            command = [sys.executable, __file__, *sys.argv[1:], "--keep", path, "--only", step]
            done = json.loads(subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout)
            print(step, "  ".join(f"{k} {v:,.2f}" for k, v in done.items()), flush=True)
    print("limits", LIMITS, "kept:", all(done[k] <= v for k, v in LIMITS.items()))


if __name__ == "__main__":
    main()
