"""How much faster the engine is than the loops it replaces, and whether it judges every image alike.

    python benchmarks/filter_sweep.py --quick   # SqueezeNet only, a few layers: half a minute
    python benchmarks/filter_sweep.py           # eight networks, 256 images of 32×32, 8 layers, 9 thresholds
    python benchmarks/filter_sweep.py --full    # 512 images, loops at all 9 thresholds, three rounds: hours on 2 cores
    python benchmarks/filter_sweep.py --networks resnet18 --device cuda

Three ways to the same answers, in one run, on the same images, weights and thresholds:

published   for each threshold: deep copy, forward, full backward, FGSM, forward
plain       for each threshold: deep copy, two forwards (clean images, adversarial images made once)
engine      `EditEngine`, with the fixed attack and with the attack made anew for each threshold

The ways take turns layer by layer, so that a slow moment of the machine hits all. A loop does the same work for every
threshold, so it runs at some of them (`--loop-thresholds`, others in each round) and its time is scaled up; the
engine runs all of them, because what it shares among them is the point. Ratios are medians over the rounds. Every
image that the loops judged is compared: how many differ, and how many of these are ties (the two largest logits equal
to 1 part in 100,000). Networks are torchvision's and timm's with random weights; BatchNorm's statistics come from a few
passes in training mode, and the labels are the unfiltered network's own predictions, so that each image whose class a
filter changes is counted.

Beside each of the engine's ratios stands in brackets the bar, then the largest ratio that products alone allow: the
multiplications that no way can leave out (taps that meet a pixel; for a fixed attack what lies after the cut, for each
threshold; for an adaptive one that, the gradient at the images and a second pass), at the highest rate that the
processor showed, the best of a product and a convolution. The engine's share of that rate is its ratio over this one.
Products of attention are not counted, so there the true limit is lower.
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

from fragility_nb.models.activations import find_layers
from fragility_nb.data.sets import load_data
from fragility_nb.engine.engine import EditEngine
from fragility_nb.engine.job import Edits
from fragility_nb.engine.network import Cut
from fragility_nb.engine.steps import layer_call
from fragility_nb.engine.tuning import processor_name
from fragility_nb.engine.ways import needed_products, onednn_linear
from fragility_nb.models.wrap import Normalized

def from_timm(name, options, weights=None, num_classes=10):
    "A network of timm."
    import timm
    return timm.create_model(name, num_classes=num_classes, **options)


NETWORKS = {"resnet18": zoo.resnet18, "resnet50": zoo.resnet50, "squeezenet1_1": zoo.squeezenet1_1,
            "shufflenet_v2_x1_0": zoo.shufflenet_v2_x1_0, "vgg11_bn": zoo.vgg11_bn, "densenet121": zoo.densenet121}
TOKENS = {"vit_tiny": ("vit_tiny_patch16_224", dict(img_size=32, patch_size=4)), # timm's, for images of 32×32
          "convnext_tiny": ("convnext_tiny", dict(patch_size=2))}
NETWORKS |= {name: partial(from_timm, *how) for name, how in TOKENS.items()}
BARS = {"resnet18": (15, 3.5, 3.5), "resnet50": (10, 3.5, 3), "squeezenet1_1": (18, 4, 3),
        "shufflenet_v2_x1_0": (12, 2.5, 3.5), "vgg11_bn": (8, 2.5, 3), "densenet121": (12, 3, 3),
        "vit_tiny": (5, 2, 2), "convnext_tiny": (5, 2, 2)} # published/fixed, plain/fixed, published/adaptive
RATIOS = ("published/fixed", "plain/fixed", "published/adaptive", "fixed/bfloat16")
WAYS = ("published", "plain", "fixed", "adaptive", "bfloat16")
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


def published(copied, x, bad, y):
    "Forward, full backward, FGSM, forward."
    x = x.clone().requires_grad_()
    logits = copied(x)
    copied.zero_grad()
    F.cross_entropy(logits, y).backward()
    return logits.detach(), copied((x + EPSILON * x.grad.sign()).clamp(0, 1).detach()).detach()


def plain(copied, x, bad, y):
    "Two forwards."
    with torch.inference_mode(): return copied(x), copied(bad)


def loop(passes, net, path, weights, batches):
    "A deep copy per threshold. Logits (thresholds, 2, N, K)."
    answers = []
    for w in weights:
        copied = copy.deepcopy(net)
        copied.get_parameter(path).data = w()
        answers.append(torch.cat([torch.stack(passes(copied, *b)) for b in batches], 1))
    return torch.stack(answers)


def engine(edit_engine, path, weights, images, y, **kwargs):
    "Right or wrong (thresholds, 2, N) by the engine."
    edits = Edits((path,), len(weights), lambda i: {path: weights[i]()})
    return edit_engine.evaluate(edits, images, y, **kwargs)


def compare(logits, y, got):
    "How many images are judged unlike the loop, how many of them are ties, of how many."
    top = logits.topk(2, -1).values
    tie = (top[..., 0] - top[..., 1] <= 1e-5 * logits.abs().amax(-1)).cpu().numpy()
    differ = (logits.argmax(-1) == y).cpu().numpy() != got
    return np.array([differ.sum(), (differ & tie).sum(), differ.size])


def thresholds(layer, filter, n):
    "n functions that give the filtered weight of a layer."
    w = layer.weight
    low, high = w.min().item(), w.max().item()
    step = (high - low) / (n - 1)
    keep = {"high_pass": lambda a: w > a, "low_pass": lambda a: w < a,
            "pulse": lambda a: (w < a - step/2) | (w >= a + step/2)}[filter]
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


def measured_peak(device):
    "Multiplications per second, the best of a matrix product and a convolution."
    n, c = (1024, 128) if device.type == "cpu" else (8192, 512)
    a, b = (torch.randn(n, n, device=device) for _ in range(2))
    x = torch.randn(16, c, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    w = torch.randn(c, c, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    ways = [(n**3, lambda: F.linear(a, b)), (16 * (c*(3*32 - 2))**2, lambda: F.conv2d(x, w, padding=1))]
    if device.type == "cpu": ways.append((n**3, lambda: onednn_linear(a, b, None)))
    with torch.inference_mode(): return max(done / clock(device, f)[1] for _ in range(4) for done, f in ways)


def needed(edit_engine, path):
    "Multiplications per image that no way can leave out: before the cut at a layer, and after it."
    network = edit_engine.network
    layers = {s.name: layer_call(network.calls[s.name]) for s in network.steps}
    counts = {name: needed_products(call.layer) if call else 0 for name, call in layers.items()}
    after = sum(counts[s.name] for s in Cut(network, frozenset({path})).after)
    return sum(counts.values()) - after, after


def chosen_layers(net, n):
    "n layers, evenly spread from the first to the last."
    layers = find_layers(net)
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, min(n, len(layers))).round().astype(int))]


def subject(name, images, device, args):
    "Network, clean and attacked images (2, N, C, H, W), and the network's own answers as labels (N,)."
    net = build(name, images, device)
    x = images[:args.images].to(device)
    with torch.inference_mode(): y = torch.cat([net(b).argmax(1) for b in x.split(args.batch_size)])
    y, attack = y.clone(), FGSM()
    bad = torch.cat([attack(net, bx, by) for bx, by in zip(x.split(args.batch_size), y.split(args.batch_size))])
    return net, torch.stack([x, bad]), y


def warm(make, both, y):
    "An engine that has measured the network."
    made = make()
    made.evaluate(Edits((), 1, lambda i: {}), both[:, :32], y[:32])
    return made


def one_layer(layer, net, both, y, engines, device, args, turn):
    "One layer all ways: seconds of each, images compared by the two ways to attack, the distance of bfloat16."
    path, (x, bad) = f"{layer.path}.weight", both
    weights = [w for f in args.filters for w in thresholds(layer, f, args.thresholds)]
    some = (np.linspace(0, len(weights), min(args.loop_thresholds, len(weights)), endpoint=False).astype(int)
            + len(weights)//2 + turn) % len(weights)
    batches = list(zip(*(t.split(args.batch_size) for t in (x, bad, y))))
    looped = lambda passes: loop(passes, net, path, [weights[i] for i in some], batches)
    took, compared, off, scale = dict.fromkeys(WAYS, 0.), {}, 0., len(weights) / len(some)
    want, plainly = clock(device, lambda: looped(plain))
    got, took["fixed"] = clock(device, lambda: engine(engines["exact"], path, weights, both, y))
    took["plain"], compared["fixed"] = plainly * scale, compare(want, y, got[some])
    if not args.fixed_only:
        want, as_published = clock(device, lambda: looped(published))
        new, took["adaptive"] = clock(device, lambda: engine(engines["exact"], path, weights, x[None], y,
                                                             attack=FGSM()))
        took["published"], compared["adaptive"] = as_published * scale, compare(want, y, new[some])
    before, after = needed(engines["exact"], path)
    for k, each in dict(fixed=2*after, adaptive=2*after + before + after + before).items():
        took[f"needed_{k}"] = len(y) * (len(weights)*each + (before if k == "adaptive" else 0))
    if "rough" in engines:
        low, took["bfloat16"] = clock(device, lambda: engine(engines["rough"], path, weights, both, y))
        off = float(abs(low.mean(-1) - got.mean(-1)).max()) # the unfiltered accuracy is 1 on clean images
    return took, compared, off


def measure(name, images, device, args, turn):
    "All layers of one network, all ways, once."
    net, both, y = subject(name, images, device, args)
    exact, startup = clock(device, lambda: warm(lambda: EditEngine(net, device=device), both, y))
    engines = dict(exact=exact)
    if args.bfloat16: engines["rough"] = warm(lambda: EditEngine(net, device=device, precision="bfloat16"), both, y)
    peak, work = measured_peak(device), dict.fromkeys(("needed_fixed", "needed_adaptive"), 0.)
    seconds, off, per_layer = dict.fromkeys(WAYS, 0.), 0., []
    compared = dict(fixed=np.zeros(3, int), adaptive=np.zeros(3, int))
    for layer in chosen_layers(net, args.layers):
        took, alike, distance = one_layer(layer, net, both, y, engines, device, args, turn)
        off = max(off, distance)
        for k in WAYS: seconds[k] += took[k]
        for k in work: work[k] += took[k]
        for k in alike: compared[k] += alike[k]
        per_layer.append(dict(layer=layer.name) | took)
        if args.verbose: print("  ", layer.name, *(f"{k} {v:.3f}" for k, v in took.items()), flush=True)
    ratios = {r: seconds[a] / seconds[b] if seconds[b] else 0. for r, (a, b) in ((r, r.split("/")) for r in RATIOS)}
    peak = max(peak, measured_peak(device))
    floors = {r: seconds[a] / work[f"needed_{b}"] * peak for r, (a, b) in ((r, r.split("/")) for r in RATIOS[:3])}
    return dict(network=name, seconds=seconds, startup=startup, ratios=ratios, floors=floors, peak=2*peak,
                bfloat16_off=off, layers=per_layer,
                compared={k: dict(zip(("differ", "ties", "of"), map(int, v))) for k, v in compared.items()})


def summary(runs):
    "Medians over the rounds of one network."
    median = lambda pick: statistics.median(pick(r) for r in runs)
    compared = {k: {w: sum(r["compared"][k][w] for r in runs) for w in ("differ", "ties", "of")}
                for k in ("fixed", "adaptive")}
    return dict(network=runs[0]["network"], ratios={k: median(lambda r, k=k: r["ratios"][k]) for k in RATIOS},
                floors={k: median(lambda r, k=k: r["floors"][k]) for k in RATIOS[:3]},
                peak=median(lambda r: r["peak"]), seconds={k: median(lambda r, k=k: r["seconds"][k]) for k in WAYS},
                startup=median(lambda r: r["startup"]),
                bfloat16_off=max(r["bfloat16_off"] for r in runs), compared=compared,
                bars=dict(zip(RATIOS, BARS[runs[0]["network"]])), rounds=runs)


def table(rows):
    "The summaries as text; in brackets the bar, and the largest ratio that products alone allow."
    columns = [r for r in RATIOS if any(row["ratios"][r] for row in rows)]
    lines = [f"{'network':20}" + "".join(f"{k:>27}" for k in columns)
             + f"{'start-up s':>12}{'share of peak':>16}{'unlike/ties/of: fixed':>24}{'adaptive':>18}"]
    for r in rows:
        bars = {k: r["bars"].get(k, 0) for k in columns}
        limits = {k: f" ≤{r['floors'][k]:5.1f}" if r["floors"].get(k) else "" for k in columns}
        met = {k: " " if r["ratios"][k] >= bars[k] else "!" for k in columns}
        ratios = "".join(f"{r['ratios'][k]:>9.1f} " + f"(≥{bars[k]:4g}{limits[k]}){met[k]}".rjust(17) for k in columns)
        share = "/".join(f"{r['ratios'][k] / r['floors'][k]:.0%}" for k in ("plain/fixed", "published/adaptive")
                         if r["floors"].get(k))
        alike = ["/".join(map(str, r["compared"][k].values())) for k in ("fixed", "adaptive")]
        lines.append(f"{r['network']:20}{ratios}{r['startup']:>12.2f}{share:>16}{alike[0]:>24}{alike[1]:>18}")
    return "\n".join(lines)


def arguments():
    "The command line."
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--networks", nargs="+", choices=NETWORKS, help="default: all")
    p.add_argument("--device", default="cpu")
    p.add_argument("--data",
                   help="an .npz file with `x_test` (N, 32, 32, 3) uint8; default: the built-in digits, enlarged")
    p.add_argument("--images", type=int, default=256)
    p.add_argument("--layers", type=int, default=8)
    p.add_argument("--thresholds", type=int, default=9)
    p.add_argument("--filters", nargs="+", choices=("high_pass", "low_pass", "pulse"), default=["high_pass"])
    p.add_argument("--batch-size", type=int, default=128, help="of the two loops")
    p.add_argument("--loop-thresholds", type=int, default=1, help="at how many thresholds of a layer the two loops run")
    p.add_argument("--rounds", type=int, default=1, help="ratios are medians over them")
    p.add_argument("--threads", type=int, help="default: torch's own choice")
    p.add_argument("--cpu-time", action="store_true",
                   help="CPU time instead of wall time: for a machine shared with others; with --threads 1")
    p.add_argument("--json", help="write the numbers to this file")
    p.add_argument("--quick", action="store_true", help="SqueezeNet, 128 images, 4 layers, 5 thresholds")
    p.add_argument("--full", action="store_true", help="512 images, the loops at all thresholds, 3 rounds")
    p.add_argument("--bfloat16", action="store_true",
                   help="the fixed attack in bfloat16, too (pays on CPUs and GPUs with units for it)")
    p.add_argument("--fixed-only", action="store_true",
                   help="leave out the published procedure and the adaptive attack")
    p.add_argument("--verbose", action="store_true", help="print each layer")
    args = p.parse_args()
    if args.quick: args.images, args.layers, args.thresholds, args.rounds = 128, 4, 5, 3
    if args.full: args.images, args.loop_thresholds, args.rounds = 512, args.thresholds, 3
    args.networks = args.networks or (["squeezenet1_1"] if args.quick else list(NETWORKS))
    return args


def main():
    args = arguments()
    if args.threads: torch.set_num_threads(args.threads)
    if args.cpu_time: NOW[0] = time.process_time
    device, images = torch.device(args.device), load_images(args.data, max(args.images, 400))
    args.images = min(args.images, len(images))
    print(f"{processor_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    warnings.simplefilter("error", UserWarning) # a network that is not traced would be no comparison
    rows = []
    for name in args.networks:
        rows.append(summary([measure(name, images, device, args, turn) for turn in range(args.rounds)]))
        print(table(rows[-1:]), flush=True)
    facts = dict(device=str(device), processor=processor_name(),
                 threads=torch.get_num_threads(), clock="processor" if args.cpu_time else "wall",
                 torch=torch.__version__,
                 **{k: getattr(args, k) for k in ("images", "layers", "thresholds", "loop_thresholds", "rounds",
                                                  "filters", "batch_size")}, networks=rows)
    if len(rows) > 1: print("\n" + table(rows))
    text = json.dumps(facts, indent=1)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f: f.write(text)
    else:
        print(text if args.verbose else json.dumps({r["network"]: {k: round(v, 2) for k, v in r["ratios"].items() if v}
                                                    for r in rows}))
    wrong = max((r["compared"]["fixed"]["differ"] - r["compared"]["fixed"]["ties"]) / r["compared"]["fixed"]["of"]
                for r in rows)
    if wrong:
        sys.exit(f"With the fixed attack {wrong:.3%} of the images are judged unlike the loop without being ties.")


if __name__ == "__main__": main()
