"""What several tests share: the repository, its copies, and the rule that CI skips no browser."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

SOURCES = ["settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md",
           "CONTRIBUTING.md", "CITATION.cff", "_quarto.yml", "nbs", "fragility_nb"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".last_checked", "nbdev.yml", "sidebar.yml*",
                                  "runs")
FOREIGN = ("IN_TEST", "PYTHONPATH", "PYTEST_CURRENT_TEST", "MPLBACKEND")


def copy_sources(to):
    "A copy of what the package is made from, so that a test can export, clean or build without touching the work tree."
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir(): shutil.copytree(source, to / name, ignore=LEFT_OUT)
        else: shutil.copy2(source, to / name)
    return to


def environment(**extra):
    "The environment of a subprocess: nothing left over from nbdev's tests or from another kernel."
    return {**{k: v for k, v in os.environ.items() if k not in FOREIGN}, **extra}


def run(*command, cwd, timeout=300, **env):
    "Run a command, fail with all that it printed, give back its standard output."
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment(**env), text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def python(code, cwd=ROOT, **env):
    "Run Python code in a fresh interpreter and give back what it printed."
    return run(sys.executable, "-c", code, cwd=cwd, **env).strip()


NO_TORCH = """
import sys
class NoTorch:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "torch": raise ImportError("torch is not to be imported here")
sys.meta_path.insert(0, NoTorch())
"""  # in front of code that shall run as on a machine without torch


def api_notebooks():
    "The notebooks of nbs/api that become modules."
    return sorted(p for p in (ROOT / "nbs" / "api").rglob("[0-9][0-9]_*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def code_cells(path):
    "The source of the code cells of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def notebooks():
    "Every notebook of the repository, the templates included."
    found = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("fragility_nb/templates/*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def unavailable(why):
    "Skip a test that cannot run here; where CI is set, that is a failure."
    if os.environ.get("CI", "").lower() in ("", "0", "false"): pytest.skip(why)
    pytest.fail(f"{why} (CI is set, so this test must run)")


LONG = ("lab", "explorers_lab", "grid", "templates", "demo", "training", "engine", "cluster", "retraining",
        "stressors", "site")


def pytest_collection_modifyitems(items):
    "The files that take longest come first, so that none of them is left to run alone at the end."
    places = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONG)))


@pytest.fixture(scope="session")
def digits():
    "The built-in test digits."
    from fragility_nb.data.sets import load_data
    return load_data("digits")


@pytest.fixture(scope="session")
def trained():
    "A small network that has learned the digits."
    from fragility_nb.data.sets import load_data
    from fragility_nb.models.create import create_model
    from fragility_nb.models.training import fit
    model = create_model("cnn4")
    fit(model, load_data("digits", "train"), epochs=6, lr=3e-3, batch_size=50, device="cpu", progress=False)
    return model


@pytest.fixture(scope="session")
def stress_result(trained, digits):
    "A stress sweep of it, with two seeds."
    from fragility_nb.stress.attacks import FGSM
    from fragility_nb.stress.stressors import GaussianBlur, GaussianNoise, Rotation
    from fragility_nb.measure.sweeps import stress_sweep
    return stress_sweep(trained, digits, [GaussianNoise(), GaussianBlur(), Rotation(), FGSM(0.03)], (0, 1, 3),
                        seeds=(0, 1), device="cpu", progress=False)
