"""What the site does to each notebook after nbdev: texts of pictures, imports of examples, links, nothing fetched.

`settings.ini` names these processors as `procs`; `make docs` puts this folder on the path.
"""
import ast
import json
import re
import textwrap
from functools import cache
from importlib import import_module
from pathlib import Path

import public_names
from execnb.nbio import mk_cell
from nbdev.process import Processor

ROOT = Path(__file__).resolve().parents[1]
OURS = re.compile(r"\[`(?P<name>[\w.]+)`\]"
                  r"\((?P<page>(?:[^()\s]*/)?api/(?P<folder>\w+)/[^)#\s]*\.html)#[^)\s]*\)")
TWICE = re.compile(r"\[\[(?P<name>`[^`]+`)\]\((?P<page>[^()\s]+)\)\]\([^()\s]+\)")
FOREIGN = {"nbdev", "IPython"}
WIDTH = 88
TORCH = "https://pytorch.org/docs/stable"
ELSEWHERE = {  # a name of another library, as prose writes it -> its page
    "nn.Module": f"{TORCH}/generated/torch.nn.Module.html",
    "torch.nn.Module": f"{TORCH}/generated/torch.nn.Module.html",
    "torch.compile": f"{TORCH}/generated/torch.compile.html", "DataLoader": f"{TORCH}/data.html",
    "state_dict": f"{TORCH}/generated/torch.nn.Module.html#torch.nn.Module.state_dict",
    "xarray": "https://docs.xarray.dev/en/stable/", "xarray.Dataset":
    "https://docs.xarray.dev/en/stable/generated/xarray.Dataset.html", "xr.Dataset":
    "https://docs.xarray.dev/en/stable/generated/xarray.Dataset.html",
    "captum": "https://captum.ai/api/robust.html", "timm": "https://huggingface.co/docs/timm/index",
}
NAMED = re.compile(r"(?<![\[`])`(?P<name>" + "|".join(map(re.escape, ELSEWHERE)) + r")`(?![`\]])")


def joined(text):
    "A text that a notebook keeps as one string or as lines."
    return text if isinstance(text, str) else "".join(text)


@cache
def public():
    "The documented names, and those of the front door."
    found = [name for package in public_names.DOCS for path in public_names.modules(package)
             for name in public_names.public_names(path)]
    text = (ROOT / "fragility_nb" / "__init__.pyi").read_text(encoding="utf-8").split("__all__ = ")[1]
    return set(found), set(re.findall(r'"(\w+)"', text))


def own_link(m):
    "A link as nbdev makes it: whole if the name is documented, to its page if it has no title there, or none."
    head, (documented, front) = m["name"].partition(".")[0], public()
    if m["folder"] == "cli" or head not in documented | front: return f"`{m['name']}`"
    return m[0] if m["name"] in documented else f"[`{m['name']}`]({m['page']})"


def own_links(text):
    "Prose in which a name has one link, and words that are no names of ours for the reader have none."
    return OURS.sub(own_link, TWICE.sub(r"[\g<name>](\g<page>)", text))


def link(text):
    "Prose with its own links mended, and names of other libraries leading to their pages."
    text = own_links(text)
    return NAMED.sub(lambda m: f"[`{m['name']}`]({ELSEWHERE[m['name']]})", text)


def true_links(cell):
    "A word such as `run` is a command of ours, or just a word: no link to the code of the command line."
    if cell.cell_type == "markdown": cell.source = link(cell.source)
    for out in cell.get("outputs", []):
        if "text/markdown" in out.get("data", {}):
            out.data["text/markdown"] = own_links(joined(out.data["text/markdown"]))


def opening(node):
    "The first paragraph of a docstring, as one line."
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())


