"""The site's settings, as far as they can be tested without Quarto."""
import ast
import builtins
import inspect
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import fragility_nb
import fragility_nb.cli
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import release
import site_files
import site_pages
import site_renderer
import yaml
from conftest import ROOT, copy_sources, notebooks, run
from execnb.nbio import dict2nb
from fragility_nb.figures.style import faithful_png
from PIL import Image

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
    site_files.write(root)
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
    assert project["metadata-files"] == ["../_quarto.yml", "nbdev.yml"]
    assert (processed / project["bibliography"]).exists()
    assert (processed / project["metadata-files"][0]).resolve() == root / "_quarto.yml"
    for name in project["metadata-files"]: assert (processed / name).exists(), name


def test_settings(site):
    _, processed = site
    names = ("_quarto.yml", "../_quarto.yml", "nbdev.yml")
    settings = merged(*(yaml.safe_load((processed / name).read_text(encoding="utf-8")) for name in names))
    assert settings["project"]["type"] == "website" and settings["project"]["output-dir"] == "_docs"
    assert settings["format"]["html"]["keep-md"] is True and settings["format"]["commonmark"] == "default"
    assert (processed / settings["format"]["html"]["css"]).exists()
    assert settings["website"]["title"] == "fragility_nb"
    for name in ("favicon", "image"): assert (processed / settings["website"][name]).exists(), name
    theme = settings["format"]["html"]["theme"]
    for way in ("light", "dark"): assert "site.scss" in theme[way]
    assert "$web-font-path: false" in (processed / "site.scss").read_text(encoding="utf-8")


def entries(contents):
    "All files of a sidebar or navbar, globs resolved."
    for item in [contents] if isinstance(contents, (str, dict)) else contents:
        nbs = ROOT / "nbs"
        if isinstance(item, str): yield from sorted(p.relative_to(nbs).as_posix() for p in nbs.glob(item))
        elif "href" in item and "://" not in item["href"]: yield item["href"]
        if isinstance(item, dict) and "contents" in item: yield from entries(item["contents"])


def test_the_sidebar_has_every_page_once(site):
    root, _ = site
    website = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    listed = list(entries(website["sidebar"]["contents"]))
    nbs = root / "nbs"
    pages = [p.relative_to(nbs).as_posix() for kind in ("ipynb", "qmd") for p in nbs.rglob(f"*.{kind}")]
    assert sorted(listed) == sorted(set(pages) - {"404.qmd", "reference/probes.qmd"})
    bar = website["navbar"]
    assert set(entries(bar["left"])) | set(entries(bar["right"])) <= set(pages)


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


PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
PLACED = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)"
                    r"(?:\{(?P<more>[^}]*)\})?")
LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)[^)]*\)")
HOST = "https://fragility-nb.github.io/fragility_nb/"


def pages(processed):
    "{page seen from the site's root: (its prose, and what cells put out as prose; its code cells)}."
    found = {}
    for path in sorted([*processed.rglob("*.ipynb"), *processed.rglob("*.qmd")]):
        if path.suffix == ".qmd": prose, code = [path.read_text(encoding="utf-8")], []
        else:
            cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
            code = [c for c in cells if c["cell_type"] == "code"]
            prose = ["".join(c["source"]) for c in cells if c["cell_type"] != "code"]
            prose += [site_pages.joined(o["data"]["text/markdown"]) for c in code for o in c.get("outputs", [])
                      if "text/markdown" in o.get("data", {})]
        text = re.sub(r"^```.*?^```|\$\$.*?\$\$|\$[^$\n]+\$", "", "\n".join(prose), flags=re.MULTILINE | re.DOTALL)
        found[path.relative_to(processed).as_posix()] = text, code
    return found


@pytest.fixture(scope="module")
def read(site): return pages(site[1])


def test_every_picture_has_a_text(read):
    without = {}
    for page, (text, code) in read.items():
        shown = [c for c in code if any(k in o.get("data", {}) for o in c.get("outputs", []) for k in PICTURES)]
        bare = [c for c in shown if not re.search(r"^#\| fig-alt: .{15}", "".join(c["source"]), re.MULTILINE)]
        bare += [m for m in PLACED.finditer(text) if not m["text"] and "fig-alt=" not in (m["more"] or "")]
        if bare: without[page] = len(bare)
    assert without == {}


def test_pictures_are_there(site, read):
    for page, (text, _) in read.items():
        own = [m["target"] for m in PLACED.finditer(text) if ":" not in m["target"]]
        assert [t for t in own if not (site[1] / page).parent.joinpath(t).exists()] == [], page


