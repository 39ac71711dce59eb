"""Views of coverage, runs, stress, matrices and BatchNorm gaps: their numbers, and their pages in a browser offline."""
import json

import ipywidgets as widgets
import numpy as np
import pytest
import xarray as xr
from explorer_results import coverage, reports
from lab import browser, chromium, wait_until  # noqa: F401 (fixtures)

from fragility_nb import save_result, stress_summary
from fragility_nb.core.results import provenance
from fragility_nb.explore import (
    explore_coverage, explore_gaps, explore_matrix, explore_runs, explore_sweep, run_table,
)

LONG = "a very long name of a run that must stand whole: resnet18 on cifar10, initialisation 3"


def some_runs():
    "Three runs, of which one has no adversarial images and one has a long name."
    runs = reports()
    return {"seed0": runs["seed0"], LONG: runs["seed1"], "cnn7": runs["seed2"].sel(stress=["clean"])}


def swept(seed=0):
    "A made-up sweep of two stresses."
    rng, severity = np.random.default_rng(seed), [0., 1., 2.]
    p = np.clip(0.95 - 0.3*np.arange(3)[None, :, None, None] - 0.1*seed, 0, 1)
    right = rng.random((2, 3, 1, 80)) < p
    right[:, 0] = right[:1, 0]
    label = rng.integers(0, 10, 80)
    pred = np.where(right, label, (label + 1) % 10)
    dims = ("stress", "severity", "seed", "sample")
    noise = rng.random(right.shape)
    fields = dict(correct=(dims, right), pred=(dims, pred), margin=(dims, np.where(right, noise, -noise)),
                  loss=(dims, noise), confidence=(dims, noise))
    coords = dict(stress=["gaussian_noise", "fog"], severity=severity, seed=[0], label=("sample", label),
                  strength=(("stress", "severity"), np.tile(severity, (2, 1))), strength_unit=("stress", ["σ", "1"]))
    return xr.Dataset(fields, coords, provenance("stress_sweep", model=f"cnn{seed}", num_classes=10, data="made up"))


