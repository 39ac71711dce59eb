"""Export and clean leave no difference; what is stored in the notebooks is small, stable and without errors."""
import json
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, copy_sources, notebooks, run

import public_names

SIZE = 250_000  # bytes a notebook, outputs included
MACHINE = re.compile(r"/(?:root|home|Users|tmp|work)/[\w.-]+|site-packages|\bat 0x[0-9a-f]{6,}")
PROGRESS = re.compile(r"\d+%\|.*\|.*\[\d+:\d+")
ALL = notebooks()
NAMES = [path.relative_to(ROOT).as_posix() for path in ALL]


def files(root):
    "{relative path: bytes} of the notebooks and the package."
    found = (p for folder in ("nbs", "fragility_nb") for p in (root / folder).rglob("*")
             if p.suffix in (".ipynb", ".py", ".pyi") and not {"__pycache__", ".ipynb_checkpoints"} & {*p.parts})
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in found}


@pytest.fixture(scope="module")
def remade(tmp_path_factory):
    "The files of a copy of the repository after export and clean, and what these commands said."
    root, tool = copy_sources(tmp_path_factory.mktemp("clean")), Path(sys.executable).parent
    before = files(root)
    said = [run(tool / "nbdev_export", cwd=root), run(tool / "nbdev_clean", cwd=root)]
    if (root / "fragility_nb/templates").exists():
        said.append(run(tool / "nbdev_clean", "--fname", "fragility_nb/templates", cwd=root))
    public_names.update(root)
    return before, files(root), "".join(said)


def test_export_and_clean_leave_no_difference(remade):
    before, after, said = remade
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert changed == [], f"run `make export` and look at: {', '.join(changed)}"
    assert "Failed to clean" not in said


def outputs(path):
    "The outputs of a notebook as (cell id, output)."
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for out in cell.get("outputs", []): yield cell["id"], out


def text(output):
    "All text of an output."
    parts = [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k.startswith("text/"))]
    return "\n".join("".join(part) for part in parts)


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_structure(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    ids = [cell.get("id") for cell in notebook["cells"]]
    assert all(ids) and len(ids) == len(set(ids)), "each cell needs an id of its own"
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    first = "".join(notebook["cells"][0]["source"])
    title = re.match(r"(---\n.*?\n---\s*)?# [^\n]+\n+> .+", first, re.DOTALL)
    assert title or "templates" in path.parts, "start with `# Title` and `> one line of description`"


@pytest.mark.parametrize("path", ALL, ids=NAMES)
def test_stored_outputs(path):
    assert path.stat().st_size < SIZE
    for cell, out in outputs(path):
        assert out["output_type"] != "error", f"cell {cell} ended in {out.get('ename')}"
        assert out.get("name") != "stderr", f"cell {cell} stores a warning or another text of stderr: {text(out)[:200]}"
        assert not PROGRESS.search(text(out)), f"cell {cell} stores a progress bar"
        found = MACHINE.search(text(out))
        assert not found, f"cell {cell} stores `{found[0]}`, which differs between machines and runs"