def anchors(text):
    "The anchors of a page's headings, as Pandoc names them."
    named = set(re.findall(r"\{#([\w-]+)", text))
    for heading in re.findall(r"^ {0,3}#+ +(.*?)(?: *\{[^}]*\})? *$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        named.add(re.sub(r"^[^a-z]+", "", re.sub(r"[^\w\s.-]", "", plain).strip().replace(" ", "-")))
    return named


def output_of(page):
    "The file that a page becomes: nbdev drops numbers in front."
    path = Path(page)
    return path.with_name(re.sub(r"^\d+[a-z]?_", "", path.stem) + ".html").as_posix() if path.suffix == ".ipynb" \
        else path.with_suffix(".html").as_posix()


def test_links_lead_somewhere(site, read):
    made, wrong = {output_of(page): page for page in read}, []
    for page, (text, _) in read.items():
        for target in {m["target"] for m in LINK.finditer(text)}:
            if target.startswith(HOST): target = "/" + target.removeprefix(HOST)
            if re.match(r"[a-z]+:", target): continue
            file, _, anchor = target.partition("#")
            at = (site[1] / file.lstrip("/")) if file.startswith("/") else (site[1] / page).parent / file
            name = at.resolve().relative_to(site[1].resolve()).as_posix() if file else page
            name = made.get(name, name)
            if name not in read and not (site[1] / name).exists(): wrong.append((page, target))
            elif anchor and name in read and anchor not in anchors(read[name][0]): wrong.append((page, target))
    assert wrong == []


def test_every_public_name_is_documented(read):
    "The build drops what a class or function makes of an error: then its page is silent."
    bare = [(page, "".join(c["source"]).splitlines()[-1]) for page, (_, code) in read.items() for c in code
            if re.search(r"^show_doc\(", "".join(c["source"]), re.MULTILINE)
            and not any("text/markdown" in o.get("data", {}) for o in c.get("outputs", []))]
    assert bare == []
    titles = {a for text, _ in read.values() for a in anchors(text)}
    assert [name for name in site_files.documented() if name.lower() not in titles] == []


def test_no_link_inside_a_link(read):
    assert [page for page, (text, _) in read.items() if re.search(r"\[\[`[^`]+`\]\([^)]*\)\]\(", text)] == []


def test_commands_are_shown_as_their_help(read):
    told = read["api/cli/02_training.ipynb"][1]
    shown = "".join(site_pages.joined(o["data"].get("text/markdown", "")) for c in told for o in c.get("outputs", [])
                    if "data" in o)
    assert "Usage: fragility train" in shown


def test_no_page_needs_another_server(site, read):
    for path in site[1].rglob("*.ipynb"):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        assert "widgets" not in notebook["metadata"], path.name
        for cell in notebook["cells"]:
            for out in cell.get("outputs", []):
                foreign = {*out.get("data", {})} & {"text/html", "application/javascript",
                                                    "application/vnd.jupyter.widget-view+json"}
                assert not foreign, f"{path.name}: Quarto adds require.js for {foreign}"
    fetched = re.compile(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)\s*=\s*[\"']?(?:https?:)?//"
                         r"|@import\s+url")
    whole = [p.read_text(encoding="utf-8") for p in site[1].rglob("*.*")
             if p.suffix in (".ipynb", ".qmd", ".css", ".scss")]
    assert [m[0] for text in whole for m in fetched.finditer(text)] == []


def test_pages_are_small(site):
    large = {p.name: p.stat().st_size for kind in ("*.ipynb", "*.qmd") for p in site[1].rglob(kind)
             if p.stat().st_size > 1_500_000}
    assert large == {}


def test_examples_of_the_reference_say_where_names_come_from(site, read):
    missing = {}
    for page, (_, code) in read.items():
        if not page.startswith("api/"): continue
        sources = ["".join(c["source"]) for c in code]
        sources = [s for s in sources if "show_doc" not in s and "%%" not in s]
        used, made = site_pages.used_and_made(sources)
        made |= {a.arg for s in sources for n in ast.walk(site_pages.parsed(s)) if isinstance(n, ast.arguments)
                 for a in [*n.posonlyargs, *n.args, *n.kwonlyargs, *filter(None, (n.vararg, n.kwarg))]}
        made |= {n.name for s in sources for n in ast.walk(site_pages.parsed(s)) if isinstance(n, (
            ast.FunctionDef, ast.ClassDef)) or isinstance(n, ast.ExceptHandler) and n.name}
        raw = json.loads((site[0] / "nbs" / page).read_text(encoding="utf-8"))["cells"]
        hidden = [s for s in ("".join(c["source"]) for c in raw if c["cell_type"] == "code")
                  if re.match(r"#\| *hide", s)]
        set_up = {n.id for s in hidden for n in ast.walk(site_pages.parsed(s)) if isinstance(n, ast.Name)}
        rest = used - made - set(dir(builtins)) - {"get_ipython", "display"} - set_up
        if rest: missing[page] = sorted(rest)
    assert missing == {}


@pytest.mark.quick
def test_links_of_words():
    told = site_pages.link("[`run`](https://fragility-nb.github.io/fragility_nb/api/cli/reports.html#run) "
                           "[`fit`](https://x/api/models/training.html#fit) `nn.Module` [`nn.Module`](here)")
    assert told == ("`run` [`fit`](https://x/api/models/training.html#fit) "
                    "[`nn.Module`](https://pytorch.org/docs/stable/generated/torch.nn.Module.html) [`nn.Module`](here)")


@pytest.mark.quick
@pytest.mark.parametrize("source, prose, expected", [
    ("plot_scores(scores);", "A row for each layer, fragile ones first. More.",
     "A row for each layer, fragile ones first."),
    ("ax.imshow(x)", "## Look\n\nA **map** of all weights, [as they are](a.ipynb): see.",
     "A map of all weights, as they are."),
    ("ax.imshow(x)", "", "Chapter."),
], ids=["function", "prose", "heading"])
def test_text_of_a_picture(source, prose, expected):
    text = site_pages.picture_text(source, prose, "Chapter")
    assert text.endswith(expected) and text.startswith(site_pages.plain(site_pages.first_lines()["plot_scores"])[:20]
                                                       if "plot" in source else expected)


@pytest.mark.quick
@pytest.mark.parametrize("text, expected", [("* an item", r"\* an item"), ("- minus", r"\- minus"),
                                            ("*word* first", "*word* first"), ("-1 is it", "-1 is it")],
                         ids=["star", "dash", "emphasis", "number"])
def test_a_docstring_is_no_list(text, expected): assert site_renderer.no_list(text) == expected


@pytest.mark.quick
def test_outputs_become_still_ones_and_charts_live_ones():
    spec = {"mark": "point", "data": {"values": [{"a": "</script>"}]}}
    data = [{"text/html": "<table>\n\n<tr></tr></table>", "text/plain": "t"},
            {"text/html": "<b>", "image/png": "x"}, {"application/vnd.jupyter.widget-view+json": {}, "image/png": "x"},
            {"application/vnd.vegalite.v5+json": spec, "image/png": "x", "text/plain": "c"}]
    cell = dict(cell_type="code", source="x", metadata={}, execution_count=None,
                outputs=[dict(output_type="display_data", metadata={}, data=d) for d in data])
    book = dict2nb(dict(cells=[cell], metadata={"widgets": {}}, nbformat=4, nbformat_minor=5))
    book.path_ = "nbs/api/explore/01_scores.ipynb"
    site_pages.Offline(book).end()
    table, still, widget, chart = (out.data for out in book.cells[0].outputs)
    assert "widgets" not in book.metadata
    assert "```{=html}\n<table>\n<tr>" in table["text/markdown"] and "text/html" not in table
    assert list(still) == ["image/png"] and list(widget) == ["image/png"]
    assert '<script src="../../images/vega.js">' in chart["text/markdown"] and "image/png" not in chart
    assert chart["text/markdown"].count("</script>") == 2 and "<\\/script>" in chart["text/markdown"]


@pytest.mark.quick
@pytest.mark.parametrize("cmap", ["RdBu", "PuOr", "cividis", "viridis"])
def test_the_ends_of_a_colour_bar_survive(cmap):
    figure, (left, right) = plt.subplots(1, 2, figsize=(5, 2))
    for i in range(20): left.plot([0, 1], [i, i + 1], lw=1 + i/5)
    right.imshow(np.linspace(0, 1, 256)[None], cmap=cmap, aspect="auto")
    right.set_axis_off()
    kept = np.asarray(Image.open(io.BytesIO(faithful_png(figure, 80))).convert("RGB"), int).reshape(-1, 3)
    plt.close(figure)
    for end in (0., 1.):
        assert np.abs(kept - 255*np.array(mpl.colormaps[cmap](end)[:3])).max(1).min() <= 12


@pytest.mark.quick
def test_every_figure_and_explorer_is_in_the_gallery():
    names = site_files.documented()
    found = site_files.gallery(names)
    assert {n for n in names if n.startswith(("plot_", "explore_"))} == found.keys() and len(found) > 50
    for _, code, picture in found.values():
        assert code.strip() and picture.startswith(b"\x89PNG")
    page = site_files.gallery_page(names, found)
    assert page.count("fig-alt=") == page.count("::: {.entry}") == len(found) and page.count(":::: {.gallery}") == 2


METHODS = sorted((ROOT / "nbs" / "methods").glob("[0-9]*.ipynb"))
PARTS = ("## The question", "## The formula", "| symbol | meaning |", "## Where it comes from", "◆", "## By hand",
         "## Assumptions and limits", "## The function, and what checks it")


@pytest.mark.quick
@pytest.mark.parametrize("path", METHODS, ids=[p.stem for p in METHODS])
def test_a_method_has_all_its_parts(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    prose = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    assert [part for part in PARTS if part not in prose] == []
    assert re.search(r"^\$\$ \{#eq-[\w-]+\}$", prose, re.MULTILINE), "a formula with a number"
    assert "assert" in code, "the number by hand is the package's"
    bibliography = (ROOT / "nbs" / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"@([a-z]+\d{4})", prose))
    assert keys and [k for k in keys if f"{{{k}," not in bibliography] == []
    tests = re.findall(r"`(tests/\w+\.py)`", prose)
    assert tests and [t for t in tests if not (ROOT / t).exists()] == []


@pytest.mark.quick
def test_every_source_is_cited_and_every_formula_has_a_name_of_its_own():
    prose = "\n".join(p.read_text(encoding="utf-8") for p in METHODS)
    keys = re.findall(r"^@\w+\{(\w+),", (ROOT / "nbs" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
    assert [k for k in keys if f"@{k}" not in prose] == [] and len(keys) == len(set(keys))
    formulas = re.findall(r"\{#(eq-[\w-]+)\}", prose)
    assert len(formulas) == len(set(formulas)) >= len(METHODS)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.quick
@pytest.mark.parametrize("path", WORKFLOWS, ids=[p.stem for p in WORKFLOWS])
def test_workflows(path):
    "Each job has a machine and steps that use or run something; `make` targets exist; no stored password."
    text = path.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert {"name", True, "permissions", "jobs"} <= flow.keys()  # `on` reads as a truth value
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for job in flow["jobs"].values():
        assert job["runs-on"] and job["steps"] and set([job.get("needs")]) <= {None, *flow["jobs"]}
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step: assert re.fullmatch(r"[\w-]+/[\w./-]+@[\w./-]+", step["uses"])
            assert set(re.findall(r"\bmake (\w+)", step.get("run", ""))) <= targets
    assert "secrets." not in text and "password" not in text


def test_there_are_workflows_for_tests_site_and_release():
    assert {p.stem for p in WORKFLOWS} == {"test", "site", "release"}


@pytest.fixture
def repository(tmp_path):
    "A repository of the files that a release changes."
    for name in (*release.PLACES, "CHANGELOG.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    log = tmp_path / "CHANGELOG.md"
    text = re.sub(r"(?m)^## .*$", "## 9.0.0 (in progress)", log.read_text(encoding="utf-8"), count=1)
    log.write_text(text, encoding="utf-8")
    for words in (["init", "-q"], ["config", "user.email", "a@b.c"], ["config", "user.name", "a"], ["add", "-A"],
                  ["commit", "-q", "-m", "all"]): subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.quick
def test_a_dry_run_of_a_release_changes_nothing(repository):
    made = release.changes("9.0.0", repository, day="2030-01-02")
    assert release.git("status", "--porcelain", root=repository) == ""
    assert "## 9.0.0 (2030-01-02)" in made["CHANGELOG.md"] and made.keys() == {*release.PLACES, "CHANGELOG.md"}
    for version, word in (("0.0.1", "larger than"), ("next", "three numbers")):
        with pytest.raises(SystemExit, match=word): release.changes(version, repository)
    assert "Would change" in run(sys.executable, ROOT / "tools" / "release.py", "99.0.0", cwd=ROOT)


@pytest.mark.quick
def test_a_release_writes_the_version_everywhere_and_tags(repository):
    release.release("9.0.0", repository, day="2030-01-02")
    assert release.current(repository) == "9.0.0"
    assert release.git("tag", root=repository) == "v9.0.0"
    assert release.git("status", "--porcelain", root=repository) == ""
    for name in release.PLACES: assert "9.0.0" in (repository / name).read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="there already"): release.release("9.0.0", repository)
    (repository / "settings.ini").write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="clean work tree"): release.release("9.1.0", repository)


@pytest.mark.quick
def test_the_version_stands_everywhere():
    version = release.current()
    for name, patterns in release.PLACES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        for pattern in patterns:
            (found,) = re.finditer(pattern, text)
            assert found[0].removeprefix(found[1]).removesuffix(found[2]) == version, name


@pytest.mark.quick
def test_no_notebook_keeps_a_short_palette_of_its_own():
    own = [p.name for p in notebooks() if "api" in p.parts and ".quantize(48" in p.read_text(encoding="utf-8")]
    assert own == []
