"""The images that break: of every kind of result, and as a page in a browser, offline."""
import re

import numpy as np
import pytest
import torch
import xarray as xr
from lab import browser, chromium, shot, wait_until  # noqa: F401 (fixtures)

from fragility_nb import GaussianNoise, ImageData, create_model, fit, kernel_dropout, load_data, stress_sweep
from fragility_nb.core.results import provenance
from fragility_nb.explore.breaking import MOST_IMAGES, breaks_of, explore_breaking
from fragility_nb.models.answers import predict

N, LAYERS = 400, 21


def pictures(n=N, side=28):
    "Noise of the size of MNIST's pictures, which no format makes small."
    x = torch.from_numpy(np.random.default_rng(0).random((n, 1, side, side), dtype=np.float32))
    return ImageData(x, torch.arange(n) % 10, tuple("abcdefghij"), "noise")


def swept(layers=LAYERS, thresholds=25, n=N):
    "A made-up filter sweep with answers: the more is removed, the more images are wrong."
    rng, x = np.random.default_rng(0), np.linspace(0, 1, thresholds)
    label = np.arange(n) % 10
    right = rng.random((1, layers, 3, thresholds, n)) > 0.7*x[:, None]
    pred = np.where(right, label, (label + 1) % 10).astype(np.int16)
    dims, ref = ("stress", "layer", "filter", "threshold", "sample"), rng.random((1, n)) > 0.1
    margin = np.where(right, 1, -1)*rng.random(right.shape)
    fields = dict(correct=(dims, right), pred=(dims, pred), margin=(dims, margin), accuracy=(dims[:-1], right.mean(-1)),
                  reference_correct=(("stress", "sample"), ref), reference_accuracy=("stress", ref.mean(-1)),
                  weights=("layer", [9]*layers), removed=(dims[1:-1], np.zeros((layers, 3, thresholds), int)))
    coords = dict(stress=["clean"], layer=[f"conv{i}" for i in range(layers)], threshold=x, sample=np.arange(n),
                  filter=["high_pass", "low_pass", "pulse"], label=("sample", label))
    return xr.Dataset(fields, coords, provenance("filter_sweep", num_classes=10))


@pytest.fixture(scope="module")
def explorer(): return explore_breaking(swept(), pictures(), case="conv3", filter="pulse", level=0.5)


def test_kernels_without_which_images_break(digits):
    model, data = create_model("cnn3"), digits.take(range(100))
    fit(model, load_data("digits", "train"), epochs=1, lr=3e-3, device="cpu", progress=False)
    result = kernel_dropout(model, data, kernels=[0, 3], device="cpu", progress=False)
    explorer, right = explore_breaking(result, data, case="3"), predict(model, data).argmax(1) == data.labels

    layer = next(m for name, m in model.named_modules() if name.endswith(result.attrs["layer"]))
    with torch.no_grad(): layer.weight[3] = 0
    if layer.bias is not None: layer.bias.data[3] = 0
    now = predict(model, data).argmax(1)
    expected = data.index[right & (now != data.labels)]
    assert sorted(explorer.table().image) == expected.tolist() and len(expected)


@pytest.mark.quick
def test_images_of_differential_tests_break_where_the_answer_changes():
    rng = np.random.default_rng(0)
    old, new = rng.integers(0, 3, (2, 2, 12))
    fields = dict(seed_answer=(("model", "sample"), old), answer=(("model", "sample"), new),
                  outcome=("sample", np.zeros(12, int)),
                  image=(("sample", "channel", "row", "column"), rng.random((12, 1, 8, 8))))
    coords = dict(model=["a", "b"], sample=np.arange(12), label=("sample", old[0]))
    result = xr.Dataset(fields, coords, provenance("differential"))
    explorer = explore_breaking(result, pictures(12, 8), case="b")
    table = explorer.table()
    assert sorted(table.image) == np.flatnonzero(old[1] != new[1]).tolist()
    assert dict(zip(table.image, table.answer)) == {i: new[1, i] for i in table.image}


@pytest.mark.quick
def test_severities_at_which_images_flip(digits):
    model, data = create_model("cnn3"), digits.take(range(60))
    result = stress_sweep(model, data, GaussianNoise(), (1, 3, 5), device="cpu", progress=False)
    table, right = explore_breaking(result, data, level=5.).table(), result.correct.isel(stress=0, seed=0)
    broken = right.sel(severity=0) & ~right.sel(severity=5)
    assert sorted(table.image) == result.sample.values[broken].tolist()
    for row in table.itertuples():
        one = right.sel(sample=row.image)
        assert row.first_severity == one.severity.values[~one].min()


@pytest.mark.quick
def test_a_page_of_300_thumbnails_is_small(explorer, tmp_path):
    text = explorer.save(tmp_path/"x.html").read_text()
    assert len(set(re.findall(r"data:image/(?:png|jpeg);base64,[^\"]+", text))) >= MOST_IMAGES
    assert len(text.encode()) <= 2.5e6


SHOWN = """() => [...document.querySelectorAll('.fragility-chart svg .mark-image image')].map(i =>
    (i.getAttribute('href') || i.getAttribute('xlink:href') || '').slice(0, 11)
    + (i.getBoundingClientRect().width > 5))"""
WORDS = "() => [...document.querySelectorAll('.fragility-chart svg .mark-text text')].map(t => t.textContent)"


@pytest.mark.browser
def test_a_page_shows_filters_and_turns(browser, explorer, tmp_path):  # noqa: F811 (fixtures)
    context = browser.new_context(viewport=dict(width=1280, height=720), offline=True)
    page, faults = context.new_page(), []
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else faults.append(r.url))
    page.goto(explorer.save(tmp_path/"x.html").as_uri())
    page.wait_for_selector(".fragility-view[data-alive]", timeout=60_000)
    changes = lambda: {w for w in page.evaluate(WORDS) if " → " in w and len(w) == 5}  # noqa: E731
    shown = page.evaluate(SHOWN)
    assert len(shown) == 55 and all(s.startswith("data:image/") and s.endswith("true") for s in shown)
    shot(page, "breaking")
    page.locator(".vega-bind", has_text="class").locator("select").select_option(label="d")
    wait_until(lambda: changes() == {"d → e"}, 5, "the images of one class")
    breaks = breaks_of(swept())
    kept = np.argsort(-breaks.broken.any((1, 2)).sum(0), kind="stable")[:MOST_IMAGES]
    assert len(page.evaluate(SHOWN)) == (breaks.broken[3, 2, 12] & (breaks.labels == 3))[kept].sum()
    before = page.evaluate(WORDS)
    page.locator(".fragility-chart svg g.mark-rect path").nth(9).click()
    wait_until(lambda: page.evaluate(WORDS) != before, 5, "another layer")
    assert faults == []
    context.close()
