"""What coverage costs, and what searching images side by side saves.

    python benchmarks/coverage.py            # a minute or two
    python benchmarks/coverage.py --quick    # fewer images and repeats

1. One pass that counts coverage against a plain forward pass of torchvision's ResNet-18 (224-pixel images, and
   32-pixel ones with the CIFAR stem): NC at four thresholds, and all criteria together (NC in both readings, KMNC with
   1000 sections, NBC, SNAC, TKNC, TKNP). The passes take turns; the ratio is that of the smallest times. CPU time, one
   thread by default.
2. Memory of all criteria after 256 images and after 1024: what is kept may not grow with the number of images (TKNP
   apart, which keeps eight bytes for each different pattern).
3. Differential testing of LeNet-1, -4 and -5 with random weights: seeds per second of `generate_differential` against a
   plain loop over single images with the same objective, the same constraint and the same number of steps.

Bars: 1.3 and 2.5 for the first, 10 for the third.
"""
import argparse
import json
import resource
import sys
import time

import torch
from torchvision.models import resnet18

from fragility_nb.probes.coverage.criteria import KMNC, NBC, NC, NEVER, SNAC, TKNC, TKNP
from fragility_nb.probes.coverage.probe import Coverage, activation_profile
from fragility_nb.data.images import ImageData
from fragility_nb.probes.coverage.constraints import Light
from fragility_nb.probes.coverage.differential import generate_differential
from fragility_nb.models.wrap import Normalized, hooked
from fragility_nb.models.create import create_model

BARS = {"NC at 4 thresholds": 1.3, "all criteria": 2.5, "side by side": 10}
FOUR = [NC(t) for t in (0, 0.25, 0.5, 0.75)]
ALL = [*FOUR, *(NC(t, "mean-first") for t in (0, 0.25, 0.5, 0.75)), KMNC(1000), NBC(), SNAC(), TKNC(3), TKNP(3)]


def network(size):
    "A ResNet-18 with random weights for images of this size."
    torch.manual_seed(0)
    net = resnet18(num_classes=10)
    if size < 100: net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False), torch.nn.Identity()
    return Normalized(net, [0.5]*3, [0.25]*3).eval()


def smallest(functions, repeats, clock):
    "The smallest time of each function; they take turns."
    best = dict.fromkeys(functions, float("inf"))
    for r in range(repeats + 1):
        for name, f in functions.items():
            start = clock()
            f()
            if r: best[name] = min(best[name], clock() - start)
    return best


def passes(size, n, repeats, clock):
    "Ratios of a counting pass to a plain one."
    model, x = network(size), torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))
    data = ImageData(x, torch.zeros(n, dtype=torch.long), tuple("0123456789"))
    profile = activation_profile(model, data, device="cpu", progress=False)
    runs = {"NC at 4 thresholds": Coverage(model, FOUR).prepare(x[:1]),
            "all criteria": Coverage(model, ALL, profile=profile).prepare(x[:1])}

    def plain():
        with torch.inference_mode(): model(x)

    def count(run):
        run.reset()
        run.update(x)

    def later(run): # units that are covered already are not looked at again: the cost of all batches but the first
        run.update(x)

    functions = {"plain": plain} | {f"{k}, first batch": (lambda r=r: count(r)) for k, r in runs.items()}
    functions |= {k: (lambda r=r: later(r)) for k, r in runs.items()}
    best = smallest(functions, repeats, clock)
    return {k: v / best["plain"] for k, v in best.items() if k != "plain"}


