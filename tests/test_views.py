"""Views that need no kernel: packed numbers, pages, files, code, and what they show against the results themselves."""
import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from control_results import fake_sweep
from explorer_results import landscape
from PIL import Image

from fragility_nb.core.results import provenance
from fragility_nb.explore import base
from fragility_nb.explore.breaking import breaks_of, breaks_table, thumbnail
from fragility_nb.explore.score_data import SCORES, Subject, filters_of, paired_differences
from fragility_nb.explore.scores import explore_scores
from fragility_nb.explore.views import DIGITS, VEGA, Packed, View, live_notebook, pack_numbers
from fragility_nb.measure.scores import label_scores, synaptic_scores

pytestmark = pytest.mark.quick


def unpacked(text, how):
    "An independent reader of packed numbers."
    n = how.letters
    codes = [sum(DIGITS.index(c)*len(DIGITS)**(n - 1 - j) for j, c in enumerate(text[i:i + n]))
             for i in range(0, len(text), n)]
    return np.array([np.nan if c == 0 else how.low + how.step*(c - 1) for c in codes])


@pytest.fixture(scope="module")
def result(): return landscape(6, 3, inits=2, samples=50)


@pytest.fixture(scope="module")
def explorer(result): return explore_scores(result)


@pytest.mark.parametrize("how", [Packed(), Packed(-3.5, 1e-5, 3), Packed(0, 1, 1)], ids=["curve", "score", "count"])
def test_packed_numbers_come_back(how):
    values = how.low + how.step*np.random.default_rng(0).integers(0, 80, (4, 7)).astype(float)
    values[0, 0] = np.nan
    for row, text in zip(values, pack_numbers(values, how)):
        np.testing.assert_allclose(unpacked(text, how), row, atol=how.step*1e-6)
        assert json.loads(json.dumps(text)) == text and not set(text) & set("<>&\"'\\")


@pytest.mark.parametrize("band", [0.0, 0.005, 0.02, 0.2])
def test_rounding_changes_no_label(band):
    rng = np.random.default_rng(1)
    low = np.concatenate([rng.uniform(-0.3, 0.3, 500), [band, -band, band, -np.inf]])
    high = np.concatenate([low[:500] + rng.uniform(0, 0.1, 500), [band, -band, 0.3, np.inf]])
    packed = [unpacked(pack_numbers(np.where(np.isinf(v), np.sign(v)*10, v)[None], SCORES, outward=True)[0], SCORES)
              for v in (low, high)]
    a, b = packed
    t = band + 1e-7  # as the chart does
    words = np.select([b < -t, a > t, (a >= -t) & (b <= t)], ["fragile", "antifragile", "robust"], "undecided")
    assert (words == label_scores(low, high, band)).all()


def test_rows_hold_the_scores_and_curves_of_the_result(explorer, result):
    shown, one = explorer.shown, result.isel(init=1)
    row = next(r for r in shown.rows if r["layer"] == "layer1.1.conv1" and r["e"] == 2)
    scores = synaptic_scores(one).sel(layer="layer1.1.conv1", epoch=2)
    got = unpacked(row["s"], SCORES).reshape(len(shown.facts["inits"]), len(shown.first.filters), 3, 3)
    expected = np.stack([scores[k].sel(filter=shown.first.filters) for k in ("score", "low", "high")], -1)
    np.testing.assert_allclose(got[2], expected.transpose(1, 0, 2), atol=2e-5)
    curve = one.accuracy/one.reference_accuracy
    curve = curve.sel(layer="layer1.1.conv1", epoch=2, filter="pulse", stress="adversarial")
    how = Packed(0., shown.most/7000, 2)
    got = unpacked(row["c"], how).reshape(3, 4, 25, len(shown.facts["series"]))
    at = shown.facts["series"].index("adversarial")
    np.testing.assert_allclose(got[2, shown.first.filters.index("pulse"), :, at], curve, atol=how.step)


def test_intervals_of_curves_against_a_bootstrap():
    result = landscape(2, 1, samples=400)
    s = Subject(filters_of(result))
    from fragility_nb.explore.score_data import curve_errors
    error = curve_errors(s.result).sel(layer=s.layers[0], stress="clean").isel(threshold=8, epoch=0)
    rng, one = np.random.default_rng(0), result.isel(layer=0, threshold=8, epoch=0).sel(stress="clean")
    draws = rng.integers(0, 400, (2000, 400))
    ref = one.reference_correct.values[draws].mean(1)
    each = np.stack([one.correct.sel(filter=f).values[draws].mean(1)/ref for f in one["filter"].values])
    np.testing.assert_allclose(error.sel(filter=one["filter"]), each.std(1), rtol=0.1)
    np.testing.assert_allclose(error.sel(filter="combined"), each.mean(0).std(), rtol=0.1)


