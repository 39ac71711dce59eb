"""What this package does on a graphics card: tests, the other benchmarks, the whole analysis of a network, training.

    make gpu                                            # all of it; one table, and one JSON in runs/gpu.json
    python benchmarks/gpu.py --only analysis training   # the two that have bars
    python benchmarks/gpu.py --device cpu --quick       # the same code, small, without a card: says nothing of one

Without a card it says so and ends with exit status 2. No card was at hand yet: there are no figures in the docs.

tests         the tests that need a card (`pytest -k cuda`)
filter_sweep, corruptions, train_step   `filter_sweep.py`, `corruptions.py` and `training.py` of this folder
attacks       FGSM and PGD of ten steps on ResNet-18, images of 32 pixels
analysis      ResNet-18 at 32 pixels, its 21 layers and all together, 3 filters, 25 thresholds, 10,000 images: with the
              attack made once ("fixed"), and made anew on each copy ("adaptive"). Bars: 60 s and 240 s on an H100
training      20 epochs of ResNet-18 on CIFAR-10, or on as many random images of its size. Bar: 120 s

Peak is measured, not taken from a data sheet: the best of a product of large matrices and of a convolution, in float32
without TensorFloat-32, in TensorFloat-32 and in bfloat16. A share is the FLOP that a task needs at least, by its
seconds and by that peak. They are counted with PyTorch's FlopCounterMode: a layer that is filtered costs what is
computed from it to the logits, once for clean and once for attacked images; "adaptive" costs that once for the clean
images, again for the gradient, the gradient of what comes before, and a whole pass of the attacked images; a training
step costs three passes.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.activations import find_layers
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import no_autocast
from fragility_nb.stress.attacks import FGSM, PGD, attack_images

HERE = Path(__file__).resolve().parent
BARS = {"analysis, fixed": 60, "analysis, adaptive": 240, "training": 120} # seconds on an H100 or H200
EPSILON = 2/255
SIZES = dict(network="resnet18", images=10_000, thresholds=25, layers=None, train=50_000, epochs=20,
             matrix=8192, batch=512)
SMALL = dict(network="cnn3", images=16, thresholds=2, layers=2, train=16, epochs=1, matrix=64, batch=8)


def wait(device):
    "For what a card still computes."
    if torch.device(device).type == "cuda": torch.cuda.synchronize(device)


def seconds(device, f, repeats=1):
    "The shortest of several calls; with more than one, the first does not count."
    took = []
    for _ in range(repeats + (repeats > 1)):
        wait(device)
        start = time.perf_counter()
        f()
        wait(device)
        took.append(time.perf_counter() - start)
    return min(took[repeats > 1:])


def card(device):
    "What the machine is: the card, its driver, and what PyTorch was built with."
    facts = dict(device=str(device), torch=torch.__version__, cuda=torch.version.cuda)
    if torch.device(device).type != "cuda": return facts | dict(card="none: these figures are of the processor")
    p = torch.cuda.get_device_properties(device)
    asked = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True,
                           text=True, check=True)
    return facts | dict(card=p.name, driver=asked.stdout.split()[0], memory_gib=round(p.total_memory/2**30, 1),
                        capability=f"{p.major}.{p.minor}", cudnn=torch.backends.cudnn.version())


def product(n, device, dtype):
    "FLOP/s of a product of square matrices."
    a, b = (torch.randn(n, n).to(device, dtype) for _ in range(2))
    return 2*n**3 / seconds(device, lambda: a @ b, 5)


def convolution(batch, device, dtype):
    "FLOP/s of a 3×3 convolution of 256 channels, channels last."
    x = torch.randn(batch, 256, 16, 16).to(device, dtype).contiguous(memory_format=torch.channels_last)
    w = torch.randn(256, 256, 3, 3).to(device, dtype).contiguous(memory_format=torch.channels_last)
    return 2*batch*16*16*256*256*9 / seconds(device, lambda: F.conv2d(x, w, padding=1), 5)


def peak(device, sizes):
    "The best FLOP/s of product and convolution, for each kind of number."
    best = lambda dtype: max(product(sizes["matrix"], device, dtype), convolution(sizes["batch"], device, dtype))
    with no_autocast(torch.device(device)): out = dict(float32=best(torch.float32))
    if torch.device(device).type != "cuda": return out
    old = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try: out["tensorfloat32"] = best(torch.float32)
    finally: torch.set_float32_matmul_precision(old)
    return out | dict(bfloat16=best(torch.bfloat16))


def network(sizes): return create_model(sizes["network"], 10, 3, 32, 0.5, 0.25, stem="cifar")


def images(n, split="test"):
    "CIFAR-10 where it is, else random images of its size; labels as they are, or in turns."
    try: return load_data("cifar10", split, n=n)
    except (OSError, ValueError): pass
    x = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData(x, torch.arange(n) % 10, tuple("0123456789"), "random")


def layer_flop(model):
    "FLOP of one image in each layer, in the layers' order."
    with FlopCounterMode(display=False, depth=99) as counter, torch.no_grad(): model(torch.rand(1, 3, 32, 32))
    counts = counter.get_flop_counts()
    return [sum(counts[f"{type(model).__name__}.{x.path}"].values()) for x in find_layers(model)]


def analysis_flop(flop, layers, copies, n, adaptive):
    "FLOP that the filtered copies need at least: each layer by itself, and all together."
    total, whole = 0, sum(flop)
    for first in [*layers, 0]:
        after = sum(flop[first:])
        total += after + (after + (whole - after) + whole if adaptive else after)
    return total * copies * n


def analysis(device, sizes):
    "The whole local and global analysis of a network, by both ways to attack: seconds and FLOP."
    model, data, out = network(sizes), images(sizes["images"]), {}
    flop, every = layer_flop(model), find_layers(model)
    layers = list(range(len(every))) if sizes["layers"] is None else [0, len(every) - 1][:sizes["layers"]]
    for mode in ("fixed", "adaptive"):
        run = lambda mode=mode: filter_sweep(model, data, scope="both", layers=[every[i].name for i in layers],
                                             thresholds=sizes["thresholds"], attack=FGSM(EPSILON), attack_mode=mode,
                                             device=device, progress=False)
        needed = analysis_flop(flop, layers, 3*sizes["thresholds"], len(data), mode == "adaptive")
        out[f"analysis, {mode}"] = dict(seconds=seconds(device, run), flop=needed)
    return out


def attacks(device, sizes):
    "Images per second under attack."
    model, data = network(sizes), images(sizes["images"])
    whole, out = sum(layer_flop(model)), {}
    for attack, passes in ((FGSM(EPSILON), 2), (PGD(EPSILON, steps=10), 20)):
        took = seconds(device, lambda attack=attack: attack_images(model, data, attack, device=device,
                                                                   batch_size=sizes["batch"]))
        name = f"attacks, {type(attack).__name__}"
        out[name] = dict(seconds=took, flop=passes*whole*len(data), images_per_second=len(data)/took)
    return out


def training(device, sizes):
    "A whole training, with PyTorch's automatic mixed precision."
    model, data = network(sizes), images(sizes["train"], "train")
    how = dict(epochs=sizes["epochs"], batch_size=sizes["batch"], amp=True, device=device, progress=False)
    flop = 3 * sum(layer_flop(model)) * len(data) * sizes["epochs"]
    return {"training": dict(seconds=seconds(device, lambda: fit(model, data, **how)), flop=flop, number="bfloat16")}


def beside(script, given, option):
    "Another benchmark of this folder: its seconds, and the JSON that it writes."
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder)/"figures.json"
        start = time.perf_counter()
        done = subprocess.run([sys.executable, HERE/script, *given, option, file], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
        row = dict(seconds=time.perf_counter() - start)
        if file.is_file(): row["figures"] = json.loads(file.read_text())
        return row if done.returncode == 0 else row | dict(failed=done.stderr.strip().splitlines()[-1:])


def cuda_tests(device):
    "The tests that need a card."
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-k", "cuda", HERE.parent/"tests"], text=True,
                          capture_output=True)
    line = (done.stdout.strip().splitlines() or ["no answer"])[-1]
    row = dict(seconds=time.perf_counter() - start, told=line)
    return {"tests": row if done.returncode == 0 else row | dict(failed=[line])}


def others(device, quick):
    "The benchmarks that have programs of their own."
    on, few = ["--device", str(device)], ["--quick"]*quick
    return {"filter_sweep": lambda: {"filter_sweep": beside("filter_sweep.py", [*on, *few], "--json")},
            "corruptions": lambda: {"corruptions": beside("corruptions.py", [*on, "--quick"], "--out")},
            "train_step": lambda: {"train_step": beside("training.py", [*on, *few], "--out")}}


def tasks(device, quick):
    "Name -> what gives its rows."
    sizes = SMALL if quick else SIZES
    own = {f.__name__: (lambda f=f: f(device, sizes)) for f in (attacks, analysis, training)}
    return {"tests": lambda: cuda_tests(device)} | others(device, quick) | own


def completed(row, name, best):
    "A row with its bar, FLOP/s and share of the peak."
    if name in BARS: row = row | dict(bar=BARS[name])
    if "flop" not in row: return row
    number = row.get("number", "float32") if row.get("number") in best else "float32"
    return row | dict(number=number, flop_per_s=row["flop"]/row["seconds"],
                      share=row["flop"]/row["seconds"]/best[number])


def table(result):
    "The figures as text."
    f, best = result["machine"], result["peak"]
    lines = [", ".join(f"{k} {v}" for k, v in f.items() if v is not None),
             "measured peak: " + ", ".join(f"{k} {v/1e12:.3g} TFLOP/s" for k, v in best.items()), "",
             f"{'':24}{'seconds':>10}{'bar':>8}{'TFLOP/s':>10}{'of peak':>9}  of what"]
    for name, r in result["rows"].items():
        done = f"{r['flop_per_s']/1e12:10.3g}{r['share']:9.1%}  {r['number']}" if "flop" in r else f"{'':21}"
        bar = f"{r['bar']:g}" if "bar" in r else ""
        said = " ".join(["FAILED:", *r["failed"]]) if "failed" in r else r.get("told", "")
        lines.append(f"{name:24}{r['seconds']:10.2f}{bar:>8}{done} {said}".rstrip())
    return "\n".join(lines)


def run(device, quick=False, only=None):
    "All of it, or some: what the JSON holds."
    what = tasks(device, quick)
    best, rows = peak(device, SMALL if quick else SIZES), {}
    for name in only or [k for k in what if k != "tests" or torch.device(device).type == "cuda"]:
        for title, row in what[name]().items(): rows[title] = completed(row, title, best)
    return dict(machine=card(device), quick=quick, peak=best, rows=rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--device", default="cuda")
    p.add_argument("--quick", action="store_true", help="little of everything: whether it runs, not how fast")
    p.add_argument("--only", nargs="+", choices=list(tasks("cpu", True)), help="default: all")
    p.add_argument("--json", type=Path, help="write the figures to this file")
    args = p.parse_args()
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        print("PyTorch finds no CUDA card on this machine, so nothing was measured. With a card: a driver that "
              "`nvidia-smi` can ask, and a PyTorch built for CUDA.", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore", UserWarning) # random weights are no better than a guess
    result = run(args.device, args.quick, args.only)
    print(table(result))
    text = json.dumps(result, indent=1)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")
    else: print(text)
    return int(any("failed" in row for row in result["rows"].values()))


if __name__ == "__main__": sys.exit(main())