def gaps(units=40):
    "Made-up gaps of two layers."
    rng, layer = np.random.default_rng(0), np.repeat(["bn1", "bn2"], units//2)
    mean, ratio = rng.normal(size=(2, 1, 2, units))
    size = lambda v: np.stack([np.abs(v[..., layer == n]).mean(-1) for n in ("bn1", "bn2")], -1)  # noqa: E731
    each, of = ("stress", "severity", "unit"), ("stress", "severity", "layer_name")
    return xr.Dataset(dict(mean_gap=(each, mean), log_variance_ratio=(each, ratio), mean_gap_size=(of, size(mean)),
                           log_variance_size=(of, size(ratio))),
                      dict(stress=["fog"], severity=[0., 2.], layer_name=["bn1", "bn2"], layer=("unit", layer)),
                      provenance("statistic_gap", model="cnn4"))


def matrix():
    "A made-up summary of a matrix: three trainings."
    rng, dims = np.random.default_rng(0), ("train", "stress", "severity")
    p = rng.random((3, 2, 3))
    trains = np.array(["none", "gaussian_noise 1", "gaussian_noise 2"], object)
    fields = dict(accuracy=(dims, p), low=(dims, p - 0.05), high=(dims, p + 0.05))
    fields["best"] = dims[1:], trains[p.argmax(0)]
    coords = dict(train=trains, stress=["gaussian_noise", "fog"], severity=[0., 1., 2.])
    return xr.Dataset(fields, coords, provenance("matrix_summary"))


MAKERS = dict(coverage=lambda: explore_coverage(coverage()), runs=lambda: explore_runs(some_runs()),
              sweep=lambda: explore_sweep(dict(a=swept(), b=swept(1))), matrix=lambda: explore_matrix(matrix()),
              gaps=lambda: explore_gaps(gaps()))


@pytest.mark.quick
@pytest.mark.parametrize("name", MAKERS)
def test_a_figure_a_table_and_a_widget(name, tmp_path):
    explorer = MAKERS[name]()
    assert len(explorer.table()) and len(widgets.Tab([explorer.view]).children) == 1
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.vegalite.v5+json" in bundle and len(json.dumps(explorer.spec)) < 60_000
    assert explorer.spec["description"] and explorer.save(tmp_path/"x.csv").stat().st_size > 30
    explorer.close()


@pytest.mark.quick
def test_first_images_reach_units_one_by_one():
    result, rows = coverage(), explore_coverage(coverage()).spec["data"]["values"]
    assert len(rows) == 2*3
    for row in rows:
        criterion = result.criterion.values[[r["criterion"] for r in rows].index(row["criterion"])//3]
        first = result["first"].sel(criterion=criterion).values[result.layer.values == row["layer"]]
        expected = [np.mean((first >= 0) & (first < n)) for n in row["n"]]
        np.testing.assert_allclose(row["reached"], expected, atol=1e-4)
        assert row["never"] == (first < 0).sum()


@pytest.mark.quick
def test_missing_numbers_and_files_are_said_and_no_run_is_dropped(tmp_path):
    spec = json.dumps(explore_runs(some_runs()).spec, ensure_ascii=False)
    assert "mean adversarial score: 2 of 3 runs; cnn7 has none" in spec and LONG in spec
    few = {k: r.drop_vars("correct") for k, r in some_runs().items()}  # no answers, no intervals
    table = run_table(few)
    assert table.run.tolist() == list(few) and table["mean clean score"].notna().all()
    whole = run_table(some_runs())
    assert (whole["lowest clean score low"] <= whole["lowest clean score"]).all()
    for i, r in enumerate(some_runs().values()):
        (tmp_path/f"run{i}").mkdir()
        save_result(r, tmp_path/f"run{i}/result.nc")
    (tmp_path/"run1/report.html").write_text("a page")
    (tmp_path/"broken").mkdir()
    (tmp_path/"broken/result.nc").write_text("no result")
    with pytest.warns(UserWarning, match="broken"): explorer = explore_runs(tmp_path)
    text = json.dumps(explorer.spec)
    assert len(explorer.table()) == 3 and "not read: broken" in text and "run1/report.html" in text


@pytest.mark.quick
def test_intervals_of_a_sweep_are_those_of_its_summary():
    table, s = explore_sweep(swept()).table(), stress_summary(swept())
    one = table[(table.measure == "accuracy") & (table.severity == 2) & (table.stress == "Gaussian noise")].iloc[0]
    at = s.sel(stress="gaussian_noise", severity=2.)
    np.testing.assert_allclose([one.value, one.low, one.high], [at.accuracy, at.low, at.high], atol=1e-4)


@pytest.mark.quick
def test_gaps_of_many_channels_keep_the_largest():
    import fragility_nb.explore.sweeps as module
    many, rows = gaps(40_000), module._gap_rows(gaps(40_000))
    assert {len(r["channel"]) for r in rows} == {64}
    one = np.abs(many.mean_gap.values[0, 1][many.layer.values == "bn2"])
    row = next(r for r in rows if r["layer"] == "bn2" and r["severity"] == 2 and r["measure"] == "mean_gap")
    assert set(row["channel"]) == set(np.argsort(-one)[:64].tolist())
    assert {len(r["channel"]) for r in module._gap_rows(gaps())} == {20}


@pytest.mark.parametrize("bad", [lambda: explore_coverage(coverage(), layr="x"), lambda: explore_runs("no/such/folder"),
                                 lambda: explore_runs(some_runs(), z="x"), lambda: explore_matrix(matrix(), "blur"),
                                 lambda: explore_gaps(gaps(), measure="x"), lambda: explore_sweep(gaps()),
                                 lambda: explore_sweep({})], ids=list("abcdefg"))
@pytest.mark.quick
def test_wrong_settings_are_one_clear_error(bad):
    with pytest.raises((ValueError, KeyError, TypeError), match="Expected|setting|nknown"): bad()


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):  # noqa: F811 (fixtures)
    "Every view's page, opened in a browser that is offline."
    folder, opened = tmp_path_factory.mktemp("pages"), {}
    for name, make in MAKERS.items():
        path = make().save(folder/f"{name}.html")
        page = browser.new_page(viewport=dict(width=1024, height=640))
        page.complaints, page.asked = [], []
        page.on("pageerror", lambda e, page=page: page.complaints.append(str(e)))
        page.on("request", lambda r, page=page: page.asked.append(r.url))
        page.context.set_offline(True)
        page.goto(path.as_uri())
        wait_until(lambda page=page: page.locator(".fragility-view[data-alive]").count() == 1, 30, "the chart")
        opened[name] = page
    yield opened
    for page in opened.values(): page.close()


MARKS = """() => [...document.querySelectorAll('.fragility-chart svg :is(g.mark-rect, g.mark-line, g.mark-symbol) path,'
    + ' .fragility-chart svg g.mark-text text')].map(e => (e.getAttribute('d') || '') + e.textContent
    + e.getAttribute('fill') + e.getAttribute('transform')).sort().join('|').replace(/gradient_\\d+/g, '')"""


def marks(page):
    "All that is drawn, in an order of its own."
    return page.evaluate(MARKS)


@pytest.mark.browser
@pytest.mark.parametrize("name", MAKERS)
def test_a_page_lives_offline_and_every_menu_changes_it(pages, name):
    page = pages[name]
    assert page.locator("[role=figure]").first.get_attribute("aria-label")
    assert page.locator("details table").count() == 1
    for select in page.locator(".vega-bind select").all():
        options = select.locator("option").count()
        now = select.evaluate("s => s.selectedIndex")
        before = marks(page)
        select.select_option(index=(now + 1) % options)
        wait_until(lambda before=before: marks(page) != before, 5, "the chart to change")
        select.select_option(index=now)
        wait_until(lambda before=before: marks(page) == before, 5, "the chart to come back")
    assert page.complaints == [] and len(page.asked) == 1  # the page itself


@pytest.mark.browser
@pytest.mark.parametrize("name", ["coverage", "matrix", "gaps"])
def test_a_click_chooses(pages, name):
    page = pages[name]
    before, bars = marks(page), page.locator(".fragility-chart g.mark-rect.role-mark path[aria-roledescription]")
    bars.nth(4 if name == "matrix" else 1).click()
    wait_until(lambda: marks(page) != before, 5, "the chart to change")


@pytest.mark.browser
def test_runs_are_kept_by_name_and_by_range(pages):
    page = pages["runs"]
    names = lambda: [t for t in page.locator(".fragility-chart g.mark-text text").all_text_contents()  # noqa: E731
                     if t in ("seed0", "cnn7", LONG)]
    assert sorted(names()) == sorted(["seed0", "cnn7", LONG])
    page.locator(".vega-bind input[type=text]").fill("RESNET18")
    wait_until(lambda: names() == [LONG], 5, "the runs of that name")
    page.locator(".vega-bind input[type=text]").fill("")
    wait_until(lambda: len(names()) == 3, 5, "all runs")
    points = page.locator(".fragility-chart g.mark-symbol path")
    page.evaluate("scrollTo(0, 0)")
    boxes = [p.bounding_box() for p in points.all()]
    near = lambda a, b: abs(a["x"] - b["x"]) < 30 and abs(a["y"] - b["y"]) < 25  # noqa: E731
    box = next(b for b in boxes if sum(near(b, c) for c in boxes) == 1)
    page.mouse.move(box["x"] - 6, box["y"] - 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 6, box["y"] + box["height"] + 2, steps=4)
    page.mouse.up()
    wait_until(lambda: 0 < len(names()) < 3, 5, "the runs in the range")
