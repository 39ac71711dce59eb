"""How much faster the engine is than the loops it replaces, and whether it counts the same images.

    python benchmarks/filter_sweep.py                          # six networks, 512 images of 32×32, 8 layers, 9 thresholds
    python benchmarks/filter_sweep.py --quick                  # half a minute a network
    python benchmarks/filter_sweep.py --networks resnet18 --device cuda

Three ways to the same table of correct images, in one run, on the same images, weights and thresholds:

published   for each threshold: deep copy, forward, full backward, FGSM, forward
plain       for each threshold: deep copy, two forwards (clean images, adversarial images made once)
engine      `EditEngine`, with the fixed attack and with the attack made anew for each threshold

The loops take turns layer by layer, so that a slow moment of the machine hits all. Networks are torchvision's with random
weights; BatchNorm's statistics come from a few passes in training mode, and the labels are the unfiltered network's own
predictions, so that each image whose class a filter changes is counted.
"""
import argparse
import copy
import json
import statistics
import sys
import time
import warnings
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as zoo

from fragility_nb.activations import find_layers
from fragility_nb.data import load_data
from fragility_nb.engine import EditEngine, Edits
from fragility_nb.models import Normalized

NETWORKS = {"resnet18": zoo.resnet18, "resnet50": zoo.resnet50, "squeezenet1_1": zoo.squeezenet1_1,
            "shufflenet_v2_x1_0": zoo.shufflenet_v2_x1_0, "vgg11_bn": zoo.vgg11_bn, "densenet121": zoo.densenet121}
BARS = {"resnet18": (10, 3.5, 2.5), "resnet50": (10, 3.5, 2.5), "squeezenet1_1": (15, 4, 2.5),
        "shufflenet_v2_x1_0": (10, 2.5, 2.5), "vgg11_bn": (6, 2.5, 2), "densenet121": (10, 3, 2.5)}
RATIOS = ("published/fixed", "plain/fixed", "published/adaptive")
EPSILON = 2 / 255


class FGSM:
    "One step along the sign of the gradient, clipped to [0, 1]."

    def step(self, x, gradient): return (x + EPSILON * gradient.sign()).clamp(0, 1)

    def __call__(self, net, x, y):
        x = x.detach().requires_grad_()
        return self.step(x, torch.autograd.grad(F.cross_entropy(net(x), y), x)[0]).detach()


def load_images(path, n):
    "n images (n, 3, 32, 32) in [0, 1]: CIFAR-10 from an .npz file, otherwise the digits, enlarged."
    if path:
        with np.load(path) as z: x = torch.from_numpy(z["x_test"])
        x = x.permute(0, 3, 1, 2) if x.shape[-1] == 3 else x
    else: x = load_data("digits", "train", n=min(n, 1253), image_size=32).images.expand(-1, 3, -1, -1)
    return x[:n].float().div(255).contiguous()


def build(name, images, device):
    "A network with random weights and BatchNorm statistics of real images."
    torch.manual_seed(0)
    net = Normalized(NETWORKS[name](weights=None, num_classes=10), [0.5]*3, [0.25]*3).to(device)
    net.train()
    with torch.no_grad():
        for x in images[:400].split(100): net(x.to(device))
    return net.eval()


def published(net, path, weights, x, y, batch_size):
    "Per threshold: deep copy, forward, full backward, FGSM, forward. Correct images (thresholds, 2)."
    counts = []
    for w in weights:
        copied = copy.deepcopy(net)
        copied.get_parameter(path).data = w()
        clean = attacked = 0
        for bx, by in zip(x.split(batch_size), y.split(batch_size)):
            bx = bx.clone().requires_grad_()
            logits = copied(bx)
            clean += (logits.argmax(1) == by).sum().item()
            copied.zero_grad()
            F.cross_entropy(logits, by).backward()
            bad = (bx + EPSILON * bx.grad.sign()).clamp(0, 1).detach()
            attacked += (copied(bad).argmax(1) == by).sum().item()
        counts.append((clean, attacked))
    return np.array(counts)


