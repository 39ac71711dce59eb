#!/usr/bin/env python
"""Make README.md from nbs/index.ipynb and the outputs stored in it; nothing is executed.

`python tools/readme.py` writes README.md and its figures (nbs/images/index_*); with `--check` it only says whether
they are up to date. The same notebook always gives the same bytes, with Quarto installed or not.
"""
import difflib
import posixpath
import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK, README, IMAGES = "nbs/index.ipynb", "README.md", "nbs/images"
REPOSITORY = "fragility-nb/fragility_nb"
PAGES = f"https://github.com/{REPOSITORY}/blob/main"
FILES = f"https://raw.githubusercontent.com/{REPOSITORY}/main"
HEADER = "<!-- Made from nbs/index.ipynb by `make readme`: edit the notebook, not this file. -->\n\n"
CONFIG = Config()
CONFIG.NbConvertBase.display_data_priority = ["text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(?P<key>[\w-]+)\s*:?\s*(?P<value>.*?)\s*$")
LINK = re.compile(r"""(?P<before>\]\(|\bsrc=["'])(?P<target>[^)\s"']+)""")
FIGURE = re.compile(r"!\[(?:png|jpeg|svg)\]\((?P<name>figure_[^)]+)\)")


def directives(cell):
    "The `#| key: value` lines of a code cell."
    found = (DIRECTIVE.match(line) for line in cell.source.splitlines())
    return {m["key"]: m["value"].strip("\"'") for m in found if m}


def is_hidden(cell):
    options = directives(cell) if cell.cell_type == "code" else {}
    return "hide" in options or options.get("include") == "false" or "default_exp" in options


def from_root(target):
    "A link of the notebook, seen from anywhere: README.md is the page on PyPI, too."
    if re.match(r"[a-z][a-z0-9+.-]*:|[#/]", target, re.IGNORECASE): return target
    return f"{PAGES}/{posixpath.normpath(posixpath.join(posixpath.dirname(NOTEBOOK), target))}"


def prepare(cell):
    "Apply the directives that the site knows too, then drop them."
    if cell.cell_type != "code":
        cell.source = LINK.sub(lambda m: m["before"] + from_root(m["target"]), cell.source)
        return cell
    options = directives(cell)
    if options.get("output") == "false" or "hide_output" in options: cell.outputs = []
    cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    for out in cell.outputs: out.get("data", {}).pop("text/html", None)
    lines = [line for line in cell.source.splitlines() if not DIRECTIVE.match(line)]
    silent = options.get("echo") == "false" or "hide_input" in options
    cell.source = "" if silent else "\n".join(lines).strip("\n")
    return cell


def alternatives(notebook):
    "One alternative text for each figure, in their order: the `fig-alt` or `fig-cap` of the cell."
    for cell in notebook.cells:
        if cell.cell_type != "code" or is_hidden(cell): continue
        options = directives(cell)
        for out in cell.outputs:
            if any(key.startswith("image/") for key in out.get("data", {})):
                yield options.get("fig-alt") or options.get("fig-cap") or "Figure"


def render(root=ROOT):
    "The text of README.md and its figures as {path: bytes}."
    notebook = nbformat.read(root / NOTEBOOK, as_version=4)
    texts = list(alternatives(notebook))  # before the directives go
    notebook.cells = [prepare(cell) for cell in notebook.cells if not is_hidden(cell)]
    notebook.metadata["language_info"] = {"name": "python"}  # nbdev_clean drops it; the fences need it
    exporter = MarkdownExporter(config=CONFIG)
    resources = {"unique_key": "figure", "output_files_dir": ""}
    body, resources = exporter.from_notebook_node(notebook, resources=resources)
    figures, stem = {}, Path(NOTEBOOK).stem

    def place(match):
        path = f"{IMAGES}/{stem}_{len(figures) + 1}{Path(match['name']).suffix}"
        figures[path] = resources["outputs"][match["name"]]
        return f"![{texts[len(figures) - 1]}]({FILES}/{path})"

    body = FIGURE.sub(place, body)
    body = "\n".join(line.rstrip() for line in body.splitlines())
    body = re.sub(r"```python\n\s*```\n", "", body)
    return HEADER + re.sub(r"\n{3,}", "\n\n", body).strip() + "\n", figures


def stale(root, figures):
    "Figures that README.md no longer shows."
    there = (path.relative_to(root).as_posix() for path in (root / IMAGES).glob(f"{Path(NOTEBOOK).stem}_*"))
    return sorted(set(there) - set(figures))


def differences(root=ROOT):
    "What is not up to date, as text; empty if all is."
    text, figures = render(root)
    there = (root / README).read_text(encoding="utf-8") if (root / README).exists() else ""
    diff = list(difflib.unified_diff(there.splitlines(), text.splitlines(), README, NOTEBOOK, lineterm="", n=1))
    changed = [path for path, data in figures.items()
               if not (root / path).exists() or (root / path).read_bytes() != data]
    left = [f"stale figure: {path}" for path in stale(root, figures)]
    return "\n".join(diff + [f"figure differs: {path}" for path in changed] + left)


def write(root=ROOT):
    text, figures = render(root)
    for path in stale(root, figures): (root / path).unlink()
    for path, data in figures.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / README).write_text(text, encoding="utf-8")


def main(check):
    if not check: return write()
    found = differences()
    if found: sys.exit(f"{found}\nREADME.md and nbs/index.ipynb differ: run `make readme`.")


if __name__ == "__main__": main("--check" in sys.argv[1:])