@cache
def first_lines():
    "{name: how its docstring begins} of the package's functions and classes, without importing it."
    found = {}
    for path in (ROOT / "fragility_nb").rglob("[!_]*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found[node.name] = opening(node)
    return found


def parsed(source):
    "The syntax tree of a cell; an empty one where it is no plain Python."
    try: return ast.parse(re.sub(r"^\s*[%!].*$", "", source, flags=re.MULTILINE))
    except SyntaxError: return ast.parse("")


def called(source):
    "Names of the functions that a cell calls, outermost and last first."
    names = [getattr(n.func, "id", getattr(n.func, "attr", "")) for n in ast.walk(parsed(source))
             if isinstance(n, ast.Call)]
    return [n for n in names if n]


def plain(text):
    "Prose as one line without Markdown's marks."
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*`$#>|\\\"]", "", text).split())


def sentence(text):
    "The first sentence of a piece of prose."
    blocks = [b for b in text.split("\n\n") if b.strip() and not b.lstrip().startswith(("#", "|", ">", "-", "`"))]
    return re.split(r"(?<=[.:?])\s", plain(blocks[-1]) if blocks else "")[0]


def picture_text(source, prose, heading):
    "What stands for a picture: what its function draws, and the sentence that leads to it."
    drawn = [first_lines()[n] for n in called(source) if n.startswith(("plot_", "explore_")) and first_lines().get(n)]
    said = sentence(prose)
    parts = [*dict.fromkeys(plain(d) for d in drawn[:2]), *([] if len(said) > 30 else [plain(heading)]), said]
    return " ".join(p.rstrip(".:?") + "." for p in dict.fromkeys(parts) if p)[:300]


def pictures(cell):
    "How many pictures a cell shows."
    return sum(any(kind.startswith("image/") for kind in out.get("data", {})) for out in cell.get("outputs", []))


class AltTexts(Processor):
    "An alternative text for every picture; `#| fig-alt:` in the notebook goes before."
    prose = heading = ""

    def cell(self, cell):
        if cell.cell_type == "markdown":
            self.prose = cell.source
            headings = re.findall(r"^#+ (.*)", cell.source, re.MULTILINE)
            self.heading = headings[-1] if headings else self.heading
        n = pictures(cell) if cell.cell_type == "code" else 0
        if not n or re.search(r"^#\|\s*fig-alt:", cell.source, re.MULTILINE): return
        title = str(getattr(self.nb, "frontmatter_", {}).get("title", "Figure"))
        text = picture_text(cell.source, self.prose, ": ".join(dict.fromkeys(filter(None, (title, self.heading)))))
        texts = [text] if n == 1 else [f"{text} Picture {i + 1} of {n}." for i in range(n)]
        value = json.dumps(texts[0] if n == 1 else texts, ensure_ascii=False)
        cell.source = f"#| fig-alt: {value}\n{cell.source}"


def imports_of(cells):
    "{name: its import} of what the cells of the source notebook import, and what the notebook's module defines."
    found, module = {}, ""
    for source in cells:
        module = (re.findall(r"^#\s*\|\s*default_exp\s+(\S+)", source, re.MULTILINE) or [module])[0]
        for node in parsed(source).body:
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] not in FOREIGN:
                names = [a for a in node.names if a.name != "*"]
                every = [] if names else getattr(import_module(node.module), "__all__", [])
                found |= {a.asname or a.name: (node.module, ast.unparse(a)) for a in names}
                found |= {name: (node.module, name) for name in every if name not in found}
            elif isinstance(node, ast.Import):
                found = {a.asname or a.name.split(".")[0]: ("", ast.unparse(a)) for a in node.names} | found
            elif re.match(r"#\s*\|\s*exporti?\b", source.lstrip()):
                targets = [*getattr(node, "targets", []), *filter(None, [getattr(node, "target", None)])]
                names = [node.name] if hasattr(node, "name") else [n.id for t in targets for n in ast.walk(t)
                                                                   if isinstance(n, ast.Name)]
                found |= {n: (f"fragility_nb.{module}", n) for n in names}
    return found


