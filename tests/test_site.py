"""The site's settings, as far as they can be tested without Quarto."""
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, copy_sources, python

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
    return root, Path(python(PROCESS, cwd=root).splitlines()[-1])


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
