"""README.md is nbs/index.ipynb, and is short."""
import re

import pytest
import readme
from conftest import ROOT


def test_readme_is_the_notebook():
    found = readme.differences(ROOT)
    assert not found, f"run `make readme`:\n{found}"


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s#]+)", text)
    assert [t for t in targets if not re.match(r"https?:", t)] == [], "links of PyPI's page must be whole"
    starts = (readme.PAGES, readme.FILES)
    ours = [t.removeprefix(f"{start}/") for t in targets for start in starts if t.startswith(start)]
    assert len(ours) > 20 and [t for t in ours if not (ROOT / t).exists()] == []


def test_repository_of_the_readme_is_that_of_the_settings():
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    user, repo = (re.search(rf"^{key} = (\S+)", settings, re.MULTILINE)[1] for key in ("user", "repo"))
    assert readme.REPOSITORY == f"{user}/{repo}"


@pytest.fixture
def small(tmp_path):
    "A repository whose index has what a README can have."
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
    dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    cells = [
        new_markdown_cell("# Title\n\n> What it is.\n\n"
                          "[a](api/00_core.ipynb) [b](../LICENSE) [c](https://x.org/y) [d](#here)"),
        new_code_cell("#| hide\nsecret = 1"),
        new_code_cell("#| fig-alt: Accuracy against noise\nplot()",
                      outputs=[new_output("display_data", {"image/png": dot, "text/plain": "<Figure>"})]),
        new_code_cell("#| echo: false\nprint(2)", outputs=[new_output("stream", name="stdout", text="two  \n")]),
        new_code_cell("table", outputs=[new_output("execute_result", {"text/html": "<b>no</b>", "text/plain": "yes"})]),
        new_code_cell("warn()", outputs=[new_output("stream", name="stderr", text="careful\n")]),
    ]
    (tmp_path / "nbs").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "nbs" / "index.ipynb")
    return tmp_path


def test_readme_rules(small):
    readme.write(small)
    text = (small / "README.md").read_text(encoding="utf-8")
    assert f"[a]({readme.PAGES}/nbs/api/00_core.ipynb) [b]({readme.PAGES}/LICENSE) [c](https://x.org/y) " in text
    assert "[d](#here)" in text
    assert f"```python\nplot()\n```\n\n![Accuracy against noise]({readme.FILES}/nbs/images/index_1.png)" in text
    assert (small / "nbs/images/index_1.png").read_bytes().startswith(b"\x89PNG")
    assert "secret" not in text and "print(2)" not in text and "    two\n" in text
    assert "<b>no" not in text and "    yes" in text and "careful" not in text
    assert readme.differences(small) == ""


def test_readme_differences_are_seen(small):
    readme.write(small)
    (small / "nbs/images/index_2.png").write_bytes(b"old")
    (small / "nbs/images/index_1.png").write_bytes(b"other")
    (small / "README.md").write_text("another", encoding="utf-8")
    found = readme.differences(small)
    assert "-another" in found and "stale figure: nbs/images/index_2.png" in found
    assert "figure differs: nbs/images/index_1.png" in found
