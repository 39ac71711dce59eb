"""Images per second of the common corruptions: this package against one image at a time.

    python benchmarks/corruptions.py [--quick] [--threads 2] [--device cuda] [--reference PYTHON]

The reference is imagecorruptions 1.1.2, run by another Python (it needs NumPy < 1.25 and scikit-image < 0.20):

    python3 -m venv ENV && ENV/bin/pip install imagecorruptions 'numpy<1.25' 'scikit-image<0.20' setuptools
    python benchmarks/corruptions.py --reference ENV/bin/python

Without `--reference` it is the plain twin of the tests (NumPy, SciPy, scikit-image, PIL). Both sides get the same
images and ImageNet-C's constants at severities 1, 3 and 5 (imagecorruptions has no others). The reference is what it
is: one process, image by image, uint8; here a batch goes in (256 images of 32 pixels, 16 of 224), float, on `--threads`
cores. The two sides take turns, round by round; a figure is the median over the rounds of the best of two calls, wall
time, each having run once before. The last lines are geometric means over the corruptions: of each size, and of both.
Prints a table and JSON; writes the JSON to `--out`, too.
"""
import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

NAMES = {"gaussian_noise_c": "gaussian_noise", "gaussian_blur_c": "gaussian_blur", "elastic": "elastic_transform",
         "jpeg": "jpeg_compression"}
SEVERITIES = (1, 3, 5)
SIZES = {32: 256, 224: 16}  # images of this package's batches
clock = time.perf_counter

IMAGES = '''
import numpy as np
def pictures(size, n=16):
    "Smooth random pictures with edges, uint8 (n, size, size, 3)."
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]/size
    out = np.empty((n, size, size, 3))
    for i in range(n):
        for c in range(3):
            f, p = rng.uniform(1, 6, 4), rng.uniform(0, 6.28, 4)
            waves = np.sin(f[0]*x*6.28/3 + p[0]) + np.sin(f[1]*y*6.28/3 + p[1])
            edges = np.sign(np.sin(f[2]*(x + y)*6.28/3 + p[2]))
            out[i, ..., c] = waves + edges + 0.2*rng.standard_normal((size, size))
    return np.uint8(np.clip(out*36 + 128, 0, 255))
'''
REFERENCE = IMAGES + '''
import json, sys, time, warnings
warnings.simplefilter("ignore")
from imagecorruptions import corrupt
names, sizes, severities, clock = json.loads(sys.argv[1])
clock = getattr(time, clock)
for size in sizes:
    images = pictures(size)
    for name in names:
        for severity in severities:
            corrupt(images[0], corruption_name=name, severity=severity)
            times = []
            for i in range(6):
                start = clock()
                corrupt(images[i], corruption_name=name, severity=severity)
                times.append(clock() - start)
                if sum(times) > 0.2: break
            print(json.dumps([size, name, severity, min(times)]), flush=True)
'''


def foreign(python, names, clock="perf_counter"):
    "Seconds an image of imagecorruptions: {(size, name, severity): seconds}."
    theirs = {NAMES.get(n, n): n for n in names}
    done = subprocess.run([python, "-c", REFERENCE, json.dumps([list(theirs), list(SIZES), SEVERITIES, clock])],
                          text=True, stdout=subprocess.PIPE, check=True)
    return {(size, theirs[name], severity): t for size, name, severity, t in map(json.loads, done.stdout.splitlines())}


def twin(names):
    "The same of the plain twin."
    import numpy as np
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import corruption_twins as twins
    space, out = {}, {}
    exec(IMAGES, space)
    rng = np.random.default_rng(0)
    draw = type("Draw", (), dict(uniform=lambda self, *s: rng.random(s), normal=lambda self, *s: rng.standard_normal(s),
                                 poisson=lambda self, r: rng.poisson(r)))()
    for size in SIZES:
        images = space["pictures"](size)
        for name in names:
            for severity in SEVERITIES:
                more = dict(ice=0.5) if name == "frost" else {}
                corrupt = partial(getattr(twins, name), c=twins.IMAGENET[name][severity - 1], draw=draw, **more)
                out[size, name, severity] = best(corrupt, images)
    return out


