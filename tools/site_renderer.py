"""How the site shows a function or class: its signature, what it does, a table of its parameters with their comments.

nbdev's own renderer drops the stars of a signature, so that its calls fail, and writes comments and links into code.
`settings.ini` names this one; `make docs` puts this folder on the path.
"""
import ast
import functools
import inspect
import re
import textwrap
from functools import cache
from importlib import import_module

from fragility_nb.core.docments import parsed_definition, parts_of, source_of
from nbdev.doclinks import NbdevLookup

WIDTH = 88  # of a line of code
TORCH, XARRAY = "https://pytorch.org/docs/stable/generated", "https://docs.xarray.dev/en/stable/generated"
ELSEWHERE = {  # what a type of another library is called in our signatures -> its page
    "nn.Module": f"{TORCH}/torch.nn.Module.html", "Tensor": "https://pytorch.org/docs/stable/tensors.html",
    "xr.Dataset": f"{XARRAY}/xarray.Dataset.html", "pd.DataFrame":
    "https://pandas.pydata.org/docs/reference/api/pandas.DataFrame.html",
    "Axes": "https://matplotlib.org/stable/api/_as_gen/matplotlib.axes.Axes.html",
}


def annotations(thing):
    "The types of a signature, or of a dataclass's fields, as they are written."
    found = {}
    for cls in reversed(thing.__mro__) if isinstance(thing, type) else [thing]:
        if not getattr(cls, "__module__", "").startswith("fragility_nb"): continue
        node = parsed_definition(source_of(cls))
        makers = [n for n in getattr(node, "body", []) if getattr(n, "name", "") == "__init__"] if \
            isinstance(thing, type) else [node]
        if isinstance(thing, type):
            found |= {n.target.id: ast.unparse(n.annotation) for n in node.body if isinstance(n, ast.AnnAssign)}
        for maker in makers:
            a = maker.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            found |= {x.arg: ast.unparse(x.annotation) for x in every if x.annotation}
    return found


def call(name, thing, parts):
    "The call with all its parameters, a `*` before those that go by keyword only."
    kinds = inspect.signature(thing).parameters
    words, starred = [], any(part.name.startswith("*") and not part.name.startswith("**") for part in parts)
    for part in parts:
        kind = kinds[part.name.lstrip("*")].kind if part.name.lstrip("*") in kinds else None
        if kind is inspect.Parameter.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        default = "" if part.default is None else "=" + " ".join(part.default.split())
        words.append(part.name + default)
    line = f"{name}({', '.join(words)})"
    if len(line) <= WIDTH: return line
    rows = textwrap.wrap(", ".join(word.replace(" ", "\0") for word in words), WIDTH - 4, break_long_words=False,
                         break_on_hyphens=False)
    return f"{name}(\n" + "\n".join("    " + row.replace("\0", " ") for row in rows) + "\n)"


def cell(text):
    "A text as a cell of a table."
    return " ".join(text.split()).replace("|", "\\|")


def linked(kind, lookup):
    "A type as it is written, with a link if it has a page."
    page = ELSEWHERE.get(kind) or lookup.doc(kind)
    return f"[`{kind}`]({page})" if page else f"`{kind}`"


def parameter_table(parts, types, lookup):
    "One row for each parameter."
    rows = ["| parameter | type | default | |", "|:-----|:-----|:----|:-------------|"]  # widths, in parts
    for part in parts:
        kind = types.get(part.name.lstrip("*"), "")
        default = "" if part.default is None else f"`{cell(part.default)}`"
        rows.append(f"| `{part.name}` | {cell(linked(kind, lookup)) if kind else ''} | {default} | "
                    f"{lookup.linkify(cell(part.comment)) if part.comment else ''} |")
    return "\n".join(rows) + "\n\n: {.parameters}"


def plain_doc(thing):
    "The docstring as it is written, without the help that is added to it when it is asked for."
    node = parsed_definition(source_of(thing))
    return no_list(inspect.cleandoc(ast.get_docstring(node) or ""))


def no_list(text):
    "A text whose first line would be an item of a list, as the prose that it is."
    return re.sub(r"^[*+-](?=\s)", r"\\\g<0>", text)


def is_command(thing):
    "Whether a function is a command of the command line."
    return getattr(thing, "__module__", "").startswith("fragility_nb.cli") and inspect.isfunction(thing)


def command_help(thing):
    "What a command prints with `--help`, as plain text."
    import os

    from fragility_nb.cli import app
    from typer.testing import CliRunner
    name = next(c.name or c.callback.__name__ for c in app.registered_commands if c.callback.__name__ == thing.__name__)
    os.environ.update(TERMINAL_WIDTH=str(WIDTH), COLUMNS=str(WIDTH), NO_COLOR="1", TERM="dumb")
    text = CliRunner().invoke(app, [name, "--help"], prog_name="fragility").stdout
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


@cache
def homes():
    "{name: modules of the package that define it}."
    from fragility_nb._modidx import d
    found = {}
    for module, names in d["syms"].items():
        for name in names: found.setdefault(name.removeprefix(module + "."), []).append(module)
    return found


def exact(page, thing):
    "A page of source code, at the line where something begins."
    try: return f"{page.partition('#')[0]}#L{inspect.getsourcelines(inspect.unwrap(thing))[1]}"
    except (OSError, TypeError): return page.partition("#")[0]


def named(thing):
    "The parameters of a function that have a type."
    return getattr(thing, "__annotations__", ())


def original(sym):
    """What the package itself holds of that name.

    The site's build runs export cells once more, and of a class made there Python finds no source.
    """
    name, module = getattr(sym, "__qualname__", ""), getattr(sym, "__module__", "") or ""
    if module.startswith("fragility_nb") or module not in ("__main__", "builtins"): return sym
    for home in homes().get(name, []):
        found = functools.reduce(lambda thing, part: getattr(thing, part, None), name.split("."), import_module(home))
        if isinstance(found, type) or list(named(found)) == list(named(sym)): return found
    return sym


class SiteRenderer:
    "What `show_doc` gives the site for a symbol."
    def __init__(self, sym, name=None, title_level=3):
        self.sym, self.level = original(sym), title_level
        self.name = name or getattr(sym, "__qualname__", str(sym))

    def body(self, lookup):
        "Everything under the title."
        if is_command(self.sym): return f"```text\n{command_help(self.sym)}\n```"
        try:
            *parts, returned = parts_of(self.sym)
            code = call(self.name, self.sym, parts)
        except (OSError, TypeError, SyntaxError, IndexError, ValueError): return no_list(inspect.getdoc(self.sym) or "")
        text = [f"```python\n{code}\n```", lookup.linkify(plain_doc(self.sym))]
        if parts: text.append(parameter_table(parts, annotations(self.sym), lookup))
        if returned.name:
            about = f": {lookup.linkify(cell(returned.comment))}" if returned.comment else ""
            text.append(f"*Returns* {linked(returned.name, lookup)}{about}")
        return "\n\n".join(filter(None, text))

    def _repr_markdown_(self):
        lookup = NbdevLookup()
        module, name = getattr(self.sym, "__module__", ""), getattr(self.sym, "__qualname__", self.name)
        source = lookup.code(f"{module}.{name}") or lookup.code(name)
        link = f'[source]({exact(source, self.sym)}){{.source-link target="_blank"}}\n\n' if source else ""
        return f"---\n\n{link}{'#'*self.level} {self.name}\n\n{self.body(lookup)}\n"
