"""How long a change of a control takes until its picture is encoded. Of charts: tests/test_views_browser.py."""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/"tests"))
from explorer_results import coverage, reports  # noqa: E402

from fragility_nb.explore.runs import explore_runs
from fragility_nb.explore.coverage import explore_coverage


def moves_of(explorer, name, n):
    "Milliseconds of each of n changes of a control, by the clock and of the CPU."
    control, out = explorer.controls[name], []
    options = getattr(control, "options", None) or [0.005*i for i in range(3, 23)]
    if name == "image": options = list(range(20))
    for i in range(1, n + 1):
        option = options[i % len(options)]
        start = np.array([time.perf_counter(), time.process_time()])
        control.value = option[1] if isinstance(option, tuple) else option
        out.append(1e3*(np.array([time.perf_counter(), time.process_time()]) - start))
    return np.array(out).T


def live():
    "The explorers of a small network, on 100 digits."
    from fragility_nb import GaussianNoise, create_model, fit, kernel_dropout, load_data
    from fragility_nb import explore_batchnorm, explore_kernels, explore_stress
    model, data = create_model("cnn3"), load_data("digits").take(range(100))
    fit(model, load_data("digits", "train"), epochs=2, lr=3e-3, progress=False)
    yield "stress", explore_stress(model, data, GaussianNoise(), severity=2.5), ("image", "severity", "method")
    yield "kernels", explore_kernels(kernel_dropout(model, data, progress=False), model, data), ("kernel", "image")
    yield "batchnorm", explore_batchnorm(model, data, GaussianNoise(), severity=1.), ("layer", "severity", "mode")


def explorers():
    "Name, explorer, controls."
    yield "coverage", explore_coverage(coverage()), ("criterion", "layer")
    yield "runs", explore_runs(reports()), ("model", "x", "kind")
    yield from live()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    n, rows = 5 if parser.parse_args().quick else 30, []
    for what, explorer, controls in explorers():
        for name in controls:
            ms, cpu = moves_of(explorer, name, n)
            numbers = dict(median=np.median(ms), p95=np.quantile(ms, 0.95), cpu=np.median(cpu))
            rows.append(dict(explorer=what, control=name) | {k: round(float(v), 1) for k, v in numbers.items()})
            line = "{explorer:<16} {control:<9} median {median:6.1f} ms, 95 % {p95:6.1f} ms, CPU {cpu:6.1f} ms"
            print(line.format(**rows[-1]), flush=True)
    print(json.dumps(rows))
