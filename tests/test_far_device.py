"""Public functions that take `device`, on a second device: the CPU's numbers, nothing mixed, nothing to and fro."""
import importlib
import inspect
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import far_calls
import pytest
from conftest import ROOT

# Not a calculation on images, or one that only hands its `device` to others.
OTHERS = {"pick_device", "CounterStreams", "EditEngine", "evaluating", "question_of", "run_demo", "run_model"}
# Thresholds are found on the CPU, so each layer's weights are fetched, and its filtered ones sent, once for each scope.
# A comparison of trainings keeps its networks on the CPU.
WEIGHTS = {tuple(value.shape) for value in far_calls.net().state_dict().values()}
OFTEN = {"compare_retraining": 30}
# Attacked images are kept on the CPU, where all of a large set have room; the network that answers gets them again.
IMAGES = ("stress_sweep", "filter_sweep", "check_attack", "find_epsilon", "adversarial_targeting", "compare_retraining")


def takes_device():
    "Names of all public functions with a parameter `device`."
    found = set()
    for package in ("core", "data", "engine", "measure", "models", "probes", "run", "stress"):
        module = importlib.import_module(f"fragility_nb.{package}")
        for name in module.__all__:
            thing = getattr(module, name)
            is_error = isinstance(thing, type) and issubclass(thing, Exception)
            if callable(thing) and not is_error and "device" in inspect.signature(thing).parameters: found.add(name)
    return found


def test_every_function_that_takes_a_device_is_tried():
    assert takes_device() - OTHERS == {name.split()[0] for name in far_calls.CALLS}


@pytest.fixture(scope="module")
def outcomes():
    "What came of all calls, by name."
    done = subprocess.run([sys.executable, Path(__file__).with_name("far_calls.py")], capture_output=True, text=True,
                          cwd=ROOT, check=True)
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", far_calls.CALLS)
def test_a_second_device_gives_the_same_numbers(outcomes, name):
    assert "error" not in outcomes[name], outcomes[name]["error"]
    assert outcomes[name]["same"]


@pytest.mark.parametrize("name", far_calls.CALLS)
def test_nothing_is_fetched_and_sent_again(outcomes, name):
    kept = [tuple(shape) for shape in outcomes[name].get("back", [])]
    back = Counter(shape for shape in kept if len(shape) < 4 or shape[2] != 8 or name.split()[0] not in IMAGES)
    often = {shape: n for shape, n in back.items() if n > OFTEN.get(name, 2) or n > 1 and shape not in WEIGHTS}
    assert often == {}


@pytest.mark.parametrize("code, message", [
    ("x + torch.ones(3)", "same device"), ("torch.ones(3)[x.long()]", "indices"), ("x.numpy()", "numpy"),
    ("torch.stack([x, torch.ones(3)])", "same device"), ("x.index_add(0, torch.tensor([1]), x[:1])", "same device"),
])
def test_it_refuses_what_a_gpu_refuses(code, message):
    program = f"""
import torch
from far_device import far_device
with far_device():
    x = torch.zeros(3, device="far")
    {code}"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT/"tests")
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_it_counts_what_crosses():
    program = """
import torch
from far_device import far_device
with far_device() as crossings:
    x = torch.arange(3.).to("far")  # sent
    there = torch.zeros(3, device="far")  # made there
    here = (x + there).cpu()  # fetched
    y = (2*here).to("far")  # sent, made of what was fetched
    x.sum().item()  # a number
print(crossings.there, crossings.here, crossings.back, y.near.tolist())"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT/"tests", check=True)
    assert done.stdout.strip() == "2 1 [(3,)] [0.0, 2.0, 4.0]"