def plain(net, path, weights, stresses, y, batch_size):
    "Per threshold: deep copy, one forward per stress. Correct images (thresholds, 2)."
    counts = []
    for w in weights:
        copied = copy.deepcopy(net)
        copied.get_parameter(path).data = w()
        with torch.inference_mode():
            counts.append([sum((copied(bx).argmax(1) == by).sum().item() for bx, by in zip(x.split(batch_size), y.split(batch_size)))
                           for x in stresses])
    return np.array(counts)


def engine(edit_engine, path, weights, images, y, **kwargs):
    "The same by the engine."
    edits = Edits((path,), len(weights), lambda i: {path: weights[i]()})
    return edit_engine.evaluate(edits, images, y, **kwargs).sum(-1)


def thresholds(layer, filter, n):
    "n functions that give the filtered weight of a layer."
    w = layer.weight
    low, high = w.min().item(), w.max().item()
    step = (high - low) / (n - 1)
    keep = {"high_pass": lambda a: w > a, "low_pass": lambda a: w < a, "pulse": lambda a: (w < a - step/2) | (w >= a + step/2)}[filter]
    alphas = np.linspace(low, high, n) if filter != "low_pass" else np.linspace(high, low, n)
    return [partial(lambda a: w * keep(a), float(a)) for a in alphas]


NOW = [time.perf_counter]


def clock(device, f):
    "Result and seconds."
    if device.type == "cuda": torch.cuda.synchronize()
    start = NOW[0]()
    result = f()
    if device.type == "cuda": torch.cuda.synchronize()
    return result, NOW[0]() - start


def chosen_layers(net, n):
    "n layers, evenly spread from the first to the last."
    layers = find_layers(net)
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, min(n, len(layers))).round().astype(int))]


def measure(name, images, device, args):
    "All layers of one network, all ways, once."
    net = build(name, images, device)
    x = images[:args.images].to(device)
    with torch.inference_mode(): y = torch.cat([net(b).argmax(1) for b in x.split(args.batch_size)])
    y = y.clone()
    attack = FGSM()
    bad = torch.cat([attack(net, bx, by) for bx, by in zip(x.split(args.batch_size), y.split(args.batch_size))])
    both = torch.stack([x, bad])
    edit_engine, startup = clock(device, lambda: EditEngine(net, device=device))
    _, first = clock(device, lambda: edit_engine.evaluate(Edits((), 1, lambda i: {}), both[:, :32], y[:32]))
    seconds, differ, judged, per_layer = dict.fromkeys(("published", "plain", "fixed", "adaptive"), 0.), [0, 0], 0, []
    for layer in chosen_layers(net, args.layers):
        path = f"{layer.path}.weight"
        weights = [w for f in args.filters for w in thresholds(layer, f, args.thresholds)]
        (want_fixed, b), (got_fixed, ef) = (clock(device, f) for f in (
            lambda: plain(net, path, weights, both, y, args.batch_size), lambda: engine(edit_engine, path, weights, both, y)))
        (want_new, a), (got_new, ea) = (clock(device, f) for f in (
            lambda: published(net, path, weights, x, y, args.batch_size),
            lambda: engine(edit_engine, path, weights, x[None], y, attack=attack))) if not args.fixed_only else ((0, 0.), (0, 0.))
        differ[0] += int(np.abs(want_fixed - got_fixed).sum()); differ[1] += int(np.abs(want_new - got_new).sum())
        judged += got_fixed.size * args.images
        for k, t in zip(seconds, (a, b, ef, ea)): seconds[k] += t
        per_layer.append(dict(layer=layer.name, published=a, plain=b, fixed=ef, adaptive=ea))
        if args.verbose: print("  ", layer.name, *(f"{k} {v:.3f}" for k, v in list(per_layer[-1].items())[1:]), flush=True)
    ratio = lambda k: seconds[k[0]] / seconds[k[1]] if seconds[k[1]] else 0.
    return dict(network=name, seconds=seconds, startup=startup + first, judged=judged, differ_fixed=differ[0], differ_adaptive=differ[1],
                ratios={r: ratio(r.split("/")) for r in RATIOS}, layers=per_layer)