def memory():
    "Bytes kept by the criteria after 256 and after 1024 images."
    model = network(32)
    batches = [torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    data = ImageData(batches[0], torch.zeros(64, dtype=torch.long), tuple("0123456789"))
    profile = activation_profile(model, data, device="cpu", progress=False)
    run = Coverage(model, ALL, profile=profile).prepare(batches[0][:1])
    kept = lambda: sum(c.first.numel() * c.first.element_size() for c in run.criteria if hasattr(c, "first"))
    out = {}
    for n in (256, 1024):
        while run.n < n: run.update(batches[run.n // 64 % 4])
        out[f"after {n} images"] = dict(criteria=kept(),
                                        peak_MiB=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    return out


def uncovered_unit(cover, layers, generator):
    "A layer and the number of one of its units that nothing covered yet."
    first = cover.criteria[0].first[:, 0]
    left = (first == NEVER).nonzero()[:, 0]
    left = left if len(left) else torch.arange(len(first))
    unit = int(left[torch.randint(len(left), (), generator=generator)])
    for layer in layers:
        size = layer.weight.shape[0]
        if unit < size: return layer, unit
        unit -= size


def climb(models, x, answer, chosen, step, steps, weight_units):
    "One image, changed by one amount of light until the models disagree; None if they never do."
    change, now = torch.zeros_like(x), x.clone()
    for _ in range(steps):
        now, seen = now.detach().requires_grad_(), {}
        with hooked({str(k): layer for k, (layer, _) in enumerate(chosen)},
                    after=lambda k, m, a, y, seen=seen: seen.__setitem__(k, y)):
            value = sum((-1 if k == 0 else 1) * m(now)[0, answer] for k, m in enumerate(models))
        for k, (_, unit) in enumerate(chosen): value = value + weight_units * seen[str(k)][0, unit].mean()
        g = torch.autograd.grad(value, now)[0]
        g = g / (g.square().mean().sqrt() + 1e-5)
        change = (change + step * g.mean()).clamp(-1, 1)
        now = (x + change).clamp(0, 1)
        with torch.no_grad(): after = {int(m(now).argmax()) for m in models}
        if len(after) > 1: return now.detach()
    return None


def one_by_one(models, seeds, step, steps, weight_units, generator):
    """DeepXplore's loop: one image at a time, the gradient of one pass, the answers of another.

    Coverage is counted after each finding.
    """
    layers = [[m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))] for model in models]
    covers = [Coverage(m, NC(0.)).prepare(seeds[:1]) for m in models]
    for x in seeds.split(1):
        with torch.no_grad(): answers = {int(m(x).argmax()) for m in models}
        if len(answers) > 1: continue
        chosen = [uncovered_unit(cover, mine, generator) for cover, mine in zip(covers, layers)]
        found = climb(models, x, answers.pop(), chosen, step, steps, weight_units)
        if found is not None:
            for cover in covers: cover.update(found)


def searches(n, repeats, clock):
    "Seconds per seed of the loop over those of the batches."
    models = [create_model(k, image_size=28) for k in ("lenet1", "lenet4", "lenet5")]
    for m in models: # the same class for all at the start, so that both search: the last bias decides
        for p in m.parameters(): p.requires_grad_(False)
        m.network.linear.bias[3] += 1.
    x = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    data = ImageData(x, torch.zeros(n, dtype=torch.long), tuple("0123456789"))
    few = x[:max(8, n // 16)]
    loop = lambda: one_by_one(models, few, 10/255, 20, 0.1, torch.Generator().manual_seed(0))
    batch = lambda: generate_differential(models, data, constraint=Light(), step=10/255, target=0, device="cpu",
                                          progress=False, batch_size=n, round_size=n)
    best = smallest({"loop": loop, "batch": batch}, repeats, clock)
    return {"loop_ms_per_seed": 1000*best["loop"]/len(few), "batch_ms_per_seed": 1000*best["batch"]/n,
            "side by side": best["loop"]/len(few) / (best["batch"]/n)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer images and repeats")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--wall", action="store_true", help="wall time instead of CPU time")
    parser.add_argument("--json", help="also write the figures here")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock, repeats = time.perf_counter if args.wall else time.process_time, 1 if args.quick else 3
    result = {"resnet18, 224 pixels": passes(224, 32, repeats, clock),
              "resnet18, 32 pixels": passes(32, 64 if args.quick else 128, repeats, clock),
              "memory": memory(), "differential": searches(64 if args.quick else 256, 1 if args.quick else 2, clock)}
    for title in list(result)[:2]:
        for k, v in result[title].items():
            print(f"{title:24}{k:34}{v:6.2f} × a plain pass   (bar {BARS[k.removesuffix(', first batch')]})")
    for k, v in result["memory"].items():
        print(f"{'memory':24}{k:34}{v['criteria']/2**20:6.1f} MiB of criteria, peak {v['peak_MiB']} MiB")
    d = result["differential"]
    print(f"{'differential':24}{'one by one / side by side':34}{d['side by side']:6.1f} ×   (bar "
          f"{BARS['side by side']}; "
          f"{d['loop_ms_per_seed']:.1f} and {d['batch_ms_per_seed']:.2f} ms a seed)")
    if args.json:
        with open(args.json, "w") as f: json.dump(result, f, indent=1)
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__": main()
