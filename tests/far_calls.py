"""Calls of all public functions that take `device`, here and on a second device; a program for test_far_device.py.

PyTorch asks which devices there are at the first gradient of a process, so this runs in a process of its own.
"""
import inspect
import json
import sys
import traceback
import warnings

import numpy as np
import torch
import xarray as xr
from far_device import FarTensor, far_device, install

import fragility_nb.measure as measure
import fragility_nb.models as models
import fragility_nb.probes as probes
import fragility_nb.stress as stress
from fragility_nb import FGSM, PGD, Fog, GaussianBlur, GaussianNoise, Rotation, create_model, load_data

DATA = load_data("digits", n=24)
FEW = load_data("digits", n=10)
MORE = load_data("digits", "train", n=100)
TINY = dict(thresholds=3, filters=("high_pass",), layers=("conv2",))
STRESS = dict(stressors=[GaussianNoise(), Fog()], severities=(0, 1))


def net(seed=0):
    "A small network with BatchNorm."
    return create_model("cnn3", 10, 1, 8, seed=seed)


def two(): return {"a": net(), "b": net(1)}


def learnt():
    "One that is better than a guess."
    model = net()
    models.fit(model, DATA, epochs=5, lr=0.01, batch_size=12, progress=False, device="cpu")
    return model


def weights(model): return {k: v.detach().cpu() for k, v in model.state_dict().items()}


def trained(how, epochs=1, data=DATA, **options):
    "Weights after a training, which changes the network that it is given."
    model = net()
    how(model, data, epochs=epochs, batch_size=12, **options)
    return weights(model)


def differential(kind):
    return lambda **o: probes.generate_differential(two(), DATA, constraint=kind, steps=3, **o)


def sources(**o): return dict(clean=DATA.images.float()/255, other=DATA.images.float()/510)


