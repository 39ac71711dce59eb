#!/usr/bin/env python
"""A release: the version everywhere it stands, the changelog dated, a commit and a tag.

`python tools/release.py` says what would happen; `python tools/release.py 0.2.0 --do` does it. `make release` calls it.
"""
import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACES = {  # file -> what stands before and after the version there
    "settings.ini": (r"(?m)^(version = )\S+()$",),
    "fragility_nb/__init__.py": (r"(?m)^(__version__ = \")[^\"]+(\")",),
    "CITATION.cff": (r"(?m)^(version: )\S+()$",),
    "_quarto.yml": (r"(\{text: v)[^,]+(,)", r"(\"fragility_nb )\S+(,)"),
    "nbs/about/cite.qmd": (r"(version = \{)[^}]+(\})",),
}
HEADING = re.compile(r"^## (?P<version>\S+)(?P<rest>.*)$", re.MULTILINE)


def current(root=ROOT):
    "The version in settings.ini."
    return re.search(r"^version = (\S+)", (root / "settings.ini").read_text(encoding="utf-8"), re.MULTILINE)[1]


def numbers(version):
    "A version as numbers, so that two can be compared."
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise SystemExit(f"Expected VERSION to be three numbers such as 0.2.0, but got {version!r}.")
    return tuple(map(int, version.split(".")))


def next_version(version):
    "The next minor version."
    major, minor, _ = numbers(version)
    return f"{major}.{minor + 1}.0"


def dated(changelog, version, day):
    "The changelog with its topmost heading as this version, of this day."
    found = HEADING.search(changelog)
    if not found: raise SystemExit("Expected CHANGELOG.md to have a heading `## VERSION`, but found none.")
    if "in progress" not in found["rest"]:
        raise SystemExit(f"Expected the topmost heading of CHANGELOG.md to be `## … (in progress)`, but got "
                         f"`{found[0]}`: what is new in {version}?")
    return changelog[:found.start()] + f"## {version} ({day})" + changelog[found.end():]


def changes(version, root=ROOT, day=None):
    "{file: its new text} of a release."
    old = current(root)
    first = HEADING.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    again = numbers(version) == numbers(old) and first and "in progress" in first["rest"]
    if numbers(version) <= numbers(old) and not again:
        raise SystemExit(f"Expected VERSION to be larger than {old}, but got {version}.")
    made = {}
    for name, patterns in PLACES.items():
        text = (root / name).read_text(encoding="utf-8")
        for pattern in patterns:
            text, n = re.subn(pattern, rf"\g<1>{version}\g<2>", text)
            if n != 1: raise SystemExit(f"Expected the version once in {name}, but found it {n} times.")
        made[name] = text
    log = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    made["CHANGELOG.md"] = dated(log, version, day or datetime.date.today().isoformat())
    return made


def git(*words, root=ROOT):
    "What git says."
    done = subprocess.run(["git", *words], cwd=root, text=True, capture_output=True)
    if done.returncode: raise SystemExit(done.stderr.strip())
    return done.stdout.strip()


def release(version, root=ROOT, day=None):
    "Writes, commits and tags. The work tree must be clean, the tag new."
    if git("status", "--porcelain", root=root): raise SystemExit("Expected a clean work tree: commit first.")
    if git("tag", "--list", f"v{version}", root=root): raise SystemExit(f"The tag v{version} is there already.")
    made = changes(version, root, day)
    for name, text in made.items(): (root / name).write_text(text, encoding="utf-8")
    git("commit", "-q", "-m", f"Version {version}", "--", *made, root=root)
    git("tag", "-a", f"v{version}", "-m", f"Version {version}", root=root)


def main(words):
    version = next((w for w in words if not w.startswith("-")), None)
    if version is None:
        found = HEADING.search((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
        first = found and "in progress" in found["rest"] and numbers(found["version"]) >= numbers(current())
        version = found["version"] if first else next_version(current())
    if "--do" in words:
        release(version)
        print(f"Made the commit and the tag v{version}. Publish with: git push --follow-tags")
        return
    made = changes(version)
    print(f"{current()} → {version}. Would change {', '.join(made)}; then commit, and tag v{version}.")
    print(f"To do it: make release VERSION={version} DO=1")


if __name__ == "__main__": main(sys.argv[1:])
