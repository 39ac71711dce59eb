"""`import fragility_nb` costs next to nothing, and brings no notebook machinery with it."""
import pytest
from conftest import python

HEAVY = ("jupyter_client", "jupyter_core", "jupyterlab", "nbconvert", "papermill", "ipywidgets", "ipympl", "timm")
USES = {
    "package": "import fragility_nb",
    "work": "from fragility_nb import load_data, create_model, fit, stress_sweep, filter_sweep, synaptic_scores",
    "plots": "import fragility_nb.figures.plots",
}


def test_import_adds_under_half_a_second():
    code = "import time, torch; start = time.perf_counter(); import fragility_nb; print(time.perf_counter() - start)"
    assert min(float(python(code)) for _ in range(3)) < 0.5


def test_import_loads_nothing_else():
    large = ("torch", "xarray", "numpy", "matplotlib", "IPython", "captum")
    assert python(f"import sys; import fragility_nb; print([m for m in {large} if m in sys.modules])") == "[]"


def test_the_command_line_starts_without_numpy():
    "`--help` of a command is read before anything is calculated."
    code = "import sys; from fragility_nb.cli import app; print('typer' in sys.modules, 'numpy' in sys.modules)"
    assert python(code) == "True False"


@pytest.mark.parametrize("use", USES)
def test_no_notebook_machinery(use):
    assert python(f"import sys; {USES[use]}; print([m for m in {HEAVY} if m in sys.modules])") == "[]"
