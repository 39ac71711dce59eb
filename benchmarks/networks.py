"""Twelve networks of four libraries through the whole report at small size: what runs for each, and why not.

    python benchmarks/networks.py                       # the table; some ten minutes on two cores
    python benchmarks/networks.py --networks vit swin   # some of them
    python benchmarks/networks.py --json nbs/howto/networks.json   # what the docs show

The functions are those of the template `model_report`, section by section, on 24 images of 32×32 pixels, with three
thresholds, a few layers and FGSM. Weights are random, BatchNorm's statistics come from two passes in training mode,
the last bias is set so that all classes are answered, and the labels are the network's own answers. A section is
*filled*, or absent with the sentence that the package gives. The exit status is 1 if anything fails in another way.
"""
import argparse
import importlib.util
import json
import sys
import tempfile
import time
import traceback
import warnings
from datetime import date
from functools import partial
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch

import fragility_nb
from fragility_nb import (
    FGSM, GaussianBlur, GaussianNoise, adversarial_targeting, bn_probe, coverage_table, filter_sweep, find_epsilon,
    find_layers, fragile_kernels, kernel_dropout, load_data, load_result, neuron_coverage, plot_scores, plot_stress,
    rebalance, record_activations, save_result, selective_fit, smallest_fraction, stress_summary, stress_sweep,
    swap_norm, synaptic_scores)
from fragility_nb.data import as_data
from fragility_nb.engine.engine import EditEngine
from fragility_nb.probes import kernel_set, plot_coverage_map, plot_kernel_dropout, plot_residual

SIZE, IMAGES, CLASSES = 32, 24, 10