def test_a_difference_is_paired():
    a, b = (landscape(3, 2, samples=80, seed=i).assign_attrs(data_hash="of these images") for i in (0, 1))
    gap = paired_differences(Subject(filters_of(a)), Subject(filters_of(b)))
    np.testing.assert_allclose(gap.score, synaptic_scores(b).score - synaptic_scores(a).score, atol=1e-12)
    same = paired_differences(Subject(filters_of(a)), Subject(filters_of(a)))
    assert same.low.max() == same.high.min() == 0
    assert [r["m"] for r in explore_scores(a, b).shown.rows].count(2) == 6


def test_files(explorer, tmp_path):
    for suffix in (".png", ".svg", ".csv", ".json", ".html"):
        (tmp_path/f"x{suffix}").write_text("mine")
        saved = explorer.save(tmp_path/f"x{suffix}")
        assert saved == tmp_path/f"x-2{suffix}" and (tmp_path/f"x{suffix}").read_text() == "mine"
        assert saved.stat().st_size > 200
    assert set(pd.read_csv(tmp_path/"x-2.csv").settings) == {repr(explorer)}
    assert Image.open(tmp_path/"x-2.png").info["Description"] == repr(explorer)
    assert (tmp_path/"x-2.html").stat().st_size < 2.5e6
    assert not re.search(r"<(script|link|img)[^>]*https?://", (tmp_path/"x-2.html").read_text())
    with pytest.raises(ValueError, match="bmp"): explorer.save(tmp_path/"x.bmp")


def test_code_makes_this_very_view_in_an_empty_notebook(result, tmp_path):
    one = explore_scores(result, epoch=1, kind="adversarial", band=0.05)
    two = explore_scores(dict(a=landscape(2, 2, samples=50), b=landscape(2, 2, samples=50, seed=1)), filter="pulse")
    for explorer in (one, two):
        *lines, last = explorer.code(tmp_path).splitlines()
        space = {}
        exec("\n".join(lines), space)
        again = eval(last, space)
        assert again.spec == explorer.spec and repr(again) == repr(explorer)


def test_a_notebook_shows_the_chart_its_still_and_its_table(explorer):
    (chart, alt), (table, _) = explorer._outputs()
    assert chart[VEGA]["$schema"].endswith("v5.json") and chart["image/png"].startswith(b"\x89PNG")
    assert alt["image/png"]["alt"] == chart[VEGA]["description"] and "<summary>" in table["text/html"]
    import ipywidgets
    tab = ipywidgets.Tab([explorer.view])
    assert tab.children[0].outputs[0]["data"][VEGA] == explorer.spec
    output = nbformat.v4.new_output("display_data", {VEGA: explorer.spec})
    page = live_notebook(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("", outputs=[output])]))
    assert 'class="fragility-view"' in page.cells[0].outputs[0].data["text/html"] and VEGA in output.data


def test_the_former_of_a_cell_is_let_go(result, monkeypatch):
    run = iter([("cell", "1"), ("cell", "1"), ("other", "2"), ("cell", "3")])
    monkeypatch.setattr(base, "_cell_of_now", lambda: next(run))
    one = result.isel(init=0)
    made = [explore_scores(one, layer=one.layer.values[0]) for _ in range(4)]
    assert [bool(e.sources) for e in made] == [False, False, True, True]


@pytest.mark.parametrize("small", [dict(layers=1, epochs=1), dict(layers=1, epochs=3), dict(layers=3, epochs=1),
                                   dict(layers=3, epochs=1, attack=False)], ids=str)
def test_small_results(small):
    explorer = explore_scores(landscape(**small, samples=50))
    assert explorer.spec["vconcat"] and len(explorer.figure().axes) >= 2


def test_holes_and_results_without_intervals(result):
    one = result.isel(init=0).drop_vars("correct").copy(deep=True)
    expected = synaptic_scores(result.isel(init=0)).sel(kind="clean", filter="combined", epoch=0).score
    explorer = explore_scores(one)
    assert set(explorer.table().label) == {"undecided"} and np.allclose(explorer.table().score, expected)
    one["accuracy"][dict(epoch=1)] = np.nan
    explore_scores(one, epoch=1).figure()


@pytest.mark.parametrize("size", [dict(layers=5, epochs=3), dict(layers=4, epochs=2, attack=False),
                                  dict(layers=150, epochs=6)], ids=["attack", "clean", "in-parts"])
