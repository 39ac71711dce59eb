"""Views of saved results in a real JupyterLab: alive with a kernel, and in a notebook that is reopened without one."""
import json
import re

import nbformat
import pytest
from conftest import ROOT
from lab import browser, chromium, failures, lab, opened, put, run_cells, save, shot, wait_until  # noqa: F401 (fixtures)

pytestmark = pytest.mark.browser

IMPORTS = f"""import sys, threading
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT/"tests")!r}]
import ipywidgets as widgets
from ipywidgets.widgets.widget import _instances
from fragility_nb.explore import explore_breaking, explore_coverage, explore_runs, explore_scores
from explorer_results import coverage, landscape, reports
from test_views_breaking import pictures, swept"""
MADE = dict(scores="explore_scores(landscape(8, 4, samples=60))", coverage="explore_coverage(coverage())",
            runs="explore_runs(reports())",
            breaking="explore_breaking(swept(4, 5, 40), pictures(40, 8), case='conv1', filter='pulse', level=0.5)")
TAB = "widgets.Tab([explore_coverage(coverage()).view], titles=['coverage'])"
AGAIN = """import gc
from fragility_nb.explore import base
result, counts = landscape(3, 2, samples=60), []
for i in range(30):  # what thirty runs of a cell make, one after another
    base._cell_of_now = lambda i=i: ("a cell", str(i))
    explore_scores(result), explore_coverage(coverage()).view
    gc.collect()
    counts.append((len(_instances), threading.active_count(), len(base._MADE["a cell"][1])))
print("counts:", len(set(counts[1:])), counts[-1][2])"""
NOTEBOOK = "views.ipynb"
MARKS = """e => [...e.querySelectorAll('svg :is(path, image, text), canvas')].map(m => (m.getAttribute('d') || '')
    + m.textContent + m.getAttribute('fill') + m.getAttribute('transform')).join('|')"""


@pytest.fixture(scope="module")
def page(lab, browser):  # noqa: F811 (fixtures)
    "The notebook, run and saved."
    path = put(lab, NOTEBOOK, IMPORTS, *MADE.values(), TAB, AGAIN)
    page, complaints = opened(lab, browser, path, viewport=(1280, 2000))
    run_cells(lab, page)
    page.complaints, page.saved = complaints, save(lab, page, path)
    yield page
    page.close()


def charts(page): return page.locator(".jp-NotebookPanel .jp-OutputArea .vega-embed")


def changes(page, i, act):
    "An act that changes a chart."
    before = charts(page).nth(i).evaluate(MARKS)
    act()
    wait_until(lambda: charts(page).nth(i).evaluate(MARKS) != before, 10, f"chart {i} to change")


def is_alive(page):
    "Every chart is there, and answers to a menu and to a click."
    wait_until(lambda: charts(page).count() == len(MADE) + 1, 60, "the charts")
    for i, name in enumerate(MADE):
        chart = charts(page).nth(i)
        chart.scroll_into_view_if_needed()
        menu = chart.locator(".vega-bind select").first
        at = menu.evaluate("s => s.selectedIndex")
        last = menu.locator("option").count() - 1
        changes(page, i, lambda menu=menu, at=at, last=last: menu.select_option(index=last if at != last else 0))
        changes(page, i, lambda menu=menu, at=at: menu.select_option(index=at))
        if name != "runs":  # there, a drag chooses
            bars = chart.locator("g.mark-rect.role-mark path")
            changes(page, i, lambda bars=bars: bars.nth(2).click(force=True))


def test_charts_are_alive_and_live_in_a_tab(page):
    assert failures(page.saved) == []
    is_alive(page)
    tab = page.locator(".jp-OutputArea .widget-tab .vega-embed, .jp-OutputArea .jupyter-widget-tab-panel .vega-embed")
    assert tab.count() == 1
    shot(page, "views_lab")
    assert page.complaints == []


def test_thirty_runs_of_a_cell_leave_what_one_leaves(page):
    told = [o.text for c in page.saved.cells for o in c.get("outputs", ()) if o.get("text", "").startswith("counts:")]
    assert told == ["counts: 1 2\n"]


def test_a_saved_notebook_is_alive_without_a_kernel(lab, browser, page):  # noqa: F811 (fixtures)
    saved = json.dumps(page.saved)
    assert len(saved) < 1.5e6 and re.search(r"vegalite\.v5", saved)
    cells = page.saved.cells[:1 + len(MADE)]
    nowhere = dict(kernelspec=dict(name="nowhere", display_name="nowhere", language="python"))
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=nowhere), lab.root / "saved.ipynb")
    again, complaints = opened(lab, browser, "saved.ipynb", viewport=(1280, 2000), kernel=False)
    try:
        wait_until(lambda: charts(again).count() == len(MADE), 60, "the charts")
        chart = charts(again).first
        menu = chart.locator(".vega-bind select").first
        changes(again, 0, lambda: menu.select_option(index=1))
        changes(again, 1, lambda: charts(again).nth(1).locator("g.mark-rect.role-mark path").nth(1).click(force=True))
        shot(again, "views_saved")
        assert complaints == []
    finally: again.close()
