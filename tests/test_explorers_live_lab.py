"""Live explorers in a real JupyterLab: clicks and keys change them, they live in tabs, and nothing is left of them."""
import pytest
from conftest import ROOT
from lab import browser, chromium, lab, opened, put, run_cells, save, shot, wait_until  # noqa: F401 (fixtures)

pytestmark = pytest.mark.browser

IMPORTS = f"""import sys
sys.path[:0] = [{str(ROOT)!r}]
import ipywidgets as widgets
from ipywidgets.widgets.widget import _instances
from fragility_nb import *
model, data = create_model("cnn3"), load_data("digits").take(range(30))
kernels = kernel_dropout(model, data, progress=False)"""
CELLS = (IMPORTS, "explore_stress(model, data, [GaussianNoise(), GaussianBlur()], severity=2.5)",
         "one, two = explore_kernels(kernels, model, data), explore_batchnorm(model, data, GaussianNoise())\n"
         "widgets.Tab([one.view, two.view], titles=['kernels', 'BatchNorm'])",
         "print('widgets:', len(_instances) - 2*sum(isinstance(w, widgets.Tab) for w in _instances.values()))")
NOTEBOOK, PLACE = "live.ipynb", ".jp-OutputArea .fragility-explorer"


@pytest.fixture(scope="module")
def page(lab, browser):  # noqa: F811 (fixtures)
    page, complaints = opened(lab, browser, put(lab, NOTEBOOK, *CELLS), viewport=(1280, 720))
    run_cells(lab, page)
    wait_until(lambda: page.locator(f"{PLACE} section:visible").count() == 2, 60, "the explorers")
    page.complaints = complaints
    yield page
    page.close()


def board(page, n=0): return page.locator(f"{PLACE} section:visible").nth(n)


def changes(page, n, act):
    before = board(page, n).inner_html()
    act()
    wait_until(lambda: board(page, n).inner_html() != before, 20, "the board to change")


def test_keys_move_the_severity_and_the_next_image_breaks(page):
    one = page.locator(PLACE).nth(0)
    handles = one.locator(".widget-hslider:visible .noUi-handle")
    handles.nth(2).focus()
    changes(page, 0, lambda: page.keyboard.press("ArrowRight"))
    changes(page, 0, lambda: one.locator(".widget-dropdown:visible select").nth(1).select_option(index=2))
    assert board(page).locator("img").count() == 6 and all(
        i.get_attribute("alt") for i in board(page).locator("img").all())
    assert page.locator(".jp-OutputArea .jp-RenderedImage img:visible").count() == 0  # live widgets hide the still
    shot(page, "live_stress")
    assert page.complaints == []


def test_a_kernel_is_chosen_by_click_and_by_key_inside_a_tab(page):
    buttons = page.locator(f"{PLACE}:visible .widget-button[title^='kernel ']")
    buttons.nth(4).scroll_into_view_if_needed()
    changes(page, 1, lambda: buttons.nth(4).click())
    assert "Kernel 4" in board(page, 1).inner_text()
    buttons.nth(5).focus()
    changes(page, 1, lambda: page.keyboard.press("Enter"))
    assert "Kernel 5" in board(page, 1).inner_text() and "chosen" in buttons.nth(5).get_attribute("title")
    shot(page, "live_kernels")
    page.get_by_role("tab", name="BatchNorm").or_(page.locator(".lm-TabBar-tab", has_text="BatchNorm")).first.click()
    channels = page.locator(f"{PLACE}:visible .widget-button[title^='channel ']")
    wait_until(lambda: channels.count() > 3, 20, "the channels")
    changes(page, 1, lambda: channels.nth(3).click())
    assert "Channel 3" in board(page, 1).inner_text()
    shot(page, "live_batchnorm")
    assert page.complaints == []


def test_cells_that_run_again_leave_no_widgets(lab, page):  # noqa: F811 (fixtures)
    counts = []
    for _ in range(3):
        run_cells(lab, page)
        counts.append(next(o.text for c in save(lab, page, NOTEBOOK).cells for o in c.get("outputs", ())
                           if o.get("text", "").startswith("widgets:")))
    assert len(set(counts)) == 1
