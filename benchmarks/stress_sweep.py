"""What a stress sweep costs, against the least it can: making the distorted images, and one forward pass of each.

    python benchmarks/stress_sweep.py [--quick] [--out FILE.json]

Both are measured in turns, in CPU time of one thread (several spin while they wait, and that would count); the median
over the rounds is given. Bar: at most 1.15. Nothing of the sweep is left out of it: neither provenance, nor labels, nor
warnings.
Also: the matrix study on digits (7 noise levels trained and tested, and smallest changes), bar 180 s on 2 cores.
"""
import argparse
import json
import statistics
import time

import torch

from fragility_nb import (
    FGSM, PGD, GaussianBlur, GaussianNoise, Rotation, apply_stress, attack_images, create_model, load_data,
    matrix_summary, stress_sweep, train_test_matrix,
)
from fragility_nb.data.images import ImageData


def least(model, data, stressors, severities, batch=256):
    "Distorts the images and predicts them, and does nothing else."
    for i in range(0, len(data), batch): model_answers(model, data.batch(i, i + batch))
    for s in stressors:
        for v in severities[1:]:
            for i in range(0, len(data), batch):
                part = data.take(range(i, min(i + batch, len(data))))
                if hasattr(s, "epsilon"): x = attack_images(model, part, s, v, device="cpu")
                else: x = apply_stress(s, part.batch(0, len(part)), v, 0, part.index)
                model_answers(model, x)


def model_answers(model, x):
    with torch.inference_mode(): return model(x)


def ratio(model, data, stressors, severities, rounds):
    "CPU seconds of both, and the ratio of a sweep to the least it can cost."
    ours, floor = [], []
    sweep = lambda: stress_sweep(model, data, stressors, severities, device="cpu", progress=False)
    for k in range(rounds + 1):
        times = {}
        for name, f in (("sweep", sweep), ("least", lambda: least(model, data, stressors, severities))):
            began = time.process_time()
            f()
            times[name] = time.process_time() - began
        if k: # the first round warms up
            ours.append(times["sweep"])
            floor.append(times["least"])
    return dict(sweep_s=statistics.median(ours), least_s=statistics.median(floor),
                ratio=statistics.median(a/b for a, b in zip(ours, floor)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out")
    args = parser.parse_args()
    threads, n = torch.get_num_threads(), 96 if args.quick else 160 # colour images
    rounds = dict(zip(("digits, cnn4", "32 pixels, ResNet-18"), (3, 1) if args.quick else (11, 2)))
    torch.set_num_threads(1)
    g = torch.Generator().manual_seed(0)
    colour = ImageData(torch.randint(256, (n, 3, 32, 32), generator=g, dtype=torch.uint8),
                       torch.randint(10, (n,), generator=g), tuple("0123456789"))
    cases = {"digits, cnn4": (create_model("cnn4"), load_data("digits")),
             "32 pixels, ResNet-18": (create_model("resnet18", 10, 3, 32), colour)}
    stress, severities, out = [GaussianNoise(), GaussianBlur(), Rotation()], (0, 1, 2, 3), {}
    for name, (model, data) in cases.items():
        for what, stressors in {"distortions": stress,
                                "with attacks": [*stress, FGSM(0.01), PGD(0.01, steps=3)]}.items():
            out[f"{name}, {what}"] = r = ratio(model.eval(), data, stressors, severities, rounds[name])
            print(f"{name + ', ' + what:40} sweep {r['sweep_s']:7.2f} s  least {r['least_s']:7.2f} s  ratio "
                  f"{r['ratio']:.3f}", flush=True)
    torch.set_num_threads(threads)
    began = time.perf_counter()
    levels = (0, 0.01, 0.05, 0.1, 0.5, 1, 5)
    matrix = train_test_matrix("cnn4", "digits", GaussianNoise(0.5, clip=False), levels, epochs=2 if args.quick else 8,
                               lr=3e-3, batch_size=50, progress=False)
    out["matrix"] = dict(seconds=time.perf_counter() - began,
                         diagonal=dict(zip(map(str, levels), matrix_summary(matrix).diagonal.values.round(4).tolist())))
    print(f"matrix of 7 × 7 levels on digits: {out['matrix']['seconds']:.1f} s, worth of the diagonal "
          f"{out['matrix']['diagonal']}")
    if args.out:
        with open(args.out, "w") as f: json.dump(out, f, indent=1)
    print(json.dumps(out))


if __name__ == "__main__": main()
