"""What several tests share: the repository, its copies, and the rule that CI skips no browser."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

SOURCES = ["settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "README.md", "CHANGELOG.md",
           "CONTRIBUTING.md", "_quarto.yml", "nbs", "fragility_nb"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".last_checked", "nbdev.yml", "sidebar.yml*", "runs")


def copy_sources(to):
    "A copy of what the package is made from, so that a test can export, clean or build without touching the work tree."
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir(): shutil.copytree(source, to / name, ignore=LEFT_OUT)
        else: shutil.copy2(source, to / name)
    return to


def environment(**extra):
    "The environment of a subprocess: nothing left over from nbdev's tests or from another kernel."
    env = {k: v for k, v in os.environ.items() if k not in ("IN_TEST", "PYTHONPATH", "PYTEST_CURRENT_TEST", "MPLBACKEND")}
    return {**env, **extra}


def run(*command, cwd, timeout=300, **env):
    "Run a command, fail with all that it printed, give back its standard output."
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment(**env), text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode: pytest.fail(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def python(code, cwd=ROOT, **env):
    "Run Python code in a fresh interpreter and give back what it printed."
    return run(sys.executable, "-c", code, cwd=cwd, **env).strip()


def api_notebooks():
    "The notebooks of nbs/api that become modules."
    return sorted((ROOT / "nbs" / "api").glob("[0-9][0-9]_*.ipynb"))


def notebooks():
    "Every notebook of the repository, the templates included."
    found = [*ROOT.glob("nbs/**/*.ipynb"), *ROOT.glob("fragility_nb/templates/*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def unavailable(why):
    "Skip a test that cannot run here; where CI is set, that is a failure."
    if os.environ.get("CI", "").lower() in ("", "0", "false"): pytest.skip(why)
    pytest.fail(f"{why} (CI is set, so this test must run)")
