"A filter sweep with a random control whose answers are drawn at random."
import numpy as np
import xarray as xr

from fragility_nb.core.results import provenance
from fragility_nb.stress.path import control_steps


def fake_sweep(n=80, A=9, r=3, nodes=4, layers=2, seed=0, ref=(0.9, 0.5)):
    "A sweep with control whose answers are drawn at random."
    rng = np.random.default_rng(seed)
    removed = np.sort(rng.integers(0, 100, (layers, 2, A)), -1)
    right = rng.random((2, n)) < np.array(ref)[:, None]
    kept = 1 - removed/100
    correct = (rng.random((2, layers, 2, A, n)) < kept[None, ..., None]) & right[:, None, None, None]
    steps = np.stack([[control_steps(removed[i, f], 100, nodes) for f in range(2)] for i in range(layers)])
    at = np.take_along_axis(kept, steps, -1)
    control = (rng.random((2, layers, 2, nodes, r, n)) < at[None, ..., None, None]) & right[:, None, None, None, None]
    dims = ("stress", "layer", "filter", "threshold", "sample")
    other = ("stress", "layer", "filter", "node", "draw", "sample")
    return xr.Dataset(dict(correct=(dims, correct), accuracy=(dims[:-1], correct.mean(-1)),
                           removed=(dims[1:4], removed), weights=("layer", [100]*layers),
                           reference_correct=(("stress", "sample"), right),
                           reference_accuracy=("stress", right.mean(-1)), control_correct=(other, control),
                           control_accuracy=(other[:-1], control.mean(-1)), control_step=(other[1:4], steps)),
                      dict(stress=["clean", "adversarial"], layer=[f"conv{i}" for i in range(layers)],
                           filter=["high_pass", "pulse"], threshold=np.linspace(0, 1, A)),
                      provenance("filter_sweep", num_classes=10))
