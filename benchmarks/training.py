"""Training throughput against a bare PyTorch loop, and the time to load data.

    python benchmarks/training.py [--quick] [--data FOLDER] [--threads 1] [--device cpu]

ResNet-18 (imagenet stem, as in AIJ) at 32 pixels, batch 100, Adam: `fit` and the bare loop take turns in one process,
epoch by epoch; the figure is the ratio of their images per second (median over the turns). With `--data` (or
$FRAGILITY_DATA) also: MNIST to a tensor, Tiny ImageNet from its files and from its cache.
"""
import argparse
import json
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F

from fragility_nb.data.images import ImageData
from fragility_nb.data.folders import data_root
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.augment import epoch_order
from fragility_nb.models.training import fit


def bare(model, images, labels, optimizer, epoch, batch, device):
    "The loop that everyone writes: uint8 images in memory, one epoch."
    model.train()
    loss_sum, right = 0., 0
    for rows in epoch_order(len(images), 0, epoch).split(batch):
        x, y = images[rows].to(device).float() / 255, labels[rows].to(device)
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(rows)
        right += (logits.argmax(1) == y).sum().item()
    return loss_sum / len(images), right / len(images)


def timed(f, clock, device):
    if device.type == "cuda": torch.cuda.synchronize()
    start = clock()
    f()
    if device.type == "cuda": torch.cuda.synchronize()
    return clock() - start


def throughput(turns, steps, batch, device):
    "Images per second of both, and their ratio."
    n = steps * batch
    data = ImageData(torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8), torch.arange(n) % 10,
                     tuple("0123456789"))
    build = lambda: create_model("resnet18", 10, 3, 32).to(device)
    theirs, ours = build(), build()
    optimizer = torch.optim.Adam(theirs.parameters(), 1e-3)
    clock = time.perf_counter if device.type == "cuda" else time.process_time # a CPU that others use, too
    times = {"bare loop": [], "fit": []}
    for turn in range(turns + 1): # the first warms up
        step = lambda turn=turn: bare(theirs, data.images, data.labels, optimizer, turn + 1, batch, device)
        a = timed(step, clock, device)
        b = timed(lambda: fit(ours, data, epochs=1, batch_size=batch, device=device, progress=False), clock, device)
        if turn:
            times["bare loop"].append(a)
            times["fit"].append(b)
    rates = {k: n / statistics.median(v) for k, v in times.items()}
    return rates | dict(ratio=statistics.median(a / b for a, b in zip(*times.values())), images=n, turns=turns)


def loading(root):
    "Seconds to a tensor."
    wall = lambda f: round(timed(f, time.perf_counter, torch.device("cpu")), 3)
    out = {"MNIST, 60,000 images": wall(lambda: load_data("mnist", "train", root))}
    if not (root / "tiny-imagenet-200").is_dir(): return out
    import os
    with tempfile.TemporaryDirectory() as cache, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["FRAGILITY_CACHE"] = cache
        for when in ("first time", "from the cache"):
            out[f"Tiny ImageNet, train + test + val, {when}"] = wall(lambda: [load_data("tiny_imagenet", s, root,
                progress=False) for s in ("train", "test", "val")])
    return out


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--quick", action="store_true")
    args.add_argument("--data", type=Path, default=None)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--device", default="cpu")
    args.add_argument("--out", type=Path, default=None)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    device, root = torch.device(args.device), data_root(args.data)
    result = dict(device=str(device), threads=args.threads,
                  throughput=throughput(*((3, 6) if args.quick else (7, 30)) if device.type == "cpu" else (5, 200),
                                        100, device))
    if (root / "MNIST").is_dir(): result["loading"] = loading(root)
    t = result["throughput"]
    print(f"{'':12}{'images/s':>10}\n" + "".join(f"{k:12}{t[k]:10.1f}\n" for k in ("bare loop", "fit"))
          + f"{'ratio':12}{t['ratio']:10.3f}  (at least 0.95)")
    for what, seconds in result.get("loading", {}).items(): print(f"{what:50}{seconds:8.2f} s")
    text = json.dumps(result, indent=1)
    if args.out: args.out.write_text(text)
    print(text)
