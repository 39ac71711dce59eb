"""Rules that check themselves: short cells with an example after each few, linter, types, small modules."""
import ast
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, api_notebooks, code_cells, run

pytestmark = pytest.mark.quick
TOOL = Path(sys.executable).parent
LONGEST = 500  # lines of a module


def kind(source):
    "What a code cell is: 'export', 'import', 'hidden', 'setting' or 'example'."
    lines = [line for line in source.splitlines() if line.strip()]
    directives = [line for line in lines if re.match(r"\s*#\s*\|", line)]
    body = [line for line in lines if line not in directives]
    if not body: return "setting"
    plain = re.sub(r"^\s*[%!].*$", "pass", source, flags=re.MULTILINE)
    imports = all(isinstance(n, (ast.Import, ast.ImportFrom)) for n in ast.parse(plain).body) \
        if not source.lstrip().startswith("%%") else False
    if imports: return "import"
    if any(re.match(r"\s*#\s*\|\s*exporti?\b", line) for line in directives): return "export"
    return "hidden" if any(re.match(r"\s*#\s*\|\s*hide\b", line) for line in directives) else "example"


def length(source):
    "Lines of an export cell, without directives and empty lines."
    return sum(bool(line.strip()) and not line.lstrip().startswith("#|") for line in source.splitlines())


CELLS = {path: [(kind(s), length(s)) for s in code_cells(path)] for path in api_notebooks()}
NAMES = [path.relative_to(ROOT).as_posix() for path in CELLS]


def longest_row(cells):
    "The most export cells in a row without an example between them."
    row = most = 0
    for what, _ in cells:
        if what == "export": row += 1
        elif what == "example": row = 0
        most = max(most, row)
    return most


@pytest.mark.parametrize("source, expected", [
    ("#| export\nimport a", "import"), ("#| export\ndef f(): pass", "export"), ("#| exporti\nx = 1", "export"),
    ("#| hide\nassert f()", "hidden"), ("#| hide\nimport a", "import"), ("f()", "example"), ("#| slow\nf()", "example"),
    ("#| default_exp a", "setting"), ("%matplotlib inline\nf()", "example"),
])
def test_kinds(source, expected): assert kind(source) == expected


@pytest.mark.parametrize("path", CELLS, ids=NAMES)
def test_no_export_cell_is_over_60_lines(path):
    assert max((n for what, n in CELLS[path] if what == "export"), default=0) <= 60


@pytest.mark.parametrize("path", CELLS, ids=NAMES)
def test_an_example_after_four_export_cells_at_most(path):
    assert longest_row(CELLS[path]) <= 4


def test_nine_export_cells_of_ten_have_20_lines_at_most():
    lengths = [n for cells in CELLS.values() for what, n in cells if what == "export"]
    assert sum(n <= 20 for n in lengths) >= 0.9*len(lengths)


def test_as_many_examples_as_export_cells():
    counts = [[what for what, _ in cells].count(k) for k in ("example", "export") for cells in CELLS.values()]
    examples, exports = sum(counts[:len(CELLS)]), sum(counts[len(CELLS):])
    assert examples >= exports


def test_modules_are_small():
    large = {p.relative_to(ROOT).as_posix(): n for p in (ROOT / "fragility_nb").rglob("[!_]*.py")
             if (n := len(p.read_text(encoding="utf-8").splitlines())) > LONGEST}
    assert large == {}


def test_linter(): run(TOOL / "ruff", "check", "--no-cache", ".", cwd=ROOT)


def test_types(): run(TOOL / "mypy", "--no-error-summary", cwd=ROOT)
