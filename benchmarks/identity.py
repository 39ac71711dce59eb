"""What it costs to know whom finished work belongs to, beside the work itself.

    python benchmarks/identity.py           # squeezenet1_1, resnet18 and a small cnn: about three minutes on a core
    python benchmarks/identity.py --quick   # the small cnn only

A filter sweep and a stress sweep, each with a folder for its parts, as a user calls them. The identity is all that
`provenance_of`, `question_of` and `PartStore` do until the first part may be computed: the network's own answers and
slopes, hashes of weights and images, descriptions of attack, filters and stressors, the search for finished parts, and
the writing of what they belong to. Its share of the sweep's time is printed, and asked to be below 3 %: the median of
several sweeps, in user CPU time of one thread, so that a machine shared with others counts right. Images in files are
measured apart: the first look reads them all, later ones only ask for their times.
"""
import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fragility_nb.core import results
from fragility_nb.core.identity import file_digests
from fragility_nb.data.sets import load_data
from fragility_nb.measure import sweeps
from fragility_nb.models.create import create_model
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.stressors import GaussianBlur, GaussianNoise

BAR = 0.03
def now(): return resource.getrusage(resource.RUSAGE_SELF).ru_utime


class Clock:
    "Seconds spent in some functions, while the block runs."

    def __init__(self, *places): self.places, self.seconds, self.depth = places, 0., 0

    def __enter__(self):
        self.real = [getattr(where, name) for where, name in self.places]
        for (where, name), f in zip(self.places, self.real): setattr(where, name, self.timed(f))
        return self

    def __exit__(self, *error):
        for (where, name), f in zip(self.places, self.real): setattr(where, name, f)

    def timed(self, f):
        def timed(*args, **kwargs):
            self.depth += 1
            start = now()
            try: return f(*args, **kwargs)
            finally:
                self.depth -= 1
                if not self.depth: self.seconds += now() - start
        return timed


def share(sweep):
    "Seconds of a sweep, and of its identity."
    places = [(sweeps, "provenance_of"), (sweeps, "question_of"), (results.PartStore, "__init__"),
              (results, "_new_folder")]
    with Clock(*places) as clock:
        start = now()
        with tempfile.TemporaryDirectory() as folder: sweep(folder)
        return now() - start, clock.seconds


def measure(name, n, repeats):
    "Both sweeps of one network: medians."
    size = 8 if name.startswith("cnn") else 32
    data = load_data("digits", n=n, image_size=size)
    model, how = create_model(name, image_size=size), dict(device="cpu", progress=False)
    sweep = lambda folder: sweeps.filter_sweep(model, data, thresholds=9, layers=None, attack=FGSM(0.02), resume=folder,
                                               **how)
    stress = lambda folder: sweeps.stress_sweep(model, data, [GaussianNoise(), GaussianBlur(), FGSM(0.02)],
                                                resume=folder, **how)
    rows = []
    for what, f in (("filter_sweep", sweep), ("stress_sweep", stress)):
        share(f) # the first one loads and compiles
        took = [share(f) for _ in range(repeats)]
        whole, identity = (statistics.median(t) for t in zip(*took))
        rows.append(dict(network=name, images=n, what=what, seconds=whole, identity=identity, repeats=repeats,
                         share=statistics.median(i / w for w, i in took)))
    return rows


def files(n):
    "Seconds for the digests of n image files, when they are new and when they are known."
    with tempfile.TemporaryDirectory() as d:
        for i in range(n):
            Image.fromarray(np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)).save(Path(d)/f"{i}.png")
        time.sleep(2.5) # a file of this moment is not kept
        paths, took = sorted(Path(d).iterdir()), []
        for _ in range(2):
            start = time.perf_counter()
            file_digests(paths)
            took.append(time.perf_counter() - start)
    return dict(files=n, new=took[0], known=took[1])


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="the small cnn only")
    p.add_argument("--images", type=int, default=400)
    p.add_argument("--repeats", type=int, default=0, help="of each sweep; default 15 of the small cnn, 3 of the others")
    p.add_argument("--json", help="write the numbers to this file")
    args = p.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = [row for name in (("cnn4",) if args.quick else ("cnn4", "resnet18", "squeezenet1_1"))
            for row in measure(name, args.images, args.repeats or (15 if name == "cnn4" else 3))]
    for r in rows:
        print(f"{r['network']:16}{r['what']:14}{r['seconds']:9.2f} s{r['identity']:9.3f} s{r['share']:8.2%}"
              f"{' ' if r['share'] < BAR else ' above the bar of 3 %'}", flush=True)
    known = files(2000)
    print(f"{known['files']} files: new {known['new']:.2f} s, known {known['known']:.3f} s")
    if args.json: Path(args.json).write_text(json.dumps(dict(sweeps=rows, files=known), indent=1), encoding="utf-8")
    if any(r["share"] >= BAR for r in rows): sys.exit("The identity costs more than 3 % of a sweep.")


if __name__ == "__main__": main()
