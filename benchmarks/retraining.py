"""What the scoring of a selective training costs, as a share of its training time.

    python benchmarks/retraining.py [--quick] [--data FOLDER] [--threads 1] [--device cpu]

MNIST, ResNet-18 (7×7 stem, as in AIJ), `selective_fit` as it is when no option is given: a period of 10 epochs, 25
thresholds, 500 held-out images, batch 100. An epoch over a part of the training images and one whole scoring take turns
in one process (CPU time where others use the machine, too); the epoch's time is scaled up to the 59,500 images that are
trained on. The scoring is timed on a network that has learned, attack included. Bar: at most 25 %.
Without MNIST in `--data` (or $FRAGILITY_DATA) the built-in digits stand in, enlarged to 28 pixels and repeated.
"""
import argparse
import inspect
import json
import statistics
import time
import warnings
from pathlib import Path

import torch

from fragility_nb.data.images import ImageData
from fragility_nb.data.folders import data_root
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.probes.retraining.probe import split_holdout, score_layers, selective_fit
from fragility_nb.models.training import fit

BAR = 0.25


def images(root, n):
    "n training images of 28 pixels and their name."
    if (root / "MNIST").is_dir(): return load_data("mnist", "train", root, n=n), "MNIST"
    few = load_data("digits", "train", image_size=28)
    rows = torch.arange(n) % len(few)
    return ImageData(few.images[rows], few.labels[rows], few.classes), "digits, enlarged"


def defaults():
    "What `selective_fit` does when nothing is said."
    p = inspect.signature(selective_fit).parameters
    return dict(every=p["every"].default, thresholds=p["thresholds"].default,
                held_out=inspect.signature(split_holdout).parameters["n"].default)


def timed(f, device):
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda": torch.cuda.synchronize()
    start = clock()
    f()
    if device.type == "cuda": torch.cuda.synchronize()
    return clock() - start


def measure(root, device, quick):
    "Seconds of an epoch and of a scoring, and their share over a period."
    how, n = defaults(), 1500 if quick else 6000
    train, name = images(root, n + how["held_out"])
    rest, held = split_holdout(train, how["held_out"])
    build = lambda: create_model("resnet18", 10, 1, 28, 0.1307, 0.3081)
    model, epochs, scorings = build(), [], []
    fit(model, rest, epochs=2, batch_size=50, device=device, progress=False) # scored as one that has learned, and warm
    thresholds = 5 if quick else how["thresholds"]
    for _ in range(1 if quick else 2):
        epochs.append(timed(lambda: fit(build(), rest, epochs=1, device=device, progress=False), device))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scorings.append(timed(lambda: score_layers(model, held, thresholds=thresholds, device=device,
                                                       progress=False), device))
    whole = 60_000 - how["held_out"]
    epoch = statistics.median(epochs) * whole / n
    scoring = statistics.median(scorings) * how["thresholds"] / thresholds # at most: the search for ε is scaled, too
    return dict(data=name, **how, images_per_second=n / statistics.median(epochs), epoch_s=epoch, scoring_s=scoring,
                share=scoring / (how["every"] * epoch), share_if_every_epoch=scoring / epoch)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--quick", action="store_true")
    args.add_argument("--data", type=Path, default=None)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--device", default="cpu")
    args.add_argument("--out", type=Path, default=None)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    result = dict(device=args.device, threads=args.threads,
                  **measure(data_root(args.data), torch.device(args.device), args.quick))
    for what, value, unit in (("training", result["epoch_s"], "s an epoch of 59,500 images"),
                              ("scoring", result["scoring_s"],
                               f"s, {result['thresholds']} thresholds, {result['held_out']} images"),
                              ("share", 100*result["share"],
                               f"% of a period of {result['every']} epochs  (at most {100*BAR:g})"),
                              ("with every=1", 100*result["share_if_every_epoch"], "%")):
        print(f"{what:14}{value:9.1f} {unit}")
    text = json.dumps(result, indent=1)
    if args.out: args.out.write_text(text)
    print(text)
