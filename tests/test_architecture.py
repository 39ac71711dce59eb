"""The house: modules import only lower floors, every module has its notebook, views and scores need no torch."""
import ast
import importlib
import re

import public_names
import pytest
from conftest import ROOT, api_notebooks, code_cells, python

PACKAGE = ROOT / "fragility_nb"
API = ROOT / "nbs" / "api"
FLOORS = ("core", "data", "models", "stress", "engine", "measure", "figures", "probes", "explore", "run", "cli")
TORCH_FREE = ("core.checks", "core.identity", "core.results", "core.docments", "core.lazy_help", "core.options",
              "stress.path", "measure.sequential", "measure.simultaneous", "measure.scores", "measure.severity",
              "measure.mce", "measure.differences", "measure.fractions",
              "probes.batchnorm.scores", "probes.kernels.scores", "figures.style", "figures.plots", "figures.stress",
              "figures.comparison",
              "probes.coverage.plots", "probes.batchnorm.plots", "probes.kernels.plots", "probes.retraining.plots",
              "explore.base", "explore.scores", "explore.coverage", "explore.runs", "run.report", "run.probe_words",
              "run.comparison", "run.card", "run.gate", "run.pictures")
PUBLIC = """load_data create_model save_checkpoint load_checkpoint fit stress_sweep filter_sweep synaptic_scores
find_epsilon run_study""".split()

pytestmark = pytest.mark.quick


def exported_to(path):
    "The module that a notebook says it becomes."
    found = re.search(r"^#\s*\|\s*default_exp\s+(\S+)", "\n".join(code_cells(path)), re.MULTILINE)
    return found[1] if found else path.stem


def dotted(path): return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


NOTEBOOKS = {exported_to(path): path for path in api_notebooks()}
MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("[!_]*.py"))}


def place(module):
    "Where a module stands: its floor, its folder, its number there."
    folder, _, name = module.rpartition(".")
    return FLOORS.index(module.split(".")[0]), folder, int(NOTEBOOKS[module].name[:2])


def lower(other, module):
    "Whether `module` may import `other`."
    (floor, folder, number), (mine, here, at) = place(other), place(module)
    return floor < mine or (folder == here and number < at) or (folder, here) in RAISED


# Sub-folders of the probes stand side by side; these may look at the ones named first.
RAISED = {("probes.batchnorm", "probes.coverage")}


def own_imports(source, module="here"):
    "The modules of this package that a source imports, wherever in it: at the top, in a function, by import_module."
    package, found = ["fragility_nb", *module.split(".")[:-1]], set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[:len(package) - node.level + 1] if node.level else []
            start = ".".join(filter(None, [*base, node.module]))
            whole = start not in {f"fragility_nb.{m}" for m in MODULES} and start.split(".")[0] == "fragility_nb"
            found |= {f"{start}.{alias.name}" for alias in node.names} if whole else {start}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)}
    return {name.removeprefix("fragility_nb").removeprefix(".") for name in found
            if name.split(".")[0] == "fragility_nb"} - {module}


@pytest.mark.parametrize("source, module, expected", [
    ("from fragility_nb.core.checks import x", "cli", {"core.checks"}),
    ("from .checks import x", "core.results", {"core.checks"}),
    ("from ..core.checks import x", "data.sets", {"core.checks"}),
    ("from ...core.checks import x", "probes.kernels.probe", {"core.checks"}),
    ("from . import scores, plots", "probes.kernels.probe", {"probes.kernels.scores", "probes.kernels.plots"}),
    ("import fragility_nb.figures.plots as p", "cli", {"figures.plots"}),
    ("def f():\n    from ..engine.engine import E", "measure.sweeps", {"engine.engine"}),
    ("import importlib\nimportlib.import_module('fragility_nb.cli')", "run.grid", {"cli"}),
    ("import fragility_nb", "cli", {""}),
    ("from fragility_nb import load_data", "cli", {"load_data"}),
    ("import torch, numpy as np", "cli", set()),
])
def test_imports_are_found(source, module, expected):
    assert own_imports(source, module) == expected


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_lower_floors(module):
    for other in sorted(own_imports(MODULES[module].read_text(encoding="utf-8"), module)):
        assert other in NOTEBOOKS, f"{module} imports `{other or 'fragility_nb'}`: name the module that has it"
        assert lower(other, module), f"{module} imports {other}: only lower floors, or lower numbers of its own folder"


