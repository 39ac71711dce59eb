"""Views in a real browser, from a file, without a network: clicks, sliders, menus, themes, sizes, and how soon."""
import numpy as np
import pytest
from explorer_results import landscape
from lab import browser, chromium, shot  # noqa: F401 (fixtures)

from fragility_nb.explore.scores import explore_scores
from fragility_nb.measure.scores import label_scores

pytestmark = pytest.mark.browser
# milliseconds from a signal to the drawn frame; the bars are 50 and 100 on a quiet machine, and this one may be busy
SOON = {(21, 10): 250, (150, 20): 500}
WORDS = "() => [...document.querySelectorAll('.fragility-chart svg text')].map(t => t.textContent)"
MOVE = """async ([name, values]) => { const view = document.querySelector('.fragility-view').view, took = [];
    for (const v of values) { performance.mark('start'); await view.signal(name, v).runAsync();
        await new Promise(requestAnimationFrame); took.push(performance.measure('answer', 'start').duration) }
    return took }"""


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    explorer = explore_scores(landscape(21, 10, samples=50))
    return explorer, explorer.save(tmp_path_factory.mktemp("views")/"scores.html")


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    explorer = explore_scores(landscape(150, 20, samples=50))
    return explorer, explorer.save(tmp_path_factory.mktemp("views")/"scores.html")


def opened(browser, path, size=(1280, 720), scheme="light", zoom=1.):  # noqa: F811 (fixtures)
    "A page of a file, offline; what it complains of and what it asks the network for."
    context = browser.new_context(viewport=dict(width=int(size[0]/zoom), height=int(size[1]/zoom)), offline=True,
                                  color_scheme=scheme, device_scale_factor=zoom)
    page, faults = context.new_page(), []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url))
    page.goto(f"file://{path}")
    page.wait_for_selector(".fragility-view[data-alive]", timeout=60_000)
    return page, faults


@pytest.mark.parametrize("size", list(SOON), ids=["small", "large"])
def test_answers_soon(browser, request, size):  # noqa: F811 (fixtures)
    explorer, path = request.getfixturevalue(request.node.callspec.id)
    page, faults = opened(browser, path)
    layers = explorer.shown.layers
    moves = dict(band=[0.02*i for i in range(1, 8)], cell_layer=layers[:7], kind=[1, 2, 0, 1, 2, 0, 1])
    took = {name: float(np.median(page.evaluate(MOVE, [name, values]))) for name, values in moves.items()}
    print(size, path.stat().st_size, {k: round(v) for k, v in took.items()})
    assert max(took.values()) <= SOON[size], took
    assert faults == [] and path.stat().st_size < 2.9e6
    page.context.close()


def test_a_click_shows_another_layer(browser, small):  # noqa: F811 (fixtures)
    page, faults = opened(browser, small[1])
    assert "Response of layer1.0.conv1, epoch 0" in page.evaluate(WORDS)
    before = page.evaluate(WORDS)
    page.locator(".fragility-chart svg .mark-rect path").nth(47).click(force=True)  # layer by layer, 10 epochs each
    page.wait_for_function("() => [...document.querySelectorAll('.fragility-chart svg text')]"
                           ".some(t => t.textContent == 'Response of layer1.2.conv1, epoch 7')")
    after = page.evaluate(WORDS)
    assert [w for w in before if " S = " in w] != [w for w in after if " S = " in w]
    page.get_by_role("combobox").nth(1).focus()  # and by keys
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(300)
    assert page.evaluate(WORDS) != after and faults == []
    page.context.close()


def test_the_slider_relabels_as_python_does(browser, small):  # noqa: F811 (fixtures)
    explorer, path = small
    page, faults = opened(browser, path)
    short = {"Fr": "fragile", "Ro": "robust", "Af": "antifragile", "–": "undecided"}
    one = explorer.shown.first.scores.sel(kind="clean", filter="combined")
    for band in (0.01, 0.045, 0.2):
        page.evaluate(MOVE, ["band", [band]])
        words = [short[w] for w in page.evaluate(WORDS) if w in short]
        assert words == label_scores(one.low, one.high, band).ravel().tolist(), band
    assert faults == []
    page.context.close()


def test_a_drag_chooses_thresholds(browser, small):  # noqa: F811 (fixtures)
    page, faults = opened(browser, small[1])
    numbers = lambda: sum(w.replace(".", "").isdigit() for w in page.evaluate(WORDS))  # noqa: E731
    before = numbers()
    box = page.locator("svg .mark-line path").first.bounding_box()
    page.mouse.move(box["x"] + 0.1*box["width"], box["y"] + 0.8*box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4*box["width"], box["y"] + 0.8*box["height"], steps=3)
    page.mouse.up()
    page.wait_for_timeout(500)
    assert numbers() < before - 40 and faults == []
    page.context.close()


@pytest.mark.parametrize("size, scheme, zoom", [((1280, 720), "light", 1.), ((1024, 640), "dark", 1.),
                                                ((1280, 720), "dark", 1.5)], ids=["wide", "small-dark", "zoomed"])
def test_sizes_and_themes(browser, small, size, scheme, zoom):  # noqa: F811 (fixtures)
    page, faults = opened(browser, small[1], size, scheme, zoom)
    shot(page, f"scores_{size[0]}_{scheme}_{zoom}")
    inside = page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth + 1")
    fill = page.evaluate("() => getComputedStyle([...document.querySelectorAll('svg .role-axis-label text')][0]).fill")
    light = sum(int(c) for c in fill[4:-1].split(",")) > 384
    assert inside and light == (scheme == "dark") and faults == []
    page.context.close()
