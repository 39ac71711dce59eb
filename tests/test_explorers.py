"""The explorers in plain Python: figures without a front end, settings, files, code of the same figure, bad input."""
import asyncio
import io

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from control_results import fake_sweep
from explorer_results import coverage, landscape, reports
from PIL import Image

from fragility_nb.explore.base import Explorer
from fragility_nb.explore.runs import explore_runs
from fragility_nb.explore.coverage import explore_coverage
from fragility_nb.explore.scores import explore_scores
from fragility_nb.measure.scores import label_scores, synaptic_scores


@pytest.fixture(scope="module")
def result(): return landscape(6, 3, inits=2)


@pytest.fixture(scope="module")
def explorer(result): return explore_scores(result)


def pixels(png): return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def of(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("make", [lambda: explore_scores(landscape(3, 2))])
def test_without_a_front_end(make):
    bundle = make()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and len(np.unique(pixels(bundle["image/png"]))) > 10


@pytest.mark.parametrize("setting", ["kind", "filter", "init", "layer", "epoch", "band"])
def test_every_control_changes_the_picture(result, setting):
    explorer = explore_scores(result)
    before, control = explorer.picture.value, explorer.controls[setting]
    control.value = 0.1 if setting == "band" else control.options[-1]
    assert explorer.picture.value != before and explorer.message.value == ""


def test_quick_picture_is_the_figure(explorer):
    explorer.controls["layer"].value = explorer.controls["layer"].options[2]
    quick, whole = pixels(explorer.picture.value).astype(int), of(explorer.figure()).astype(int)
    assert quick.shape == whole.shape and (np.abs(quick - whole).max(-1) > 60).mean() < 0.01


def again(explorer, **names):
    "The figure that the code of an explorer makes, and the explorer's own."
    *lines, last = explorer.code().splitlines()
    exec("\n".join(lines), names)
    return of(eval(last, names)), of(explorer.figure())


def test_code_makes_this_very_figure(result, explorer):
    made = synaptic_scores(result, ci=0.5)
    assert np.array_equal(*again(explorer, result=result))
    assert np.array_equal(*again(explore_scores(result, made, band=0.05), result=result, scores=made))


def test_band_relabels_stored_intervals(result):
    one = result.isel(init=0)
    explorer, expected = explore_scores(one, filter="pulse", epoch=1), synaptic_scores(one)
    explorer.controls["band"].value = 0.1
    cells = expected.sel(kind="clean", filter="pulse", epoch=1)
    assert explorer.table().label.tolist() == label_scores(cells.low, cells.high, 0.1).tolist()
    assert np.array_equal(explorer.table().score, cells.score)


def test_files(explorer, tmp_path):
    for suffix in (".png", ".svg", ".csv"): assert explorer.save(tmp_path/f"x{suffix}").stat().st_size > 200
    assert pd.read_csv(tmp_path/"x.csv").layer.tolist() == explorer.subject.layers
    with pytest.raises(ValueError, match="pdf"): explorer.save(tmp_path/"x.pdf")
    assert not (tmp_path/"x.pdf").exists()


def test_files_are_not_overwritten_and_say_what_was_chosen(explorer, tmp_path):
    for suffix in (".png", ".svg", ".csv"):
        (tmp_path/f"x{suffix}").write_text("mine")
        saved = explorer.save(tmp_path/f"x{suffix}")
        assert saved == tmp_path/f"x-2{suffix}" and (tmp_path/f"x{suffix}").read_text() == "mine"
    assert set(pd.read_csv(tmp_path/"x-2.csv").settings) == {repr(explorer)}
    assert Image.open(tmp_path/"x-2.png").info["Description"] == repr(explorer)
    assert explorer.call in (tmp_path/"x-2.svg").read_text()


def test_only_the_last_of_many_requests_is_drawn(result):
    explorer = explore_scores(result)

    async def move():
        drawn = explorer.drawn
        for layer in explorer.subject.layers: explorer.controls["layer"].value = layer
        await asyncio.sleep(0.3)
        return explorer.drawn - drawn
    assert asyncio.run(move()) == 1
    quick, whole = pixels(explorer.picture.value).astype(int), of(explorer.figure()).astype(int)
    assert (np.abs(quick - whole).max(-1) > 60).mean() < 0.01


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (1, 1)])
def test_a_cell_is_chosen(shape):
    explorer = explore_scores(landscape(*shape, samples=5))
    cells = explorer._cells[1]
    assert len(cells.sliders) == min(shape)
    for row, column in ((shape[0] - 1, 0), (0, shape[1] - 1)):
        line, place = (column, row) if cells.upright else (row, column)
        cells.sliders[line].value = shape[0] - row if cells.upright else column  # upright sliders count from below
        assert explorer.state["layer"] == explorer.subject.layers[row] and explorer.state["epoch"] == column
        at = [s.value for s in cells.sliders]
        assert all(v == cells._turn(place if i == line else cells.none) for i, v in enumerate(at))
    cells.sliders[0].value = cells._turn(cells.none)  # the place beyond the last cell is no choice
    assert explorer.message.value == "" and explorer.state["epoch"] == shape[1] - 1