def used_and_made(sources):
    "Names that cells read, and names that they make."
    names = [n for s in sources for n in ast.walk(parsed(s)) if isinstance(n, ast.Name)]
    made = {(a.asname or a.name).split(".")[0] for s in sources for n in ast.walk(parsed(s))
            if isinstance(n, (ast.Import, ast.ImportFrom)) for a in n.names}
    return {n.id for n in names}, made | {n.id for n in names if isinstance(n.ctx, ast.Store)}


def import_lines(names, known):
    "The imports of some names, one line for each module, wrapped."
    modules = {}
    for name in sorted(names & known.keys()): modules.setdefault(known[name][0], []).append(known[name][1])
    lines = [f"import {name}" for name in modules.pop("", [])]
    for module, parts in sorted(modules.items()):
        line = f"from {module} import {', '.join(parts)}"
        if len(line) > WIDTH:
            rows = textwrap.wrap(", ".join(parts), WIDTH - 4)
            line = f"from {module} import (\n" + textwrap.indent("\n".join(rows), "    ") + ")"
        lines.append(line)
    return "\n".join(lines)


class ExampleImports(Processor):
    "A page of the reference hides what its module imports: its examples say where their names come from."
    def end(self):
        path = Path(getattr(self.nb, "path_", ""))
        if "api" not in path.parts: return
        shown = [c for c in self.nb.cells if c.cell_type == "code" and c.get("source")
                 and not c.source.lstrip().startswith("show_doc") and "echo: false" not in c.source]
        if not shown: return
        raw = json.loads(path.read_text(encoding="utf-8"))["cells"]
        known = imports_of([joined(c["source"]) for c in raw if c["cell_type"] == "code"])
        used, made = used_and_made([c.source for c in shown])
        text = import_lines(used - made, known)
        if not text: return
        options = '#| code-fold: true\n#| code-summary: "Imports of the examples on this page"\n#| eval: false\n'
        at = next(i for i, c in enumerate(self.nb.cells) if c is shown[0])
        self.nb.cells.insert(at, mk_cell(options + text))


def still(data):
    "The data of an output without what would fetch scripts: widgets, and HTML that Quarto would take for one."
    data.pop("application/vnd.jupyter.widget-view+json", None)
    html = data.pop("text/html", None)
    if html is not None and not any(k.startswith("image/") for k in data) and "text/markdown" not in data:
        data["text/markdown"] = "\n```{=html}\n" + re.sub(r"\n\s*\n", "\n", joined(html)) + "\n```\n"
    return data


def chart(spec, name, depth):
    "A Vega-Lite chart that lives in the page, by the site's own copy of the scripts."
    text = json.dumps(spec, separators=(",", ":")).replace("</", "<\\/")
    return (f'\n```{{=html}}\n<div id="{name}" class="live-chart" role="figure"></div>\n'
            f'<script src="{"../"*depth}images/vega.js"></script>\n'
            f"<script>vegaEmbed('#{name}', {text}, {{actions: false}});</script>\n```\n")


class Offline(Processor):
    "Every page is whole without another server: no widgets' scripts, no script that Quarto adds for HTML outputs."
    def end(self):
        self.nb.metadata.pop("widgets", None)
        path, count = Path(getattr(self.nb, "path_", "")), 0
        depth = len(path.parts) - 2 - max((i for i, p in enumerate(path.parts) if p == "nbs"), default=0)
        for cell in self.nb.cells:
            for out in cell.get("outputs", []):
                if "data" not in out: continue
                spec = out.data.pop("application/vnd.vegalite.v5+json", None)
                still(out.data)
                if spec is None: continue
                count += 1
                out.data["text/markdown"] = chart(spec, f"chart-{path.stem}-{count}", max(depth, 0))
                for kind in [k for k in out.data if k.startswith("image/")]: out.data.pop(kind)
            if "outputs" in cell: cell.outputs = [o for o in cell.outputs if o.get("data", True)]
