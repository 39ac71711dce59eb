"""What a user gets: the wheel holds every module and template and nothing else, and works without the work tree."""
import configparser
import re
import sys
import tarfile
import zipfile
from email import message_from_string

import pytest
import yaml
from conftest import ROOT, copy_sources, python, run
from packaging.requirements import Requirement

NAME = "fragility_nb"
SETTINGS = configparser.ConfigParser(delimiters=["="])
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = SETTINGS["DEFAULT"]
MODULES = {path.relative_to(ROOT).as_posix() for path in (ROOT / NAME).rglob("*.py*")
           if path.suffix in (".py", ".pyi") and "__pycache__" not in path.parts}
MARKERS = {path.relative_to(ROOT).as_posix() for path in (ROOT / NAME).rglob("py.typed")}
TEMPLATES = {f"{NAME}/templates/{path.name}" for path in (ROOT / NAME / "templates").glob("*.ipynb")}
TABLES = {f"{NAME}/data/{path.name}" for path in (ROOT / NAME / "data").glob("*.tsv")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "The folder with the source archive and the wheel that was built from that archive."
    root, out = copy_sources(tmp_path_factory.mktemp("source")), tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=root)
    return out


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    "A folder into which the wheel alone was installed."
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)
    return target


@pytest.fixture(scope="module")
def metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def test_wheel_content(wheel):
    with zipfile.ZipFile(wheel) as archive: names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == MODULES | MARKERS | TEMPLATES | TABLES and TABLES


def test_source_archive_holds_the_notebooks(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive: names = {n.partition("/")[2] for n in archive.getnames()}
    books = {p.relative_to(ROOT).as_posix() for p in (ROOT / "nbs").rglob("*.ipynb")
             if ".ipynb_checkpoints" not in p.parts}
    assert len(books) > 100 and books - names == set()
    assert {"CITATION.cff", "CHANGELOG.md", "_quarto.yml", "nbs/references.bib", "nbs/images/index_1.png"} <= names
    assert not [n for n in names if n.startswith(("nbs/reference/", "nbs/images/gallery", "nbs/gallery"))]


def test_page_of_the_package_index(metadata):
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert {"Documentation", "Source", "Changelog", "Issues"} <= urls.keys()
    assert all(url.startswith("https://") and SETTINGS["repo"] in url for url in urls.values())
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    text = metadata.get_payload()
    assert "pip install fragility_nb" in text and not re.search(r"\]\((?!https?://)", text)


def test_there_are_templates():
    assert TEMPLATES or f"{NAME}/run/studies.py" not in MODULES, "the studies need their notebook in templates/"


def test_wheel_metadata(metadata):
    assert (metadata["Name"], metadata["Version"]) == (NAME, SETTINGS["version"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License"] == "Apache-2.0" and metadata["Summary"]
    assert set(metadata.get_all("Provides-Extra")) == {"dev", "cluster", "attacks"}
    given = {Requirement(line).name for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert given == {Requirement(line).name for line in SETTINGS["requirements"].split()}
    assert "nbdev" not in given


def test_license_and_command_are_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert any(n.endswith("/LICENSE") for n in names)
        (entry,) = (n for n in names if n.endswith("entry_points.txt"))
        assert "fragility = fragility_nb.cli:app" in archive.read(entry).decode().replace("fragility=", "fragility = ")


def test_wheel_works_without_the_work_tree(installed):
    code = f"import {NAME}, sys; print({NAME}.__file__); print({NAME}.__version__); print(len(dir({NAME})))"
    file, version, _ = python(code, cwd=installed, PYTHONPATH=str(installed)).splitlines()
    assert file == str(installed / NAME / "__init__.py")
    assert version == SETTINGS["version"]


def test_templates_are_found_as_resources(installed):
    code = f"""
from importlib.resources import files
folder = files("{NAME}") / "templates"
print(sorted(f"{NAME}/templates/" + f.name for f in folder.iterdir()) if folder.is_dir() else [])
import {NAME}; assert {NAME}.__file__.startswith({str(installed)!r})
"""
    assert python(code, cwd=installed, PYTHONPATH=str(installed)) == str(sorted(TEMPLATES))


def test_every_requirement_can_be_read():
    for key in SETTINGS:
        if key.endswith("requirements"):
            for line in SETTINGS[key].split(): Requirement(line)


def test_precommit_has_the_same_pins():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    pins = {line for hook in hooks for line in hook.get("additional_dependencies", [])}
    assert pins and pins <= set(SETTINGS["dev_requirements"].split())


def test_nbdev_keeps_the_tags_of_papermill():
    assert "tags" in SETTINGS["allowed_cell_metadata_keys"].split()
