"The benchmark for graphics cards, as far as a machine without one can tell: its figures, its JSON, one clear sentence."
import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, environment
from torch.utils.flop_counter import FlopCounterMode

from fragility_nb.models.activations import find_layers
from fragility_nb.models.create import create_model

SCRIPT = ROOT / "benchmarks" / "gpu.py"


def called(*args):
    return subprocess.run([sys.executable, SCRIPT, *args], capture_output=True, text=True, env=environment())


@pytest.fixture(scope="module")
def gpu():
    spec = importlib.util.spec_from_file_location("gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_a_card_it_says_so():
    if torch.cuda.is_available(): pytest.skip("there is one")
    done = called()
    assert done.returncode == 2 and done.stderr.startswith("PyTorch finds no CUDA card") and not done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_its_json_and_table(tmp_path):
    file = tmp_path / "new" / "gpu.json"
    done = called("--device", "cpu", "--quick", "--only", "attacks", "analysis", "training", "--json", file)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert set(result) == {"machine", "quick", "peak", "rows"} and result["quick"]
    names = {"attacks, FGSM", "attacks, PGD", "analysis, fixed", "analysis, adaptive", "training"}
    assert set(result["rows"]) == names and all(f"{name}   " in done.stdout for name in names)
    assert "none: these figures are of the processor" in done.stdout
    for row in result["rows"].values():
        assert row["flop_per_s"] == pytest.approx(row["flop"] / row["seconds"])
        assert row["share"] == pytest.approx(row["flop_per_s"] / result["peak"]["float32"])
    assert {row.get("bar") for row in result["rows"].values()} == {None, 60, 240, 120}


def test_a_benchmark_that_fails_is_told(gpu):
    row = gpu.beside("filter_sweep.py", ["--networks", "none"], "--json")
    assert "invalid choice" in row["failed"][0]
    result = dict(machine={}, peak=dict(float32=1e12), rows=dict(filter_sweep=row))
    assert "FAILED" in gpu.table(result)


def test_flop_of_layers_and_of_an_analysis(gpu):
    model = create_model("resnet18", 10, 3, 32, stem="cifar")
    flop = gpu.layer_flop(model)
    with FlopCounterMode(display=False) as counter, torch.no_grad(): model(torch.rand(1, 3, 32, 32))
    assert len(flop) == len(find_layers(model)) == 21 and sum(flop) == counter.get_total_flops()
    assert flop[0] == 2 * 32 * 32 * 64 * 27 and flop[-1] == 2 * 512 * 10  # 3×3 on colours; the classifier
    once, twice = (gpu.analysis_flop([4, 2, 1], [1], 5, 10, adaptive) for adaptive in (False, True))
    assert once == 2 * (3 + 7) * 50 and twice == (3 + (3 + 4 + 7) + 7 + (7 + 0 + 7)) * 50


def test_the_analysis_on_another_device():
    "The code that a card would run, on the pretended device of the tests: in a process of its own."
    code = f"""
import sys, warnings
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(SCRIPT.parent)!r}]
warnings.simplefilter("ignore")
import gpu
from far_device import far_device
with far_device():
    rows = gpu.analysis("far", gpu.SMALL | dict(images=4)) | gpu.attacks("far", gpu.SMALL | dict(images=4))
print(len(rows))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    assert done.stdout.strip() == "4", done.stderr
