"""The explorers in a real JupyterLab: every control changes the picture, and nothing complains; the same after reopening and restarting."""
import copy

import nbformat
import pytest
from conftest import ROOT
from lab import browser, chromium, failures, lab, opened, put, run_cells, save, shot, wait_until  # noqa: F401

pytestmark = pytest.mark.browser

IMPORTS = f"""import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT/"tests")!r}]
from explorer_results import landscape, coverage, reports
from fragility_nb import compare_runs, explore_coverage, explore_scores"""
SAVED = ["explore_scores(landscape(21, 10))", "explore_coverage(coverage())", "compare_runs(reports())"]
LAPTOP = (1280, 720)
PICTURE, STILL = ".fragility-explorer img.widget-image", ".jp-OutputArea .jp-RenderedImage img"


def explorer(page, i): return page.locator(".jp-OutputArea .fragility-explorer").nth(i)


def source(page, i): return page.locator(PICTURE).nth(i).get_attribute("src")


def changes(page, i, act):
    "An act is followed by another picture."
    before = source(page, i)
    act()
    wait_until(lambda: source(page, i) != before, 20, "the picture to change")


def sliders(page, i): return explorer(page, i).locator(".widget-hslider:visible .noUi-handle")


def step(page, i, key="ArrowRight", slider=0):
    sliders(page, i).nth(slider).focus()
    changes(page, i, lambda: page.keyboard.press(key))


def use_controls(page, i):
    "Each visible menu and slider of an explorer, by keyboard, changes its picture; how many there are."
    menus = explorer(page, i).locator(".widget-dropdown:visible select")
    explorer(page, i).scroll_into_view_if_needed()
    for n in range(sliders(page, i).count()): step(page, i, slider=n)
    for n in range(menus.count()):
        names = menus.nth(n).locator("option").all_text_contents()
        if len(names) < 2: continue
        now = menus.nth(n).evaluate("m => m.selectedIndex")
        for to in ((now + 1) % len(names), now): # and back, so that each stands alone
            changes(page, i, lambda n=n, to=to: menus.nth(n).select_option(index=to))
    return sliders(page, i).count() + menus.count()


def moves_end_at_the_last(page, i):
    "Ten quick moves end in the last position, and nothing is drawn after it."
    handle, readout = sliders(page, i).first, explorer(page, i).locator(".widget-readout").first
    handle.focus()
    page.keyboard.press("Home")
    places = [readout.text_content()]
    for _ in range(10):
        page.keyboard.press("ArrowRight")
        places.append(readout.text_content())
    assert len(set(places)) == 11
    page.wait_for_timeout(1500)
    last = source(page, i)
    page.wait_for_timeout(700)
    assert source(page, i) == last and readout.text_content() == places[-1]


def log_errors(lab):
    "What the server and its kernels complained of."
    lab.log.flush()
    text = open(lab.log.name).read()
    return [line for line in text.splitlines() if "Traceback" in line or line.startswith("[E ") or "Exception" in line]


def without_state(lab, name, notebook):
    "The notebook as one saves it where widgets' states are not saved."
    bare = copy.deepcopy(notebook)
    bare.metadata.pop("widgets")
    nbformat.write(bare, lab.root / name)
    return name


def test_explorers_of_results(lab, browser):
    name = put(lab, "explorers.ipynb", IMPORTS, *SAVED)
    page, complaints = opened(lab, browser, name, viewport=LAPTOP)
    run_cells(lab, page)
    wait_until(lambda: page.locator(PICTURE).count() == len(SAVED), 60, "the explorers to appear")
    assert page.locator(STILL + ":visible").count() == 0  # live widgets hide the stills
    for i in range(len(SAVED)):
        assert use_controls(page, i) >= 2
        shot(page, f"explorer{i}")
    moves_end_at_the_last(page, 0)
    notebook, last = save(lab, page, name), [source(page, i) for i in range(len(SAVED))]
    assert failures(notebook) == [] and not [o for c in notebook.cells for o in c.outputs if o.output_type == "stream"]
    page.reload()  # the kernel lives on, and so do the widgets
    wait_until(lambda: page.locator(PICTURE).count() == len(SAVED), 60, "the explorers of the kernel that lives")
    step(page, 0, "ArrowLeft")
    page.close(); lab.stop()

    page, more = opened(lab, browser, name, viewport=LAPTOP)  # with the saved state only
    wait_until(lambda: page.locator(PICTURE + ":visible").count() == len(SAVED), 60, "the saved explorers")
    shot(page, "reopened")
    run_cells(lab, page, restart=True)
    wait_until(lambda: page.locator(PICTURE).count() == len(SAVED), 60, "the explorers after a restart")
    for i in range(len(SAVED)): step(page, i) if sliders(page, i).count() else use_controls(page, i)
    shot(page, "restarted")
    page.close(); lab.stop()
    assert complaints == [] and more == [] and log_errors(lab) == []
    
    page, _ = opened(lab, browser, without_state(lab, "bare.ipynb", notebook), viewport=LAPTOP)  # without any state
    wait_until(lambda: page.locator(STILL + ":visible").count() == len(SAVED), 30, "the stills")
    shot(page, "bare")
    page.close(); lab.stop()
