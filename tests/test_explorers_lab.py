"""The explorers in a real JupyterLab: every control changes the picture, nothing complains, also after reopening and restarting."""
import os
import re

import nbformat
import pytest
from conftest import ROOT
from lab import TOKEN, browser, chromium, executed, failures, lab, put, wait_until  # noqa: F401

pytestmark = pytest.mark.browser

IMPORTS = """import sys
sys.path[:0] = [{root!r}, {tests!r}]
from explorer_results import landscape, coverage, reports
from fragility_nb import compare_runs, explore_coverage, explore_scores""".format(root=str(ROOT), tests=str(ROOT/"tests"))
CELLS = ("scores = explore_scores(landscape(21, 10)); scores", "covered = explore_coverage(coverage()); covered", "runs = compare_runs(reports()); runs")
PICTURE = ".jp-OutputArea img.widget-image"
WIDE = {"width": 1280, "height": 720}


def opened(lab, browser, name, reset=True):  # noqa: F811
    "A page with a notebook, and what its console complains of."
    page, complaints = browser.new_page(viewport=WIDE), []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.goto(f"{lab.url}/lab/tree/{name}?token={TOKEN}" + ("&reset" if reset else ""))
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=90_000)
    wait_until(lambda: "idle" in lab.states(), 90, "the kernel to start")
    return page, complaints


def run_cells(lab, page, item="Run All Cells", menu="Run"):  # noqa: F811
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{item}")).click()
    if menu == "Kernel": page.get_by_role("button", name="Confirm Kernel Restart").click()


def pictures(page): return page.locator(PICTURE)


def shot(page, name):
    "A screenshot, kept where LAB_SCREENSHOTS says."
    if folder := os.environ.get("LAB_SCREENSHOTS"): page.screenshot(path=f"{folder}/{name}.png")


def source(page, i): return pictures(page).nth(i).get_attribute("src")


def changes(page, i, act):
    "Whether a picture becomes another one."
    before = source(page, i)
    act()
    wait_until(lambda: source(page, i) != before, 20, "the picture to change")


def box(page, i): return page.locator(".jp-OutputArea .widget-vbox", has=page.locator("img.widget-image")).nth(i)


def use_controls(page, i):
    "Each visible menu and slider of an explorer, by keyboard, changes its picture."
    whole, used = box(page, i), 0
    menus, sliders = whole.locator(".widget-dropdown:visible select"), whole.locator(".widget-hslider:visible .noUi-handle")
    for n in range(sliders.count()):
        sliders.nth(n).focus()
        changes(page, i, lambda: page.keyboard.press("ArrowRight"))
        used += 1
    for n in range(menus.count()):
        if "sort by" in menus.nth(n).evaluate("m => m.closest('.widget-dropdown').textContent"): continue
        options = menus.nth(n).locator("option")
        if options.count() < 2: continue
        now = menus.nth(n).evaluate("m => m.selectedIndex")
        changes(page, i, lambda n=n, now=now, k=options.count(): menus.nth(n).select_option(index=(now + 1) % k))
        changes(page, i, lambda n=n, now=now: menus.nth(n).select_option(index=now))  # back, so that each stands alone
        used += 1
    return used


def test_explorers_in_jupyterlab(lab, browser):  # noqa: F811
    name = put(lab, "explorers.ipynb", IMPORTS, *CELLS)
    page, complaints = opened(lab, browser, name)
    run_cells(lab, page)
    wait_until(lambda: pictures(page).count() == len(CELLS), 90, "the explorers to appear")
    for i in range(len(CELLS)):
        pictures(page).nth(i).scroll_into_view_if_needed()
        assert use_controls(page, i) >= 1
        shot(page, f"explorer{i}")
    slider = box(page, 0).locator(".widget-hslider:visible .noUi-handle").first
    slider.focus()
    for _ in range(10): page.keyboard.press("ArrowRight")
    wait_until(lambda: box(page, 0).locator(".widget-readout").first.text_content() == "layer3.0.conv2", 10, "the last position")
    page.keyboard.press("Control+s")
    wait_until(lambda: executed(lab.root / name), 60, "the notebook to be saved")
    notebook = nbformat.read(lab.root / name, as_version=4)
    assert failures(notebook) == []
    assert all("image/png" in cell.outputs[0].data for cell in notebook.cells[1:])
    page.close(); lab.stop()
    again, more = opened(lab, browser, name)
    wait_until(lambda: again.locator(".jp-OutputArea img").count() >= len(CELLS), 60, "the saved pictures without a kernel's widgets")
    shot(again, "reopened")
    run_cells(lab, again, "Restart Kernel and Run All Cells", "Kernel")
    wait_until(lambda: pictures(again).count() == len(CELLS), 90, "the explorers after a restart")
    changes(again, 0, lambda: (box(again, 0).locator(".widget-hslider:visible .noUi-handle").first.focus(), again.keyboard.press("ArrowRight")))
    shot(again, "restarted")
    again.close(); lab.stop()
    assert complaints == [] and more == []
