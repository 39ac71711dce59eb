"""Results of the sizes that explorers must bear, from random numbers: no model and no torch."""
import numpy as np
import xarray as xr

from fragility_nb.core.results import provenance


def landscape(layers=21, epochs=10, samples=60, inits=0, attack=True, seed=0):
    "A filter landscape of a made-up residual network: 3 filters, 25 thresholds."
    rng, x = np.random.default_rng(seed), np.linspace(0, 1, 25)
    names = [f"layer{1 + i//5}.{i % 5//2}.conv{1 + i % 2}" if layers < 50 else f"block{i//3}.conv{i % 3}"
             for i in range(layers)]
    left = np.clip(0.97 - x, 0.02, 1)
    p = np.clip(0.9*np.clip(left[:, None] + 0.15*rng.normal(size=(layers, 3, 1, epochs)), 0, 1), 0, 1)
    stresses, outer = ["clean", "adversarial"][:1 + attack], (inits,) if inits else ()
    p = np.stack([p, 0.7*p][:len(stresses)])[None]
    p = np.broadcast_to(p[..., None], (*p.shape, inits)) if inits else p
    dims = ("epoch", "init")[:1 + bool(inits)]
    right = rng.random((samples, *p.shape[1:])) < p
    whole = rng.random((samples, len(stresses), epochs, *outer)) < np.array([0.95, 0.75])[:len(stresses)].reshape(1,
        -1, 1, *[1]*bool(inits))
    removed = np.broadcast_to(np.round(1000*(1 - left))[:, None], (layers, 3, 25, epochs)).copy()
    if inits: removed = np.repeat(removed[..., None], inits, -1)
    ds = xr.Dataset(dict(correct=(("sample", "stress", "layer", "filter", "threshold", *dims), right),
                         weights=("layer", np.full(layers, 1000)),
                         reference_correct=(("sample", "stress", *dims), whole),
                         removed=(("layer", "filter", "threshold", *dims), removed)),
                    coords=dict(stress=stresses, layer=names, filter=["high_pass", "low_pass", "pulse"], threshold=x,
                                epoch=np.arange(epochs)))
    if inits: ds = ds.assign_coords(init=np.arange(inits))
    ds = ds.assign(accuracy=ds.correct.mean("sample"), reference_accuracy=ds.reference_correct.mean("sample"))
    return ds.assign_attrs(provenance("filter_sweep", model="resnet18", data="made-up images", num_classes=10))


def coverage(n=200, seed=0):
    "Coverage of three layers at two thresholds."
    rng, layers, units = np.random.default_rng(seed), ["conv1", "conv2", "head"], (8, 16, 10)
    of = np.repeat(layers, units)
    first = np.where(rng.random((2, of.size)) < np.array([[0.9], [0.5]]),
                     rng.geometric(0.05, (2, of.size)).clip(1, n) - 1, -1).astype(np.int32)
    covered = (first >= 0).astype(np.float32)
    share = np.array([[c[of == name].mean() for name in layers] for c in covered])
    fields = dict(coverage=("criterion", covered.mean(1)), covered=(("criterion", "unit"), covered),
                  first=(("criterion", "unit"), first),
                  layer_coverage=(("criterion", "layer_name"), share))
    coords = dict(criterion=["nc_mean-first_0.0", "nc_mean-first_0.5"], layer=("unit", of), layer_name=layers)
    return xr.Dataset(fields, coords, provenance("neuron_coverage", n=n, model="cnn3"))


def reports():
    "Filter sweeps of three networks."
    made = {f"seed{i}": landscape(4 + i, 1, samples=60, seed=i).isel(epoch=0, drop=True) for i in range(3)}
    return {name: r.assign_attrs(r.attrs | dict(model=f"cnn{3 + i % 2}", data=("digits", "digits", "mnist")[i],
                                                seed=i)) for i, (name, r) in enumerate(made.items())}