def best(corrupt, images):
    "The shortest of up to six calls, image after image, after one that does not count."
    corrupt(images[0]/255.)
    times = []
    while len(times) < 6 and sum(times) < 0.2: times.append(timed(lambda i: corrupt(images[i]/255.), len(times)))
    return min(times)


def timed(f, *args):
    "Seconds of a call."
    start = clock()
    f(*args)
    return clock() - start


def ours(names, device):
    "Seconds an image of this package."
    import torch

    from fragility_nb.stress import corruptions  # noqa: F401, registers them
    from fragility_nb.stress.corruptions import STRESSORS
    from fragility_nb.stress.stressors import apply_stress
    space, out = {}, {}
    exec(IMAGES, space)
    def run(stressor, x, severity):
        apply_stress(stressor, x, severity)
        if device == "cuda": torch.cuda.synchronize()
    for size, n in SIZES.items():
        n = n*16 if device == "cuda" else n
        x = torch.from_numpy(space["pictures"](size)).permute(0, 3, 1, 2).float().div(255)
        x = x.repeat(math.ceil(n/16), 1, 1, 1)[:n].contiguous().to(device)
        for name in names:
            for severity in SEVERITIES:
                stressor = STRESSORS[name]("imagenet")
                run(stressor, x, severity)
                out[size, name, severity] = min(timed(run, stressor, x, severity) for _ in range(2))/n
    return out


def median(rounds):
    "The median of several rounds' seconds, entry by entry."
    return {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 rounds, not 5")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--reference", help="a Python that has imagecorruptions")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU time, for a busy machine; with one thread")
    parser.add_argument("--out", help="write the numbers to this file")
    args = parser.parse_args()
    import torch

    from fragility_nb.stress.corruptions import COMMON, EXTRA
    torch.set_num_threads(args.threads)
    if args.cpu_time: globals()["clock"] = time.process_time
    names = [*COMMON, *EXTRA]
    slow, fast = [], []
    for _ in range(2 if args.quick else 5):  # in turns
        slow.append(foreign(args.reference, names, clock.__name__) if args.reference else twin(names))
        fast.append(ours([*names, "rain"], args.device))
    report(median(slow), median(fast), names, args)


def report(slow, fast, names, args):
    "The table and the geometric means."
    reference = "imagecorruptions" if args.reference else "plain twin"
    rows, mean = [], lambda t, size, name: sum(t[size, name, s] for s in SEVERITIES)/len(SEVERITIES)
    time_of = "CPU time" if args.cpu_time else "wall time"
    print(f"images/s over severities {SEVERITIES}; {args.device}, {args.threads} threads, {time_of}; reference: "
          f"{reference}, one image at a time\n")
    print(f"{'':18}" + "".join(f"{f'{size} px: here':>15}{'reference':>11}{'ratio':>8}" for size in SIZES))
    for name in [*names, "rain"]:
        line = f"{name:18}"
        for size in SIZES:
            t, r = mean(fast, size, name), mean(slow, size, name) if (size, name, 1) in slow else math.nan
            rows.append(dict(size=size, corruption=name, images_per_second=1/t, reference=1/r, ratio=r/t))
            line += f"{1/t:15,.0f}{1/r:11,.1f}{r/t:8.1f}"
        print(line)
    ratios = {size: {r["corruption"]: r["ratio"] for r in rows if r["size"] == size and r["corruption"] in names}
              for size in SIZES}
    means = {size: geometric(ratios[size].values()) for size in SIZES}
    print(f"{'geometric mean':18}" + "".join(f"{'':26}{means[size]:8.1f}" for size in SIZES))
    print(f"{'without glass':18}"
          + "".join(f"{'':26}{geometric(v for k, v in ratios[size].items() if k != 'glass_blur'):8.1f}"
                    for size in SIZES))
    both = geometric(r for of in ratios.values() for r in of.values())
    print(f"{'both sizes':18}{both:34.1f}")
    result = dict(reference=reference, device=args.device, threads=args.threads, clock=time_of, rows=rows,
                  geometric_mean=means, combined=both)
    print("\n" + json.dumps(result))
    if args.out: Path(args.out).write_text(json.dumps(result, indent=1))


def geometric(values):
    "The geometric mean."
    values = list(values)
    return math.exp(sum(map(math.log, values))/len(values))


if __name__ == "__main__":
    main()
