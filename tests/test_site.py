"""The site's settings, as far as they can be tested without Quarto."""
import ast
import inspect
import json
import re
import sys
from pathlib import Path

import fragility_nb
import fragility_nb.cli
import pytest
import site_renderer
import yaml
from conftest import ROOT, copy_sources, run

PROCESS = """
from nbdev.config import get_config
from nbdev.quarto import nbdev_sidebar, refresh_quarto_yml
from nbdev.serve import proc_nbs
if __name__ == "__main__":
    refresh_quarto_yml(); nbdev_sidebar.__wrapped__(); print(proc_nbs(get_config().nbs_path, n_workers=0))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "A copy of the repository after the first steps of the docs build, and nbdev's processed folder in it."
    root = copy_sources(tmp_path_factory.mktemp("site"))
    printed = run(sys.executable, "-c", PROCESS, cwd=root, timeout=900, PYTHONPATH=str(ROOT/"tools"))
    return root, Path(printed.strip().splitlines()[-1])


def merged(*documents):
    "Quarto's merge of metadata files: mappings are merged, anything else is replaced."
    result = {}
    for document in documents:
        for key, value in document.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def test_metadata_files_are_read_from_the_processed_folder(site):
    root, processed = site
    assert processed.parent == root
    project = yaml.safe_load((processed / "_quarto.yml").read_text(encoding="utf-8"))
    assert project["metadata-files"] == ["../_quarto.yml", "nbdev.yml", "sidebar.yml"]
    assert (processed / project["metadata-files"][0]).resolve() == root / "_quarto.yml"
    for name in project["metadata-files"]: assert (processed / name).exists(), name


def test_settings(site):
    _, processed = site
    names = ("_quarto.yml", "../_quarto.yml", "nbdev.yml", "sidebar.yml")
    settings = merged(*(yaml.safe_load((processed / name).read_text(encoding="utf-8")) for name in names))
    assert settings["project"] == {"type": "website", "output-dir": "_docs"}
    assert settings["format"]["html"]["keep-md"] is True and settings["format"]["commonmark"] == "default"
    assert (processed / settings["format"]["html"]["css"]).exists()
    assert settings["website"]["title"] == "fragility_nb"
    assert settings["website"]["sidebar"]["contents"]


def test_every_notebook_is_processed(site):
    root, processed = site
    expected = {p.relative_to(root / "nbs") for p in (root / "nbs").rglob("*.ipynb")}
    assert {p.relative_to(processed) for p in processed.rglob("*.ipynb")} == expected


def test_no_render_list():
    assert "render" not in yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8")).get("project", {})


def prose(path):
    "A notebook's lines of prose without the links that the site adds; title and description are YAML there."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    front = [yaml.safe_load("".join(c["source"]).strip().strip("-")) for c in cells if c["cell_type"] == "raw"]
    text = "\n".join(["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
                     + [str(value) for part in front if isinstance(part, dict) for value in part.values()])
    return [line.strip() for line in re.sub(r"\[(`[^`]+`)\]\([^)]*\)", r"\1", text).splitlines() if line.strip()]


def test_no_line_of_prose_is_lost(site):
    "nbdev drops what stands after title and description in a notebook's first cell."
    root, processed = site
    lost = {}
    for path in sorted(processed.rglob("*.ipynb")):
        kept, own = "\n".join(prose(path)), prose(root / "nbs" / path.relative_to(processed))
        lost[path.name] = [line for line in own if line.removeprefix("> ").lstrip("# ") not in kept]
    assert {name: lines for name, lines in lost.items() if lines} == {}


PUBLIC = [(name, getattr(fragility_nb, name)) for name in fragility_nb.__all__]


@pytest.mark.parametrize("name, thing", PUBLIC, ids=[name for name, _ in PUBLIC])
def test_signatures_can_be_called_as_they_are_shown(name, thing):
    "A `*` before what goes by keyword only, each parameter with its default and its row, no link inside code."
    shown = site_renderer.SiteRenderer(thing)._repr_markdown_()
    code = shown.partition("```python\n")[2].partition("\n```")[0]
    assert max(map(len, code.splitlines())) <= site_renderer.WIDTH and "](" not in code
    parameters = inspect.signature(thing).parameters.values()
    made = ast.parse(f"def {code.replace(name, 'f', 1)}: pass").body[0].args
    assert {a.arg for a in made.kwonlyargs} == {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert [a.arg for a in (*made.posonlyargs, *made.args)] == [p.name for p in parameters if p.kind in (
        p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    for p in parameters: assert re.search(rf"^\| `\**{p.name}` \|", shown, re.MULTILINE), p.name
    assert len({line.count(" | ") for line in shown.splitlines() if line.startswith("| `")}) <= 1


def test_a_command_is_shown_as_its_help():
    shown = site_renderer.SiteRenderer(fragility_nb.cli.train)._repr_markdown_()
    assert "--epochs" in shown and "Annotated" not in shown and "[default: 20]" in shown