# function, with a word where there are several ways -> a call at small size
CALLS = {
    "predict": lambda **o: models.predict(net(), DATA, batch_size=10, **o),
    "own_answers": lambda **o: {k: str(v) for k, v in models.own_answers(net(), DATA, **o).items()},
    "record_activations": lambda **o: models.record_activations(net(), DATA, **o),
    "fit": lambda **o: trained(models.fit, test=DATA, ema=0.9, augment="crop,flip", **o),
    "fit distort": lambda **o: trained(models.fit, distort=lambda x, seed, index: x*0.9, **o),
    "stress_sweep": lambda **o: measure.stress_sweep(net(), DATA, [GaussianNoise(), GaussianBlur(), Rotation(), FGSM(),
                                                                   PGD()], (0, 0.1), **o),
    "filter_sweep": lambda **o: measure.filter_sweep(net(), DATA, thresholds=3, scope="both", attack=FGSM(0.1),
                                                     control=1, **o),
    "filter_sweep fixed": lambda **o: measure.filter_sweep(net(), DATA, attack=FGSM(0.1), attack_mode="fixed", **TINY,
                                                           **o),
    "filter_sweep batch": lambda **o: measure.filter_sweep(net(), DATA, bn_mode="batch", **TINY, **o),
    "attack_images": lambda **o: stress.attack_images(net(), DATA, PGD(), 0.1, **o),
    "check_attack": lambda **o: stress.check_attack(net(), DATA, FGSM(), 0.1, n=16, **o),
    "find_epsilon": lambda **o: stress.find_epsilon(learnt(), DATA, **o),
    "loss_gradient": lambda **o: stress.loss_gradient(net(), DATA, **o),
    "minimal_perturbation": lambda **o: stress.minimal_perturbation(net(), DATA, **o),
    "minimal_perturbation gradient": lambda **o: stress.minimal_perturbation(net(), FEW, "gradient", **o),
    "kernel_dropout": lambda **o: probes.kernel_dropout(net(), DATA, kernels=[0, 3], attack=FGSM(0.1), **o),
    "kernel_dropout map": lambda **o: probes.kernel_dropout(net(), DATA, kernels=[0, 3], remove="feature_map", **o),
    "adversarial_targeting": lambda **o: probes.adversarial_targeting(net(), DATA, FGSM(), [0, 1], severities=(0.1,),
                                                                      n_perm=99, **o),
    "rebalance": lambda **o: probes.rebalance(net(), DATA, [0, 1], (0.5, 1), (1, 2), attack=FGSM(0.1), **o),
    "residual_features": lambda **o: probes.residual_features(net(), DATA, **o),
    "statistic_gap": lambda **o: probes.statistic_gap(net(), DATA, *STRESS.values(), **o),
    "statistic_stress": lambda **o: probes.statistic_stress(net(), DATA, (0.5, 1), (0, 1), **o),
    "batch_statistics": lambda **o: probes.batch_statistics(net(), DATA, [8], *STRESS.values(), **o),
    "recalibrate": lambda **o: weights(probes.recalibrate(net(), DATA, **o)),
    "recalibration": lambda **o: probes.recalibration(net(), DATA, DATA, [8], *STRESS.values(), **o),
    "bn_probe": lambda **o: probes.bn_probe(net(), DATA, ["statistic_gap"], **STRESS, **o),
    "neuron_coverage": lambda **o: probes.neuron_coverage(net(), DATA, [probes.NC(0.5), probes.TKNC(2)], **o).compute(),
    "activation_profile": lambda **o: probes.activation_profile(net(), DATA, **o),
    "coverage_growth": lambda **o: probes.coverage_growth(net(), DATA, orders=2, points=4, **o),
    "compare_sources": lambda **o: probes.compare_sources(two(), DATA, sources(), **o),
    "input_sources": lambda **o: probes.input_sources(two(), FEW, steps=2, stressors=[Rotation()], **o),
    "generate_transformed": lambda **o: probes.generate_transformed(net(), DATA, [Rotation(), Fog()], (1,), tries=2,
                                                                    **o),
    **{f"generate_differential {kind}": differential(kind) for kind in ("light", "occl", "blackout", "none")},
    "score_layers": lambda **o: probes.score_layers(net(), DATA, attack=FGSM(0.1), thresholds=3, control=1, **o),
    "selective_fit": lambda **o: trained(probes.selective_fit, 2, every=1, held_out=10, attack=FGSM(0.1), thresholds=3,
                                       **o),
    "compare_retraining": lambda **o: probes.compare_retraining(net, MORE, DATA, epochs=12, inits=2, epsilons=(0, 0.1),
                                                                lr=0.01, held_out=10, thresholds=3, every=6, **o),
}
def same(a, b):
    "Bit for bit, whatever it is."
    if isinstance(a, torch.Tensor): return not isinstance(b, FarTensor) and torch.equal(a, b.cpu())
    if isinstance(a, xr.Dataset): return a.drop_attrs().identical(b.drop_attrs())
    if isinstance(a, dict): return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list): return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray): return np.array_equal(a, b)
    return vars(a) == vars(b) if hasattr(a, "__dict__") else a == b


def both(name):
    "A call here and there, and what crossed."
    quiet = {} if "progress" not in inspect.signature(function_of(name)).parameters else dict(progress=False)
    with warnings.catch_warnings(action="ignore"):
        here = CALLS[name](device="cpu", **quiet)
        with far_device() as crossings: there = CALLS[name](device="far", **quiet)
    return here, there, crossings


def function_of(name):
    "The public function of a name in the table."
    return next(getattr(p, name.split()[0]) for p in (models, stress, measure, probes) if name.split()[0] in p.__all__)


def outcome(name):
    "What came of a call, for the test."
    try: here, there, crossings = both(name)
    except Exception: return dict(name=name, error=traceback.format_exc()[-2000:])
    return dict(name=name, same=same(here, there), there=crossings.there, here=crossings.here, back=crossings.back)


if __name__ == "__main__":
    install()
    for name in sys.argv[1:] or CALLS: print(json.dumps(outcome(name)), flush=True)
