"Made-up reports of two networks that saw the same images, or others, without a network."
import numpy as np
import xarray as xr
from explorer_results import landscape

from fragility_nb.core.results import provenance, save_result
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.severity import stress_summary

STRESSORS = "GaussianNoise(step=0.1); FGSM(epsilon={})"


def sweep(p=((0.95, 0.7, 0.4), (0.95, 0.6, 0.3)), n=100, k=10, seed=0, hard=None, epsilon=0.1, **facts):
    "A stress sweep with accuracies about p (stress, severity); images that are hard for one network are for all."
    p, rng = np.asarray(p), np.random.default_rng(seed)
    hard = np.random.default_rng(1).random(n) if hard is None else hard
    easy = 0.7*hard + 0.3*rng.random((*p.shape, 1, n))  # in [0, 1]
    correct = np.stack([[e < np.quantile(e, at) for e, at in zip(*row)] for row in zip(easy, p)])
    label = np.arange(n) % k
    pred = np.where(correct, label, (label + 1 + rng.integers(0, k - 1, correct.shape)) % k)
    margin = p[..., None, None] - easy
    dims, levels = ("stress", "severity", "seed", "sample"), np.arange(p.shape[1], dtype=float)
    names = ["gaussian_noise", "fgsm"][:len(p)]
    strength = np.outer([0.1, epsilon][:len(p)], levels)
    return xr.Dataset({f: (dims, v) for f, v in dict(pred=pred, correct=correct, margin=margin).items()},
                      dict(stress=names, severity=levels, seed=[0], sample=np.arange(n), label=("sample", label),
                           strength=(("stress", "severity"), strength),
                           strength_unit=("stress", ["sigma", "epsilon"][:len(p)])),
                      provenance("stress_sweep", **dict(model="m", data="digits/test", data_hash="d", num_classes=k,
                                                        stressors=STRESSORS.format(epsilon)) | facts))


def filters(layers=4, n=100, seed=0, **facts):
    "A filter sweep of one network."
    one = landscape(layers, 1, samples=n, seed=seed).isel(epoch=0, drop=True)
    return one.assign_attrs(one.attrs | dict(model="m", data="digits/test", data_hash="d") | facts)


def report(folder, name="m", layers=4, **how):
    "The folder of a report."
    stress = sweep(model=name, **how)
    facts = {k: stress.attrs[k] for k in ("model", "data", "data_hash")}
    sweeps = filters(layers, stress.sizes["sample"], how.get("seed", 0), **facts)
    found = xr.Dataset(dict(epsilon=0.05, accuracy=0.45, relative_accuracy=0.5), attrs=provenance("find_epsilon"))
    save_result(dict(stress=stress, stress_summary=stress_summary(stress, n_boot=200), filters=sweeps, epsilon=found,
                     scores=synaptic_scores(sweeps, n_boot=200, simultaneous=True)), folder/"result.nc")
    return folder