def own(name):
    "A class of the file beside this one."
    spec = importlib.util.spec_from_file_location("own_networks", Path(__file__).with_name("own_networks.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)(CLASSES)


def from_torchvision(name, **options):
    import torchvision.models as zoo
    return getattr(zoo, name)(num_classes=CLASSES, **options)


def convnext():
    "torchvision's, small."
    from torchvision.models import convnext
    sizes = [convnext.CNBlockConfig(24, 48, 1), convnext.CNBlockConfig(48, None, 1)]
    return convnext.ConvNeXt(sizes, num_classes=CLASSES)


def from_timm(name, **options):
    import timm
    return timm.create_model(name, num_classes=CLASSES, **options)


def timm_swin():
    from timm.models.swin_transformer import SwinTransformer
    return SwinTransformer(img_size=SIZE, patch_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 2), window_size=4,
                           num_classes=CLASSES)


def efficientnet():
    "Of the PyPI package efficientnet_lite_pytorch."
    from efficientnet_lite_pytorch import EfficientNet
    return EfficientNet.from_name("efficientnet-lite0", num_classes=CLASSES)


VIT = dict(image_size=SIZE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
SWIN = dict(patch_size=[4, 4], embed_dim=32, depths=[1, 1], num_heads=[2, 2], window_size=[4, 4])
NETWORKS = { # name -> library, builder
    "resnet18": ("torchvision", partial(from_torchvision, "resnet18")),
    "shufflenet_v2_x0_5": ("torchvision", partial(from_torchvision, "shufflenet_v2_x0_5")),
    "vit": ("torchvision", partial(from_torchvision, "VisionTransformer", **VIT)),
    "swin": ("torchvision", partial(from_torchvision, "SwinTransformer", **SWIN)),
    "convnext": ("torchvision", convnext),
    "timm_vit": ("timm", partial(from_timm, "vit_tiny_patch16_224", img_size=SIZE, patch_size=8, depth=2)),
    "timm_swin": ("timm", timm_swin),
    "convnext_atto": ("timm", partial(from_timm, "convnext_atto", depths=(1, 1, 1, 1))),
    "mobilenetv3": ("timm", partial(from_timm, "mobilenetv3_small_050")),
    "Encoder": ("a file", partial(own, "Encoder")),
    "GroupNormed": ("a file", partial(own, "GroupNormed")),
    "efficientnet_lite0": ("efficientnet_lite_pytorch", efficientnet)}


def subject(name, images):
    "The network, and the images with its own answers as labels."
    torch.manual_seed(0)
    net = NETWORKS[name][1]().train()
    with torch.no_grad():
        for m in net.modules():
            if isinstance(m, torch.nn.modules.batchnorm._BatchNorm): m.momentum = None # the mean of what it saw
        for x in images.split(len(images) // 2): net(x)
        head = find_layers(net)[-1].module
        if not head.weight.any(): torch.nn.init.normal_(head.weight, 0, 0.1) # torchvision's ViT starts with zeros
        head.bias -= net.eval()(images).mean(0)
        y = net(images).argmax(1)
    return net, as_data((images, y), classes=[str(i) for i in range(CLASSES)], name="own answers")


def chosen_layers(net, n=4):
    "The first, the last, some between, and one part of an attention."
    layers = find_layers(net)
    places = {int(i) for i in np.linspace(0, len(layers) - 1, min(n, len(layers))).round()}
    parts = [i for i, layer in enumerate(layers) if layer.part][:1]
    return [layers[i].name for i in sorted(places | set(parts))]


def stress(net, data, found):
    "Accuracy under noise, blur and FGSM, with its summary and figure."
    found["epsilon"] = find_epsilon(net, data, device="cpu", progress=False)
    found["attack"] = FGSM(max(float(found["epsilon"].epsilon), 1/255)) # 0 where hardly anything changes the answers
    found["stress"] = stress_sweep(net, data, [GaussianNoise(), GaussianBlur(), found["attack"]], (0, 1, 2),
                                   device="cpu", progress=False)
    plot_stress(found["stress"])
    return stress_summary(found["stress"])


def weights(net, data, found):
    "The filter sweep, scores by both baselines, compactness and a figure."
    found["filters"] = filter_sweep(net, data, scope="both", layers=chosen_layers(net), thresholds=3, control=1,
                                    attack=found["attack"], device="cpu", progress=False)
    found["scores"] = synaptic_scores(found["filters"])
    plot_scores(found["scores"], random=synaptic_scores(found["filters"], baseline="random"))
    return smallest_fraction(found["filters"], share=0.9)


def coverage(net, data, found):
    "Which units the images reach, and the table of layers."
    reached = neuron_coverage(net, data, device="cpu", progress=False)
    plot_coverage_map(reached, str(reached.criterion.values[0]))
    found["coverage"] = reached
    return coverage_table(reached, found["scores"])


def batchnorm(net, data, found):
    "All parts of the BatchNorm probe."
    parts = bn_probe(net, data, stressors=[GaussianNoise()], severities=(0, 2), device="cpu", progress=False,
                     recalibration=dict(severities=(0,), n=[4]), statistic_stress=dict(scales=(1, 4), shifts=(0, 1)))
    plot_residual(parts["residual_features"])
    return parts


def kernels(net, data, found):
    "One kernel of the first convolution removed at a time, and which are fragile."
    found["dropout"] = kernel_dropout(net, data, attack=found["attack"], device="cpu", progress=False)
    found["kernels"] = fragile_kernels(found["dropout"])
    plot_kernel_dropout(found["dropout"], found["kernels"])
    return found["kernels"]


def targeting(net, data, found):
    "Whether the attack aims at these kernels, and rebalancing."
    below = kernel_set(found["kernels"], rule="mean") or [0, 1]
    adversarial_targeting(net, data, found["attack"], below, device="cpu", progress=False)
    return rebalance(net, data, below, (0.8, 1), (1, 1.25), found["attack"], device="cpu", progress=False)


def retraining(net, data, found):
    "Two epochs, the layers scored between them."
    few = dict(device="cpu", progress=False, batch_size=8)
    sweep = dict(filters=["high_pass"], control=1)
    return selective_fit(net, data, epochs=2, every=1, held_out=data, thresholds=2, attack=found["attack"],
                         layers=chosen_layers(net, 2), sweep=sweep, rule="published", **few)


def other(net, data, found):
    "Activations of every layer; another norm where there is one over channels."
    record_activations(net, data, device="cpu")
    return swap_norm(net, "none")


SECTIONS = dict(stress=stress, weights=weights, coverage=coverage, batchnorm=batchnorm, kernels=kernels,
                targeting=targeting, retraining=retraining, swap_norm=other)


def section(run, *args):
    "\"filled\", or the sentence that says why not; and what was left out."
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try: run(*args)
        except ValueError as e: return f"absent: {e}", []
        except Exception as e:
            traceback.print_exc()
            return f"FAILED: {type(e).__name__}: {e}", []
        finally: plt.close("all")
    return "filled", [str(w.message) for w in told if "eft out" in str(w.message)]


def report(name, images):
    "One row of the table."
    net, data = subject(name, images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine = EditEngine(net, device="cpu")
        engine.rows_with_gradient(images[:4])
    layers, start, found = find_layers(net), time.perf_counter(), {}
    row = dict(network=name, library=NETWORKS[name][0], parameters=sum(p.numel() for p in net.parameters()),
               layers=len(layers), attention_parts=sum(bool(layer.part) for layer in layers), cut=engine.traced)
    row["sections"], row["left_out"] = {}, []
    for key, run in SECTIONS.items():
        row["sections"][key], left = section(run, net, data, found)
        row["left_out"] += [text for text in left if text not in row["left_out"]]
    tree = {k: v for k, v in found.items() if hasattr(v, "data_vars")}
    with tempfile.TemporaryDirectory() as folder: load_result(save_result(tree, Path(folder)/"result.nc"))
    print(f"{name:20} {time.perf_counter() - start:6.1f} s ", row["sections"], row["left_out"], flush=True)
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    p.add_argument("--json", help="write the table to this file")
    args = p.parse_args()
    matplotlib.use("agg")
    images = load_data("digits", "train", n=IMAGES, image_size=SIZE).images.expand(-1, 3, -1, -1).float().div(255)
    rows = [report(name, images.contiguous()) for name in args.networks]
    facts = dict(date=str(date.today()), package=fragility_nb.__version__, torch=torch.__version__.split("+")[0],
                 images=IMAGES, image_size=SIZE, networks=rows)
    if args.json: Path(args.json).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(any("FAILED" in text for row in rows for text in row["sections"].values()))


if __name__ == "__main__": sys.exit(main())
