"""The notebooks in a real JupyterLab in a real browser: run all cells, no error in a cell, none in the console."""
import sys

import pytest
from lab import browser, chromium, failures, lab, put, run_all  # noqa: F401

pytestmark = pytest.mark.browser

NOTEBOOKS = ["nbs/index.ipynb", "nbs/api/core/00_checks.ipynb", "nbs/api/measure/04_scores.ipynb",
             "nbs/api/figures/01_plots.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_runs_in_jupyterlab(lab, browser, path):
    assert (lab.root / path).exists()
    notebook, complaints = run_all(lab, browser, path)
    assert failures(notebook) == []
    assert complaints == []


def test_kernel_is_that_of_the_environment(lab, browser):
    name = put(lab, "kernel.ipynb", "import sys, fragility_nb\nprint(sys.prefix, fragility_nb.__version__)")
    notebook, _ = run_all(lab, browser, name)
    assert notebook.cells[0].outputs[0].text.split()[0] == sys.prefix


def test_errors_would_be_seen(lab, browser):
    script = "from IPython.display import Javascript\nJavascript('console.error(\"seen\")')"
    name = put(lab, "error.ipynb", script, "1 + 1", "1 / 0", "2 + 2")
    notebook, complaints = run_all(lab, browser, name)
    found = failures(notebook)
    assert len(found) == 2 and "ZeroDivisionError" in found[0] and "did not run" in found[1]
    assert any("seen" in text for text in complaints)