def test_another_model_has_its_own_cells(result):
    explorer = explore_scores(dict(a=result, b=landscape(4, 2, samples=5)))
    explorer.controls["model"].value = "b"
    assert explorer.stage.children[1] is explorer._cells[1].view and explorer._cells[1].none == 4


def test_table_sorts_and_chooses(explorer):
    explorer.rows.fold.selected_index = 0
    explorer.rows.sorting.value = "score"
    order = explorer.table().sort_values("score").layer.tolist()
    assert [layer for _, layer in explorer.rows.layers.options] == order
    explorer.rows.layers.value = order[-1]
    assert explorer.state["layer"] == order[-1]
    explorer.controls["layer"].value = order[1]
    assert explorer.rows.layers.value == order[1]


@pytest.mark.parametrize("small", [dict(layers=1, epochs=1), dict(layers=1, epochs=3), dict(layers=3, epochs=1),
                                   dict(layers=3, epochs=1, attack=False)])
def test_small_results(small):
    explorer = explore_scores(landscape(**small))
    assert explorer.message.value == "" and of(explorer.figure()).std() > 5


def test_both_baselines_are_told_and_can_be_chosen():
    sweep = fake_sweep(n=80, layers=4)
    explorer = explore_scores(sweep)
    assert explorer.state["baseline"] == "published" and explorer.controls["baseline"].layout.display != "none"
    table, other = explorer.table(), synaptic_scores(sweep, baseline="random").sel(kind="clean", filter="combined")
    assert table.label_random.tolist() == other.label.values.tolist()
    explorer.controls["baseline"].value = "random"
    np.testing.assert_allclose(explorer.table().score, other.score)
    assert explorer.table().label_published.tolist() == table.label.tolist()
    told = " ".join(t.get_text() for ax in explorer.figure().axes for t in ax.texts)
    assert "random removal (dotted)" in told
    assert explore_scores(landscape(3, 2, samples=60)).controls["baseline"].layout.display == "none"


def test_without_intervals(result):
    one = result.isel(init=0).drop_vars("correct")
    explorer = explore_scores(one)
    assert set(explorer.table().label) == {"undecided"}
    expected = synaptic_scores(result.isel(init=0)).sel(kind="clean", filter="combined", epoch=0).score
    assert np.allclose(explorer.table().score, expected)


@pytest.mark.parametrize("bad, words", [
    (lambda r: r.assign_attrs(schema="fragility_nb/0"), "fragility_nb/0"),
    (lambda r: r.assign_attrs(kind="stress_sweep"), "stress_sweep"),
    (lambda r: r.isel(layer=slice(0, 0)), "something along `layer`"),
    (lambda r: r.drop_vars("accuracy"), "has no accuracy"),
    (lambda r: {}, "empty"), (lambda r: xr.DataTree(), "no group filters")])
def test_bad_results(result, bad, words):
    with pytest.raises(ValueError, match=words): explore_scores(bad(result))


def test_a_first_picture_that_cannot_be_drawn():
    class Never(Explorer):
        size, call = (3, 1), "never"
        def _paint(self, figure, state): raise ValueError("nothing to draw")
    explorer = Never({}, {})
    assert "nothing to draw" in explorer.message.value and "image/png" not in explorer._repr_mimebundle_()
    explorer._ipython_display_()


def test_unknown_settings(result):
    with pytest.raises((ValueError, KeyError), match="setting"): explore_scores(result, layr="x")
    with pytest.raises(ValueError, match="layer"): explore_scores(result, layer="none")
    with pytest.raises(ValueError, match="folder"): explore_runs("no/such/folder")
    with pytest.raises(ValueError, match="fragility_nb/0"):
        explore_runs(dict(old=result.assign_attrs(schema="fragility_nb/0")))
    with pytest.raises(TypeError, match="old"): explore_runs(dict(old=3))
    with pytest.raises(ValueError, match="same layers"):
        explore_scores(result, synaptic_scores(landscape(3, 3, samples=8, inits=2)))


def test_several_models(result):
    explorer = explore_scores(dict(a=result, b=landscape(4, 2)))
    explorer.controls["model"].value = "b"
    assert explorer.message.value == "" and explorer.table().shape[0] == 4


def test_runs_are_filtered():
    explorer = explore_runs(reports(), model="cnn3")
    assert explorer.table().run.tolist() == ["seed0", "seed2"]


def test_first_images():
    table = explore_coverage(coverage(), layer="conv2").table()
    assert len(table) == 16 and ((table.first_image >= 0) == (table.covered > 0)).all()


def test_base_says_what_is_missing():
    with pytest.raises(NotImplementedError): Explorer({}, {})


def test_holes_in_a_result(result):
    one = result.isel(init=0).drop_vars("correct").copy(deep=True)
    one["accuracy"][dict(epoch=1)] = np.nan
    explorer = explore_scores(one, epoch=1)
    assert explorer.message.value == "" and of(explorer.figure()).std() > 5