def test_scores_drawn_at_once_are_those_of_each_epoch(size):
    sweep = landscape(samples=50, **size)
    sweep["reference_correct"][dict(stress=-1, epoch=1)] = False  # no score without an accuracy
    sweep["reference_accuracy"] = sweep.reference_correct.mean("sample")
    quick, slow = Subject(filters_of(sweep)).scores, synaptic_scores(sweep)
    for k in ("score", "low", "high"): np.testing.assert_allclose(quick[k], slow[k], atol=1e-12)
    told = [{k: v for k, v in s.attrs.items() if k != "created_at"} for s in (quick, slow)]
    assert (quick.label == slow.label).all() and told[0] == told[1]
    assert not np.isfinite(slow.low.isel(epoch=1)).all()


def test_both_baselines_are_told():
    sweep = fake_sweep(n=80, layers=4)
    table, other = explore_scores(sweep).table(), synaptic_scores(sweep, baseline="random")
    assert table.label_random.tolist() == other.sel(kind="clean", filter="combined").label.values.tolist()
    again = explore_scores(sweep, baseline="random").table()
    np.testing.assert_allclose(again.score, other.sel(kind="clean", filter="combined").score)


@pytest.mark.parametrize("bad, words", [
    (lambda r: r.assign_attrs(schema="fragility_nb/0"), "fragility_nb/0"),
    (lambda r: r.assign_attrs(kind="stress_sweep"), "stress_sweep"), (lambda r: {}, "empty"),
    (lambda r: r.isel(layer=slice(0, 0)), "along `layer`"), (lambda r: r.drop_vars("accuracy"), "no accuracy"),
    (lambda r: xr.DataTree(), "no group filters")], ids=["schema", "kind", "none", "empty", "lacking", "tree"])
def test_bad_results(result, bad, words):
    with pytest.raises(ValueError, match=words): explore_scores(bad(result))


def test_unknown_settings(result):
    with pytest.raises(ValueError, match="layr"): explore_scores(result, layr="x")
    with pytest.raises(ValueError, match="layer"): explore_scores(result, layer="none")
    with pytest.raises(ValueError, match="same layers"):
        explore_scores(result, scores=synaptic_scores(landscape(3, 3, samples=50, inits=2)))
    with pytest.raises(ValueError, match="same `filter`"):
        explore_scores(result, result.isel(filter=[0, 1]))


def test_a_view_says_what_is_missing():
    with pytest.raises(NotImplementedError): View({}, {}).page()


def answers(n=40):
    "A made-up filter sweep with answers: layer a breaks image i from threshold i on, layer b breaks none."
    x, labels = np.linspace(0, 1, 5), np.arange(n) % 10
    right = np.ones((1, 2, 1, 5, n), bool)
    for i in range(5): right[0, 0, 0, i:, i] = False
    pred = np.where(right, labels, (labels + 1) % 10).astype(np.int16)
    dims = ("stress", "layer", "filter", "threshold", "sample")
    ref = np.ones((1, n), bool)
    ref[0, 4] = False
    fields = dict(correct=(dims, right), pred=(dims, pred), margin=(dims, np.where(right, 1., -1. - labels)),
                  accuracy=(dims[:-1], right.mean(-1)), reference_correct=(("stress", "sample"), ref),
                  reference_accuracy=("stress", ref.mean(-1)), weights=("layer", [9, 9]),
                  removed=(dims[1:-1], np.zeros((2, 1, 5), int)))
    coords = dict(stress=["clean"], layer=["a", "b"], filter=["pulse"], threshold=x, sample=np.arange(n)[::-1],
                  label=("sample", labels))
    return xr.Dataset(fields, coords, provenance("filter_sweep"))


def test_the_images_that_break():
    breaks = breaks_of(answers())
    table = breaks_table(breaks, 0, 0, 2)  # images 0, 1, 2 are wrong by now; the smallest margin is that of label 2
    assert table.label.tolist() == [2, 1, 0] and table.answer.tolist() == [3, 2, 1]
    assert table.image.tolist() == [37, 38, 39] and table.first_threshold.tolist() == [0.5, 0.25, 0.]
    assert len(breaks_table(breaks, 0, 0, 4)) == 4  # what was wrong before does not break
    assert len(breaks_table(breaks, 1, 0, 4)) == 0
    with pytest.raises(ValueError, match="coverage"): breaks_of(answers().assign_attrs(kind="coverage"))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 224, 224), (3, 32, 32)], ids=["grey", "photo", "cifar"])
def test_thumbnails_are_small(shape):
    flat = np.linspace(0, 1, np.prod(shape), dtype=np.float32).reshape(shape)
    assert thumbnail(flat).startswith("data:image/") and len(thumbnail(flat)) < 3000
