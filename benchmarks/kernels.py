"""What it costs to remove every kernel of a layer: `kernel_dropout` against the plain loop.

    python benchmarks/kernels.py            # a few minutes
    python benchmarks/kernels.py --quick    # fewer images and kernels

The plain loop copies the network, zeroes weights and bias of one kernel, and classifies all images in batches. It is
right, and what one writes first. Both are run on torchvision's ResNet-18 with its own stem and 64 kernels, on 28-pixel
grey and on 32-pixel colour images (the sources' networks for MNIST and CIFAR-10), random weights and statistics. The
answers must agree for every kernel and image. The two take turns; the ratio is that of the smallest CPU times, one
thread by default. A third row has an FGSM made anew on every copy.

Bar: 3, for the 28-pixel network.
"""
import argparse
import copy
import json
import time

import numpy as np
import torch
from torch import nn

from fragility_nb.stress.attacks import FGSM, attack_images
from fragility_nb.data.images import ImageData
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.models.create import create_model

BAR = 3


def network(size, channels):
    "torchvision's ResNet-18 with random weights and statistics that are not all alike."
    model = create_model("resnet18", 10, channels, size, 0.5, 0.25)
    g = torch.Generator().manual_seed(0)
    for m in model.modules():
        if not isinstance(m, nn.BatchNorm2d): continue
        draw = lambda low, high, m=m: low + (high - low) * torch.rand(m.num_features, generator=g)
        m.running_mean.copy_(draw(-0.3, 0.3))
        m.running_var.copy_(draw(0.5, 2))
        m.weight.data.copy_(draw(0.5, 1.5))
        m.bias.data.copy_(draw(-0.3, 0.3))
    return model.eval()


def images(model, size, channels, n):
    "Random images, labelled as the network answers, no class ahead of the others: each change of an answer shows."
    x = torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = torch.cat([model(part) for part in x.split(256)])
        model.network.fc.bias -= logits.mean(0)
        y = (logits - logits.mean(0)).argmax(1)
    return ImageData(x, y, tuple("0123456789"))


def plain(model, data, kernels, batch_size=256):
    "Copy, zero, evaluate."
    rows = []
    for k in kernels:
        net = copy.deepcopy(model)
        conv = net.network.conv1
        with torch.no_grad():
            conv.weight[k] = 0
            if conv.bias is not None: conv.bias[k] = 0
        with torch.inference_mode():
            rows.append(torch.cat([net(data.batch(i, i + batch_size)).argmax(1)
                                   for i in range(0, len(data), batch_size)]) == data.labels)
    return torch.stack(rows).numpy()


def timed(f, clock=time.process_time):
    "What it returns, and the seconds it took."
    start = clock()
    out = f()
    return out, clock() - start


def compare(name, size, channels, n, kernels, repeats):
    "One network: both ways in turns."
    model = network(size, channels)
    data, ours, theirs, equal = images(model, size, channels, n), [], [], True
    which = list(range(kernels))
    for _ in range(repeats):
        want, seconds = timed(lambda: plain(model, data, which))
        theirs.append(seconds)
        got, seconds = timed(lambda: kernel_dropout(model, data, kernels=which, device="cpu", progress=False))
        ours.append(seconds)
        equal &= bool((got.correct.values[0] == want).all())
    changed = float((~want).mean())
    return dict(network=name, kernels=kernels, images=n, plain_s=min(theirs), dropout_s=min(ours),
                ratio=min(theirs) / min(ours),
                equal=equal, answers_changed=changed)


def adaptive(size, n, kernels):
    "The same with an attack made anew on each copy."
    model, attack = network(size, 1), FGSM(0.02)
    data, which = images(model, size, 1, n), list(range(kernels))

    def loop():
        rows = []
        for k in which:
            net = copy.deepcopy(model)
            with torch.no_grad(): net.network.conv1.weight[k] = 0
            x = attack_images(net, data, attack, device="cpu")
            with torch.inference_mode(): rows.append(torch.cat([net(p).argmax(1) for p in x.split(256)]) == data.labels)
        return torch.stack(rows).numpy()

    want, theirs = timed(loop)
    got, ours = timed(lambda: kernel_dropout(model, data, attack=attack, attack_mode="adaptive", kernels=which,
                                             device="cpu", progress=False))
    agree = float((got.correct.values[1] == want).mean()) # a gradient near 0 may change its sign by rounding
    return dict(network="28 pixels, adaptive FGSM", kernels=kernels, images=n, plain_s=theirs, dropout_s=ours,
                ratio=theirs / ours, equal=agree > 0.99,
                answers_changed=float((~want).mean()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true",
                        help="fewer images and kernels; the ratio is then too low by the engine's fixed costs")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    n, kernels, repeats = (256, 12, 1) if args.quick else (512, 64, 2)
    rows = [compare("28 pixels, grey", 28, 1, n, kernels, repeats), compare("32 pixels, colour", 32, 3, n, kernels, 1),
            adaptive(28, n // 2, kernels // 4)]
    print(f"{'ResNet-18':26}{'kernels':>8}{'images':>8}{'loop':>9}{'dropout':>9}{'ratio':>7}  equal")
    for r in rows:
        print(f"{r['network']:26}{r['kernels']:8}{r['images']:8}{r['plain_s']:8.1f}s{r['dropout_s']:8.1f}s"
              f"{r['ratio']:7.2f}  {r['equal']}")
    print(json.dumps(dict(bar=BAR, threads=args.threads, torch=torch.__version__,
                          passed=bool(np.all([r["equal"] for r in rows]) and rows[0]["ratio"] >= BAR), rows=rows)))


if __name__ == "__main__": main()