def test_notebooks_and_modules_belong_together():
    assert MODULES.keys() - NOTEBOOKS.keys() == set(), "modules without a notebook: remove them"
    assert NOTEBOOKS.keys() - MODULES.keys() == set(), "notebooks that were not exported: run `make export`"


@pytest.mark.parametrize("module", NOTEBOOKS)
def test_notebook_name_number_and_module_agree(module):
    path = NOTEBOOKS[module]
    assert ".".join([*path.relative_to(API).parts[:-1], path.stem[3:]]) == module
    assert sum(place(m)[1:] == place(module)[1:] for m in NOTEBOOKS) == 1, "two notebooks have this number"
    assert f"nbs/api/{path.relative_to(API).as_posix()}" in MODULES[module].read_text(encoding="utf-8")


def test_every_folder_has_its_floor():
    assert {module.split(".")[0] for module in MODULES} == set(FLOORS)
    assert {".".join(path.parent.relative_to(PACKAGE).parts) for path in MODULES.values()} - {""} \
        == set(public_names.DOCS) - {"probes"}, "name each sub-package in tools/public_names.py"


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


def test_public_names_are_unique():
    "Neither twice, nor different by case only, nor the name of a module beside them."
    owners = {}
    for module in {m for m in MODULES if not m.startswith("cli.")}:
        for name in public_names.public_names(MODULES[module]): owners.setdefault(name, []).append(module)
    assert {name: where for name, where in owners.items() if len(where) > 1} == {}
    folded = [name.lower() for name in owners]
    assert sorted(name for name in owners if folded.count(name.lower()) > 1) == []
    for name, (where,) in owners.items():
        assert f"{where.rpartition('.')[0]}.{name}" not in MODULES, f"{where}.{name} has the name of a module"


def test_sub_packages_list_their_public_names():
    assert [path.relative_to(ROOT).as_posix() for path in public_names.update(ROOT, check=True)] == [], \
        "run `make export`"


@pytest.mark.parametrize("package", public_names.DOCS)
def test_sub_package_gives_its_names(package):
    loaded = importlib.import_module(f"fragility_nb.{package}")
    names = {name for module in MODULES if module.startswith(f"{package}.")
             for name in public_names.public_names(MODULES[module])}
    assert names <= set(loaded.__all__) and loaded.__doc__ == public_names.DOCS[package]
    for name in names: assert getattr(loaded, name) is not None


def test_no_private_name_crosses_a_module():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("fragility_nb")):
                crossing = [a.name for a in node.names if a.name.startswith("_") and not a.name.startswith("__")]
                assert crossing == [], f"{module} imports {crossing} from {node.module}: export them with `#| exporti`"


def test_front_door_is_small():
    import fragility_nb
    assert len(fragility_nb.__all__) <= 120
    folded = [name.lower() for name in fragility_nb.__all__]
    assert len(folded) == len(set(folded))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name(name):
    import fragility_nb
    assert callable(getattr(fragility_nb, name))
    assert name in dir(fragility_nb) and name in fragility_nb.__all__


def test_former_public_names_still_resolve():
    "What 0.1.0 listed at the top is found there today, outside `__all__`, under its old name."
    import fragility_nb
    former = (ROOT / "tests" / "names_0_1_0.txt").read_text(encoding="utf-8").split()
    assert len(former) == 397
    assert [name for name in former if getattr(fragility_nb, name, None) is None] == []


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
