"`f?`, Shift+Tab and `help(f)` show each parameter with its comment, what is returned, the errors, the notebook."
import copy
import functools
import importlib
import inspect
import pickle
import pydoc

import public_names
import pytest
from conftest import NO_TORCH, ROOT, python, run

from fragility_nb.core.docments import help_text, parts_of
from fragility_nb.core.lazy_help import LazyHelp
from fragility_nb.measure.sweeps import filter_sweep

pytestmark = pytest.mark.quick
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts)
           for path in sorted((ROOT / "fragility_nb").rglob("[!_]*.py")) if "cli" not in path.parts]


def documented():
    "Every public function and class with its full name; commands explain themselves by `--help`."
    for name in MODULES:
        module = importlib.import_module(name)
        for public in public_names.public_names(ROOT / f"{name.replace('.', '/')}.py"):
            thing = getattr(module, public)
            if inspect.isroutine(thing) or inspect.isclass(thing): yield f"{name}.{public}", thing


PUBLIC = dict(documented())
PARTS = functools.cache(parts_of)


def words(text): return " ".join(text.split())


@pytest.mark.parametrize("name", PUBLIC)
def test_help_shows_every_comment(name):
    thing = PUBLIC[name]
    *parts, returned = PARTS(thing)
    shown = words(pydoc.getdoc(thing))
    if not any(part.comment for part in [*parts, returned]): return
    for part in parts: assert part.name in shown and words(part.comment) in shown, part.name
    assert words(returned.comment) in shown


@pytest.mark.parametrize("name", PUBLIC)
def test_signature_is_what_it_was(name):
    thing = PUBLIC[name]
    *parts, _ = PARTS(thing)
    if not parts: return
    known = inspect.signature(thing).parameters
    assert {part.name.lstrip("*") for part in parts} <= known.keys()


def test_every_function_has_the_help_of_its_comments():
    assert [name for name, thing in PUBLIC.items() if not isinstance(thing.__doc__, LazyHelp)] == []


def unexplained(thing):
    "The parameters without a comment."
    return [part.name for part in PARTS(thing)[:-1] if not part.comment and not part.name.startswith("_")]


def test_every_parameter_of_a_function_has_a_comment():
    lacking = {name: unexplained(thing) for name, thing in PUBLIC.items() if inspect.isroutine(thing)}
    assert {name: parts for name, parts in lacking.items() if parts} == {}


def test_filter_sweep():
    shown = inspect.getdoc(filter_sweep)
    assert words(shown) in words(pydoc.plain(pydoc.render_doc(filter_sweep)))
    for text in ("Parameters:", "thresholds", "(default 25)", "Returns:", "reference_accuracy", "Errors:", "ValueError",
                 "AIJ §4.1", "Explained in nbs/api/measure/02_sweeps.ipynb"):
        assert text in shown
    assert max(map(len, shown.splitlines()[1:])) <= 88
    assert str(inspect.signature(filter_sweep)).startswith("(model:")


def test_question_mark_in_a_kernel():
    "What Jupyter shows for `filter_sweep?` and Shift+Tab, by a real kernel."
    from jupyter_client.manager import start_new_kernel
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive("from fragility_nb.measure.sweeps import filter_sweep", timeout=120)
        client.inspect("filter_sweep", 12, 0)
        reply = client.get_shell_msg(timeout=60)
        while reply["msg_type"] != "inspect_reply": reply = client.get_shell_msg(timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    shown = words(reply["content"]["data"]["text/plain"])
    for part in parts_of(filter_sweep): assert words(part.comment) in shown, part.name


def test_a_class_shows_its_fields_or_its_init():
    from fragility_nb.core.results import PartStore
    from fragility_nb.data.images import ImageData
    assert "names of the K classes" in inspect.getdoc(ImageData) and '(default "data")' in inspect.getdoc(ImageData)
    assert "where to keep parts" in inspect.getdoc(PartStore) and "computes the part" in inspect.getdoc(PartStore.get)


def test_the_docstring_behaves_like_a_string():
    doc = filter_sweep.__doc__
    whole = help_text(filter_sweep)
    assert isinstance(doc, str) and str(doc) == f"{doc}" == whole == doc and doc.split() == whole.split()
    assert len(doc) == len(whole) and "thresholds" in doc and doc.find("thresholds") > 0 and doc + "" == whole
    for copied in (copy.copy(doc), copy.deepcopy(doc), pickle.loads(pickle.dumps(doc))):
        assert type(copied) is str and copied == whole


def test_pickling_copying_and_wrapping_a_function():
    assert pickle.loads(pickle.dumps(filter_sweep)) is copy.deepcopy(filter_sweep) is filter_sweep
    @functools.wraps(filter_sweep)
    def wrapped(*args): return filter_sweep(*args)
    assert inspect.getdoc(wrapped) == inspect.getdoc(filter_sweep)


@pytest.mark.parametrize("how", ["import fragility_nb; f = fragility_nb.check_number",
                                 "from fragility_nb.core import check_number as f",
                                 "from fragility_nb.core.checks import check_number as f",
                                 "import fragility_nb.core.checks as m, importlib; f = "
                                 "importlib.reload(m).check_number"])
def test_however_it_is_imported(how):
    assert "open lower bound" in python(f"{NO_TORCH}\n{how}\nimport inspect; print(inspect.getdoc(f))")


def test_without_docstrings():
    import sys
    code = ("from fragility_nb import check_number; import pydoc; print(check_number.__doc__, "
            "pydoc.render_doc(check_number))")
    assert run(sys.executable, "-OO", "-c", f"{NO_TORCH}\n{code}", cwd=ROOT).startswith("None Python Library")


def test_import_reads_no_source():
    names = "fragility_nb.core.docments", "torch"
    code = f"import sys, fragility_nb.core.checks; print([m for m in {names} if m in sys.modules])"
    assert python(code) == "[]"


def test_a_command_keeps_its_docstring():
    from fragility_nb.cli import demo
    assert "Parameters:" not in inspect.getdoc(demo) and "digits" in inspect.getdoc(demo)
