"""How long a change of a control takes until its picture is encoded: 21 layers × 10 epochs, and 150 × 20."""
import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/"tests"))
from explorer_results import landscape  # noqa: E402

from fragility_nb.explorers import explore_scores  # noqa: E402


def times(layers, epochs, moves):
    "Milliseconds of each change."
    explorer, out = explore_scores(landscape(layers, epochs)), {}
    for name in ("layer", "epoch", "kind", "filter", "band"):
        control, out[name] = explorer.controls[name], []
        for i in range(1, moves + 1):
            value = 0.005*(i % 20 + 3) if name == "band" else control.options[i % len(control.options)]
            start = time.perf_counter()
            control.value = value
            out[name].append(1e3*(time.perf_counter() - start))
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    moves, rows = 5 if parser.parse_args().quick else 30, []
    for size in ((21, 10), (150, 20)):
        for name, ms in times(*size, moves).items():
            rows.append(dict(layers=size[0], epochs=size[1], control=name, median=round(float(np.median(ms)), 1), p95=round(float(np.quantile(ms, 0.95)), 1)))
            print("{layers:>4} × {epochs:<3} {control:<8} median {median:6.1f} ms, 95 % {p95:6.1f} ms".format(**rows[-1]))
    print(json.dumps(rows))
