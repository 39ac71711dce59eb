"""The house: a module imports only lower numbers, every module has its notebook, views and scores need no torch."""
import ast
import importlib
import json
import re

import public_names
import pytest
from conftest import ROOT, api_notebooks, python


def code_cells(path):
    "The source of the code cells of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def exported_to(path):
    "The module that a notebook says it becomes."
    found = re.search(r"^#\s*\|\s*default_exp\s+(\S+)", "\n".join(code_cells(path)), re.MULTILINE)
    return found[1] if found else path.stem


PACKAGE = ROOT / "fragility_nb"
NOTEBOOKS = {exported_to(path): path for path in api_notebooks()}
NUMBERS = {module: int(path.name[:2]) for module, path in NOTEBOOKS.items()}
MODULES = {path.stem: path for path in sorted(PACKAGE.glob("[!_]*.py"))}
TORCH_FREE = ("core", "sequential", "scores", "severity", "bn_scores", "kernel_scores", "plots", "stress_plots",
              "coverage_plots", "batchnorm_plots", "kernel_plots", "retraining_plots", "explorers")
PUBLIC = """load_data create_model save_checkpoint load_checkpoint fit stress_sweep filter_sweep synaptic_scores
find_epsilon run_study""".split()


def own_imports(source, module="here"):
    "The modules of this package that a source imports, wherever in it: at the top, in a function, by import_module."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "fragility_nb" if node.level else ""
            start = ".".join(filter(None, [base, node.module]))
            found |= {start} if start != "fragility_nb" else {f"{start}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    parts = (name.split(".") for name in found)
    return {name[1] if len(name) > 1 else "" for name in parts if name[0] in ("fragility_nb", "")} - {module}


@pytest.mark.parametrize("source, expected", [
    ("from fragility_nb.core import x", {"core"}),
    ("from .core import x", {"core"}),
    ("from . import data, core", {"data", "core"}),
    ("import fragility_nb.plots as p", {"plots"}),
    ("def f():\n    from fragility_nb.engine import E", {"engine"}),
    ("import importlib\nimportlib.import_module('fragility_nb.cli')", {"cli"}),
    ("import fragility_nb", {""}),
    ("from fragility_nb import load_data", {"load_data"}),
    ("import torch, numpy as np", set()),
])
def test_imports_are_found(source, expected):
    assert own_imports(source) == expected


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_lower_numbers(module):
    for other in sorted(own_imports(MODULES[module].read_text(encoding="utf-8"), module)):
        if module == "cli" and other == "__version__": continue
        assert other in NUMBERS, f"{module} imports `{other or 'fragility_nb'}`: name the module that has it"
        assert NUMBERS[other] < NUMBERS[module], \
            f"{NUMBERS[module]:02}_{module} imports {NUMBERS[other]:02}_{other}: only lower numbers"


def test_notebooks_and_modules_belong_together():
    assert MODULES.keys() - NOTEBOOKS.keys() == set(), "modules without a notebook: remove them"
    assert NOTEBOOKS.keys() - MODULES.keys() == set(), "notebooks that were not exported: run `make export`"


@pytest.mark.parametrize("module", NOTEBOOKS)
def test_notebook_name_number_and_module_agree(module):
    path = NOTEBOOKS[module]
    assert path.stem[3:] == module
    assert sum(number == NUMBERS[module] for number in NUMBERS.values()) == 1, "two notebooks have this number"
    assert f"File to edit: ../nbs/api/{path.name}" in MODULES[module].read_text(encoding="utf-8")


def mixed(source):
    "Does this source hold imports beside other code?"
    body = ast.parse(source).body
    plain = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    code = [node for node in body if node not in plain]
    inside = any(isinstance(node, (ast.Import, ast.ImportFrom)) for part in code for node in ast.walk(part))
    return bool(plain and code), inside


@pytest.mark.parametrize("module", NOTEBOOKS)
def test_imports_have_a_cell_of_their_own(module):
    "nbdev wants it for export cells; of the others, the site's build runs those with an import, and only those."
    for source in code_cells(NOTEBOOKS[module]):
        if re.match(r"\s*%%|\s*[!%]", source) or re.search(r"^#\s*\|\s*eval:\s*false", source, re.MULTILINE): continue
        side_by_side, inside = mixed(re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE))
        exported = re.match(r"\s*#\s*\|\s*export", source)
        assert not side_by_side and (exported or not inside), \
            f"{NOTEBOOKS[module].name}: give the imports a cell of their own:\n{source[:300]}"


def exported_names(path):
    "The public names that the `#| export` cells of a notebook define."
    for source in code_cells(path):
        if not re.match(r"\s*#\s*\|\s*export\s*$", source.splitlines()[0] if source else ""): continue
        for node in ast.parse(source).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
            elif isinstance(node, ast.Assign): yield from (t.id for t in node.targets if isinstance(t, ast.Name))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name): yield node.target.id


@pytest.mark.parametrize("module", sorted(MODULES.keys() & NOTEBOOKS.keys()))
def test_all_is_what_the_notebook_exports(module):
    listed = public_names.public_names(MODULES[module])
    expected = {name for name in exported_names(NOTEBOOKS[module]) if not name.startswith("_")}
    assert set(listed) == expected
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("module", MODULES)
def test_all_names_exist(module):
    loaded = importlib.import_module(f"fragility_nb.{module}")
    assert [name for name in loaded.__all__ if not hasattr(loaded, name)] == []


def test_public_names_are_unique_and_no_module():
    owners = {}
    for module in MODULES.keys() - public_names.UNLISTED:
        for name in public_names.public_names(MODULES[module]): owners.setdefault(name, []).append(module)
    assert {name: where for name, where in owners.items() if len(where) > 1} == {}
    assert owners.keys() & MODULES.keys() == set()


def test_table_of_public_names():
    assert (PACKAGE / "__init__.py").read_text(encoding="utf-8") == public_names.updated(ROOT), "run `make export`"


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name(name):
    import fragility_nb
    assert callable(getattr(fragility_nb, name))
    assert name in dir(fragility_nb) and name in fragility_nb.__all__


def test_unknown_name():
    import fragility_nb
    with pytest.raises(AttributeError, match="has no attribute 'lod_data'"): fragility_nb.lod_data  # noqa: B018
    with pytest.raises(ImportError): from fragility_nb import lod_data  # noqa: F401


def test_version():
    import fragility_nb
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    assert fragility_nb.__version__ == re.search(r"^version = (\S+)", settings, re.MULTILINE)[1]


@pytest.mark.parametrize("module", TORCH_FREE)
def test_no_torch(module):
    heavy = ("torch", "torchvision", "captum", "timm")
    code = f"import fragility_nb.{module}, sys; print([m for m in {heavy} if m in sys.modules])"
    assert python(code) == "[]"


def test_package_does_not_need_nbdev():
    for module, path in MODULES.items():
        imported = {alias.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                    if isinstance(node, ast.Import) for alias in node.names}
        imported |= {(node.module or "").split(".")[0] for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                     if isinstance(node, ast.ImportFrom) and not node.level}
        assert imported & {"nbdev", "fastcore", "execnb"} == set(), module