def summary(runs):
    "Medians over the repeats of one network."
    median = lambda pick: statistics.median(pick(r) for r in runs)
    return dict(network=runs[0]["network"], ratios={k: median(lambda r, k=k: r["ratios"][k]) for k in RATIOS},
                seconds={k: median(lambda r, k=k: r["seconds"][k]) for k in runs[0]["seconds"]}, startup=median(lambda r: r["startup"]),
                judged=sum(r["judged"] for r in runs), differ_fixed=sum(r["differ_fixed"] for r in runs),
                differ_adaptive=sum(r["differ_adaptive"] for r in runs), bars=dict(zip(RATIOS, BARS[runs[0]["network"]])), runs=runs)


def table(rows):
    "The summaries as text; bars in brackets."
    lines = [f"{'network':20}" + "".join(f"{k:>26}" for k in RATIOS) + f"{'start-up s':>12}{'differing: fixed':>18}{'adaptive':>10}{'of':>9}"]
    for r in rows:
        ratios = "".join(f"{r['ratios'][k]:>17.1f} (≥ {r['bars'][k]:>4g})" for k in RATIOS)
        lines.append(f"{r['network']:20}{ratios}{r['startup']:>12.2f}{r['differ_fixed']:>18}{r['differ_adaptive']:>10}{r['judged']:>9}")
    return "\n".join(lines)


def arguments():
    "The command line."
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    p.add_argument("--device", default="cpu")
    p.add_argument("--data", help="an .npz file with `x_test` (N, 32, 32, 3) uint8; default: the built-in digits, enlarged")
    p.add_argument("--images", type=int, default=512)
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--thresholds", type=int, default=9)
    p.add_argument("--filters", nargs="+", choices=("high_pass", "low_pass", "pulse"), default=["high_pass"])
    p.add_argument("--batch-size", type=int, default=128, help="of the two loops")
    p.add_argument("--repeats", type=int, default=1)
    p.add_argument("--threads", type=int, help="default: torch's own choice")
    p.add_argument("--cpu-time", action="store_true", help="processor time instead of wall time: for a machine shared with others; with --threads 1")
    p.add_argument("--json", help="write the numbers to this file")
    p.add_argument("--quick", action="store_true", help="128 images, 4 layers, 3 thresholds")
    p.add_argument("--fixed-only", action="store_true", help="leave out the published procedure and the adaptive attack")
    p.add_argument("--verbose", action="store_true", help="print each layer")
    args = p.parse_args()
    if args.quick: args.images, args.layers, args.thresholds = 128, 4, 3
    return args


def main():
    args = arguments()
    if args.threads: torch.set_num_threads(args.threads)
    if args.cpu_time: NOW[0] = time.process_time
    device, images = torch.device(args.device), load_images(args.data, max(args.images, 400))
    args.images = min(args.images, len(images))
    warnings.simplefilter("error", UserWarning) # a network that is not traced would be no comparison
    rows = []
    for name in args.networks:
        runs = [measure(name, images, device, args) for _ in range(args.repeats)]
        rows.append(summary(runs))
        print(table(rows[-1:]), flush=True)
    facts = dict(device=str(device), threads=torch.get_num_threads(), clock="processor" if args.cpu_time else "wall", torch=torch.__version__, images=args.images, layers=args.layers,
                 thresholds=args.thresholds, filters=args.filters, batch_size=args.batch_size, networks=rows)
    if len(rows) > 1: print("\n" + table(rows))
    text = json.dumps(facts, indent=1)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f: f.write(text)
    else: print(text if args.verbose else json.dumps({r["network"]: r["ratios"] for r in rows}))
    most = max((r["differ_fixed"] + r["differ_adaptive"]) / max(2*r["judged"], 1) for r in rows)
    if most > 1e-4: sys.exit(f"The counts differ in {most:.2%} of the images: more than ties in the last bit explain.")


if __name__ == "__main__": main()
