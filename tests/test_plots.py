"""Figures: drawn without a screen and without torch, with exactly the numbers of the result."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from control_results import fake_sweep
from conftest import python

from fragility_nb.core.results import provenance, save_result
from fragility_nb.figures.style import COLOURS, house_style
from fragility_nb.figures.plots import plot_compactness, plot_comparison, plot_depth, plot_filter_response
from fragility_nb.figures.plots import plot_landscape, plot_scores, plot_stress, plot_training
from fragility_nb.measure.fractions import compactness, smallest_fraction
from fragility_nb.measure.scores import KINDS, relabel, relative_performance, scale_scores
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.severity import stress_summary
from fragility_nb.measure.mce import corruption_error
from fragility_nb.figures.stress import plot_corruption_error, plot_severity

FILTERS = ["high_pass", "low_pass", "pulse"]


def stress_result(stresses=("gaussian_noise", "rotation", "fgsm"), n=80, seed=0, step=0.1, classes=10):
    "A stress sweep of a network that gets worse with severity."
    severity = np.arange(6.)
    chance = np.clip(0.97 - 0.15*severity, 0.1, 1)[None, :, None, None]
    correct = np.random.default_rng(seed).random((len(stresses), 6, 2, n)) < chance
    return xr.Dataset(dict(correct=(("stress", "severity", "seed", "sample"), correct)),
                      dict(stress=list(stresses), severity=severity, seed=[0, 1], sample=np.arange(n),
                           strength=(("stress", "severity"), step*np.tile(severity, (len(stresses), 1))),
                           strength_unit=("stress", ["σ in pixels"]*len(stresses))),
                      provenance("stress_sweep", num_classes=classes, model="cnn3"))


def filter_result(layers=3, epochs=0, inits=0, attack=True, filters=FILTERS, n=40, A=7, seed=0):
    "A filter sweep of a made-up network, with snapshots and initialisations on request."
    rng, s, t = np.random.default_rng(seed), 1 + attack, np.linspace(0, 1, A)
    lead = [(k, v) for k, v in (("init", inits), ("epoch", epochs)) if v]
    dims, shape = tuple(k for k, _ in lead), tuple(v for _, v in lead)
    removed = np.broadcast_to(np.round(100*t).astype(int), (*shape, layers, len(filters), A))
    reference = rng.random((*shape, s, n)) < np.array([0.95, 0.6])[:s, None]
    effect = rng.normal(0, 0.3, (*shape, 1, layers, 1, 1)) * np.sin(np.pi*t)
    right = np.clip((1 - removed/100)[..., None, :, :, :] + effect, 0, 1)
    correct = (rng.random((*shape, s, layers, len(filters), A, n))
               < right[..., None]) & reference[..., None, None, None, :]
    full, three = (*dims, "stress", "layer", "filter", "threshold", "sample"), (*dims, "layer", "filter", "threshold")
    coords = dict(stress=["clean", "adversarial"][:s], layer=[f"conv{i + 1}" for i in range(layers)],
                  filter=list(filters),
                  threshold=t, sample=np.arange(n)) | {k: np.arange(v) for k, v in lead}
    return xr.Dataset(dict(correct=(full, correct), accuracy=(full[:-1], correct.mean(-1)), removed=(three, removed),
                           alpha=(three, removed/100), weights=("layer", [100]*layers),
                           reference_correct=((*dims, "stress", "sample"), reference),
                           reference_accuracy=((*dims, "stress"), reference.mean(-1))),
                      coords, provenance("filter_sweep", num_classes=10, model="cnn3"))


def scored(**how): return synaptic_scores(filter_result(**how), n_boot=100)


def training_log():
    return xr.Dataset(dict(loss=("epoch", [2., 1.]), train_accuracy=("epoch", [0.3, 0.6]),
                           test_accuracy=("epoch", [0.2, 0.5])),
                      dict(epoch=[1, 2]), provenance("training", model="cnn3"))


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(axs):
    "The Axes as a list, after the figure was really drawn."
    axs = list(np.ravel(axs))
    axs[0].figure.canvas.draw()
    return axs


def line(ax, start):
    "The y values of the line whose label starts so."
    (found,) = [line for line in ax.lines if line.get_label().startswith(start)]
    return np.asarray(found.get_ydata(), dtype=float)


def dots(ax):
    "Scores as drawn: (x, row) of the single markers."
    found = [line for line in ax.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 1]
    return np.array([(line.get_xdata()[0], line.get_ydata()[0]) for line in found])


def texts(ax): return [t.get_text() for t in ax.texts]


# What is drawn is what was measured

def test_stress_shows_the_summary():
    result = stress_result()
    summary = stress_summary(result, ci=0.9)
    axs = drawn(plot_stress(result, ci=0.9))
    assert len(axs) == 3
    for ax, name in zip(axs, summary.stress.values):
        s = summary.sel(stress=name)
        np.testing.assert_array_equal(ax.lines[0].get_ydata(), s.accuracy)
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), s.severity)
        band = ax.collections[0].get_paths()[0].vertices
        assert band[:, 1].min() == s.low.min() and band[:, 1].max() == s.high.max()
        assert ax.lines[1].get_ydata()[0] == 1/10 and "guess 1/10" in texts(ax)
        assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]
        assert ax.get_xlabel() == "σ in pixels"
        told = [float(s[k]) for k in ("relative_area", "relative_area_low", "relative_area_high", "auc")]
        assert "relative area {:.2f} [{:.2f}, {:.2f}], area {:.2f}".format(*told) in texts(ax)
    assert [ax.get_title(loc="left") for ax in axs] == ["Gaussian noise", "Rotation", "FGSM"]
    assert [ax.get_ylabel() for ax in axs] == ["accuracy", "", ""]


def test_stress_takes_a_summary_one_stress_and_no_chance_line():
    result = stress_result()
    result.attrs.pop("num_classes")
    ax = plot_stress(stress_summary(result), stress="rotation")
    drawn(ax)
    assert ax.get_title(loc="left") == "Rotation" and len(ax.lines) == 1


def test_tick_labels_are_true_to_the_strength():
    ax = plot_stress(stress_result(step=0.0738817), stress="fgsm")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0", "", "0.148", "", "0.296", ""]


def test_comparison_shows_every_network():
    results = {"shallow": stress_result(), "deep": stress_result(("rotation", "gaussian_noise"), seed=1)}
    axs = drawn(plot_comparison(results))
    assert [ax.get_title(loc="left") for ax in axs] == ["Gaussian noise", "Rotation"]
    for ax, name in zip(axs, ("gaussian_noise", "rotation")):
        for k, r in results.items():
            np.testing.assert_array_equal(line(ax, k), stress_summary(r).accuracy.sel(stress=name))
    assert [t.get_text() for t in axs[0].figure.legends[0].get_texts()] == ["shallow", "deep"]


def test_comparison_of_unequal_strengths_has_the_strength_as_axis():
    results = {"a": stress_result(step=0.1), "b": stress_result(step=0.2)}
    ax = plot_comparison(results, stress="fgsm")
    drawn(ax)
    assert [line.get_xdata()[-1] for line in ax.lines[:2]] == [0.5, 1.0]
    assert {"a", "b"} <= set(texts(ax))


@pytest.mark.parametrize("filter", [*FILTERS, "combined"])
def test_filter_response_shows_the_curves_and_the_scores(filter):
    result = filter_result()
    ax = plot_filter_response(result, "conv2", filter)
    drawn(ax)
    truth = relative_performance(result).sel(layer="conv2", filter=filter)
    for name in ("clean", "adversarial"):
        np.testing.assert_allclose(line(ax, name), truth.relative.sel(stress=name), atol=1e-12)
    np.testing.assert_allclose(line(ax, "baseline"), truth.baseline, atol=1e-12)
    s = synaptic_scores(result).sel(kind="adversarial", layer="conv2", filter=filter)
    written = ax.get_legend().get_texts()[1].get_text().replace("−", "-")
    assert f"{float(s.score):+.3f} [{float(s.low):+.3f}, {float(s.high):+.3f}] {s.label.values}" in written


def filled(ax):
    "The signed area drawn: vermilion below, sky blue above the baseline."
    total = 0
    for band, sign in zip(ax.collections, (-1, 1)):
        for path in band.get_paths():
            x, y = path.vertices[:-1].T
            total += sign * abs(np.sum(x*np.roll(y, -1) - np.roll(x, -1)*y)) / 2
    return total


@pytest.mark.parametrize("kind", ["clean", "adversarial"])
def test_the_filled_area_is_the_score(kind):
    result = filter_result(n=200)
    ax = plot_filter_response(result, "conv1", stress=kind)
    score = synaptic_scores(result).score.sel(kind=kind, layer="conv1", filter="combined")
    assert filled(ax) == pytest.approx(float(score), abs=1e-9)


def test_filter_response_takes_other_scores():
    result = filter_result()
    scores = synaptic_scores(result, band=2., n_boot=100)
    assert "robust" in plot_filter_response(result, "conv1", scores=scores).get_legend().get_texts()[0].get_text()


def test_scores_show_every_layer_in_order():
    scores = scored(layers=6)
    axs = drawn(plot_scores(scores))
    assert len(axs) == 3
    for ax, kind in zip(axs, KINDS):
        s = scores.sel(kind=kind, filter="combined")
        np.testing.assert_array_equal(dots(ax), np.column_stack([s.score, range(6)]))
        rows = [[i, i] for i in range(6)]
        whiskers = np.array([line.get_xdata() for line in ax.lines if list(line.get_ydata()) in rows])
        np.testing.assert_array_equal(whiskers, np.column_stack([s.low, s.high]))
        assert ax.get_ylim()[0] > ax.get_ylim()[1], "the first layer is at the top"
        assert all(a <= v <= b for v in s.score.values for a, b in [ax.get_xlim()])
    assert [t.get_text() for t in axs[0].get_yticklabels()] == list(scores.layer.values)
    assert axs[0].get_xlim() == axs[1].get_xlim(), "clean and adversarial are drawn on one scale"


def test_labels_differ_in_shape_and_colour():
    scores = scored(layers=4).sel(kind=["clean"])
    labels = np.array(["fragile", "robust", "antifragile", "undecided"], dtype=object)
    scores["label"] = scores.label.copy(data=np.broadcast_to(labels[None, :, None], scores.label.shape))
    ax = plot_scores(scores, kind="clean")
    looks = [(line.get_marker(), line.get_color()) for line in ax.lines if line.get_linestyle() == "None"]
    assert len({m for m, _ in looks}) == len({c for _, c in looks}) == 4
    assert [c for _, c in looks] == [COLOURS[name] for name in labels]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == [*labels, "robust: ±0.01"]


def test_scores_without_bounds_or_without_value_are_drawn():
    scores = scored(layers=3).copy(deep=True)
    scores["low"][:, 0], scores["high"][:, 0], scores["score"][:, 1] = -np.inf, np.inf, np.nan
    ax = plot_scores(scores, kind="clean")
    drawn(ax)
    assert len(dots(ax)) == 2 and "undefined" in texts(ax) and np.isfinite(ax.get_xlim()).all()


def test_scaled_scores_have_no_band():
    ax = plot_scores(scale_scores(scored()), kind="clean")
    assert "scaled" in ax.get_xlabel() and not any("±" in t.get_text() for t in ax.get_legend().get_texts())


def test_landscape_shows_the_scores_symmetrically():
    scores = scored(layers=4, epochs=5)
    ax = plot_landscape(scores, "adversarial", "pulse")
    drawn(ax)
    s = scores.sel(kind="adversarial", filter="pulse").transpose("layer", "epoch", ...)
    mesh = ax.collections[0]
    np.testing.assert_array_equal(mesh.get_array(), s.score)
    assert mesh.norm.vmax == -mesh.norm.vmin == np.abs(s.score).max()
    signs = dict(fragile="Fr", robust="Ro", antifragile="Af", undecided="–")
    assert texts(ax) == [signs[name] for name in s.label.values.ravel()]


def test_landscape_over_initialisations_is_the_mean_with_the_label_of_its_interval():
    scores = scored(layers=2, epochs=3, inits=2)
    ax = plot_landscape(scores)
    s = scores.sel(kind="clean", filter="combined")
    np.testing.assert_allclose(ax.collections[0].get_array(), s.score.mean("init").transpose("layer", "epoch"))
    half = 12.706204736432095 * s.score.std("init", ddof=1) / 2**0.5 # Student's t, one degree of freedom
    low, high = s.score.mean("init") - half, s.score.mean("init") + half
    decided = (high < -0.01) | (low > 0.01) | ((low >= -0.01) & (high <= 0.01))
    assert [t != "–" for t in texts(ax)] == decided.transpose("layer", "epoch").values.ravel().tolist()


def one_word_apart(scores, random):
    "The scores with the words of the random baseline, but for the layer conv1."
    other = xr.where(random.label == "fragile", "antifragile", "fragile")
    return scores.assign(label=random.label.where(random.layer != "conv1", other).transpose(*scores.label.dims))


def test_scores_against_random_removal_stand_below_and_a_star_marks_words_that_depend():
    sweep = fake_sweep(n=80, layers=4)
    scores, random = synaptic_scores(sweep, n_boot=100), synaptic_scores(sweep, baseline="random", n_boot=100)
    scores = one_word_apart(scores, random)
    ax, = drawn(plot_scores(scores, kind="clean", random=random))
    a, b = (s.sel(kind="clean", filter="combined") for s in (scores, random))
    dots = [one for one in ax.lines if len(one.get_xdata()) == 1]
    upper, lower = dots[:4], dots[4:8]
    np.testing.assert_allclose([d.get_xdata()[0] for d in upper + lower], [*a.score.values, *b.score.values])
    assert all(u.get_ydata()[0] < low.get_ydata()[0] for u, low in zip(upper, lower)) # the axis points down
    stars = [round(t.get_position()[1]) for t in ax.texts if t.get_text() == "*"]
    assert stars == [1]
    low, high = ax.get_xlim()
    assert low < min(a.low.min(), b.low.min()) and high > max(a.high.max(), b.high.max()) # all whiskers are seen
    words = [t.get_text() for t in ax.get_legend().get_texts()]
    assert "small: against random removal" in words and "word depends on the baseline" in words
    with pytest.raises(ValueError, match="same sweep"): plot_scores(scores, random=random.isel(layer=[0]))
    with pytest.raises(ValueError, match='baseline="random"'): plot_scores(scores, random=scores)


def test_a_difference_under_a_fixed_attack_does_not_stand_alone():
    sweep = fake_sweep().assign_attrs(fake_sweep().attrs | dict(attack_mode="fixed"))
    scores, random = synaptic_scores(sweep, n_boot=100), synaptic_scores(sweep, baseline="random", n_boot=100)
    assert "compare with a random control" in plot_scores(scores, kind="difference").get_xlabel()
    assert "compare" not in plot_scores(scores, kind="clean").get_xlabel()
    assert "compare" not in plot_scores(scores, kind="difference", random=random).get_xlabel()


def test_the_symbol_of_the_adversarial_score_is_a_formula():
    (ax,) = drawn(plot_scores(synaptic_scores(fake_sweep(), n_boot=100), kind="adversarial"))
    assert ax.get_xlabel() == "score $S_ε$" and ax.xaxis.label.get_parse_math()


def test_a_response_has_its_random_control_beside_it():
    sweep = fake_sweep(layers=2)
    ax = plot_filter_response(sweep, "conv1", "pulse")
    one = sweep.sel(layer="conv1", filter="pulse", stress="clean")
    control = line(ax, "as many removed at random")
    relative = one.control_accuracy.mean("draw").values / float(one.reference_accuracy)
    np.testing.assert_allclose(control[one.control_step.values], relative)


def test_a_landscape_marks_the_cells_whose_word_depends_on_the_baseline():
    parts = [fake_sweep(n=80, layers=3, seed=i) for i in range(2)]
    both = xr.concat(parts, xr.Variable("epoch", [1, 2]), data_vars=[k for k in parts[0] if k != "weights"],
                     coords="minimal", compat="override", combine_attrs="override")
    scores, random = synaptic_scores(both, n_boot=100), synaptic_scores(both, baseline="random", n_boot=100)
    scores = one_word_apart(scores, random)
    shown = texts(plot_landscape(scores, random=random))
    pick = dict(kind="clean", filter="combined")
    a, b = (s.sel(pick).label.transpose("layer", "epoch").values.ravel() for s in (scores, random))
    assert [t.endswith("*") for t in shown] == (a != b).tolist() == [False, False, True, True, False, False]


def test_compactness_shows_the_fractions():
    result = filter_result()
    ax = plot_compactness(result, "conv1", share=0.8, stress="adversarial")
    drawn(ax)
    truth = compactness(result).sel(layer="conv1", stress="adversarial")
    least = smallest_fraction(result, 0.8).sel(layer="conv1", stress="adversarial")
    for f in FILTERS:
        order = np.argsort(truth.kept.sel(filter=f).values, kind="stable")
        np.testing.assert_array_equal(line(ax, f.replace("_", "-")), truth.relative.sel(filter=f).values[order])
        (key,) = [t.get_text() for t in ax.get_legend().get_texts() if t.get_text().startswith(f[:3])]
        assert f"{100*float(least.sel(filter=f)):.0f} %" in key
    assert ax.lines[0].get_ydata()[0] == 0.8


def test_training_shows_the_log():
    ax = plot_training(training_log())
    np.testing.assert_array_equal(line(ax, "test"), [0.2, 0.5])
    assert "nats" in plot_training(training_log(), what="loss").get_ylabel()


def test_depth_runs_from_0_to_1_without_the_global_scope():
    a, b = scored(layers=3), scored(layers=5)
    b = b.assign_coords(layer=[*b.layer.values[:-1], "global"])
    ax = plot_depth({"a": a, "b": b}, kind="difference")
    drawn(ax)
    np.testing.assert_array_equal(line(ax, "b"), b.score.sel(kind="difference", filter="combined").values[:4])
    assert [line.get_xdata()[-1] for line in ax.lines if line.get_label() in "ab"] == [1, 1]


# Sizes

@pytest.mark.parametrize("how", [dict(layers=1), dict(layers=60, A=3), dict(attack=False), dict(filters=["pulse"]),
                                 dict(A=2)], ids=str)
def test_any_size_draws(how):
    result = filter_result(**how)
    scores = synaptic_scores(result, n_boot=100)
    assert len(drawn(plot_scores(scores))) == scores.sizes["kind"]
    drawn(plot_filter_response(result, "conv1"))
    drawn(plot_compactness(result, "conv1"))
    if how.get("attack") is False: assert isinstance(plot_scores(scores), plt.Axes)


@pytest.mark.parametrize("layers, epochs", [(1, 1), (3, 1), (60, 2), (2, 40)])
def test_any_landscape_draws(layers, epochs): drawn(plot_landscape(scored(layers=layers, epochs=epochs, A=3, n=20)))


def test_sixty_layers_are_readable():
    ax = plot_scores(scored(layers=60, A=3), kind="clean")
    drawn(ax)
    boxes = [t.get_window_extent() for t in ax.get_yticklabels()]
    assert len(boxes) == 60 and all(a.y0 >= b.y1 - 0.5 for a, b in zip(boxes, boxes[1:])), "names of layers overlap"


@pytest.mark.parametrize("order", [1, -1])
def test_no_panel_of_severity_is_cut_off(order):
    "Panels share an axis; it reaches over the highest curve and band, whichever panel has them."
    result = xr.concat([stress_result(("fog",)), stress_result(("snow",), seed=1)][::order], "stress",
                       data_vars="minimal")
    shift = xr.DataArray([0, 1], dims="stress", coords=dict(stress=["fog", "snow"]))
    # only snow flips answers
    result = result.assign(pred=(result.severity > 0)*shift*(result.sample % 5 > 0) + 0*result.correct)
    axs = plot_severity({"a": result, "b": result}, "flips")
    for ax in axs:
        bottom, top = ax.get_ylim()
        highest = max(c.get_paths()[0].vertices[:, 1].max() for a in axs for c in a.collections)
        assert bottom == 0 and 0.8 < highest <= top


@pytest.mark.parametrize("measure", ["ce", "relative_ce", "error"])
def test_bars_are_the_corruption_errors(measure):
    "Each bar is a number of the result, its whisker the interval, and the last one the mean."
    a, b = stress_result(), stress_result(seed=1)
    b["correct"] = b.correct & (b["sample"] % 3 > 0) # the reference is worse
    e = corruption_error(a, b.assign_attrs(a.attrs), n_boot=200)
    ax, k, scale = plot_corruption_error({"a": e, "b": e}, measure), dict(ce="mce", relative_ce="relative_mce",
        error="mean_error")[measure], 100 if measure == "error" else 1
    for bars in ax.containers[1::2]:
        np.testing.assert_allclose([bar.get_width() for bar in bars], [*e[measure].values*scale, float(e[k])*scale])
    whisker = ax.containers[0].lines[2][0].get_segments()[-1][:, 0]
    np.testing.assert_allclose(whisker, [float(e[f"{k}_low"])*scale, float(e[f"{k}_high"])*scale])
    assert [t.get_text() for t in ax.get_yticklabels()][:3] == ["Gaussian noise", "Rotation", "FGSM"]


def test_one_severity_and_many_stresses():
    drawn(plot_stress(stress_result().isel(severity=[0])))
    assert len(drawn(plot_stress(stress_result([f"stress_{i}" for i in range(19)])))) == 19


# Axes

def test_given_axes_are_used_and_no_other_figure_is_made():
    fig, axs = plt.subplots(1, 3)
    scores, result = scored(), filter_result()
    assert list(plot_scores(scores, axs)) == list(axs)
    assert plot_filter_response(result, "conv1", ax=axs[0]) is axs[0]
    assert plot_landscape(scored(epochs=2), ax=axs[1]) is axs[1]
    assert list(plot_stress(stress_result(), axs)) == list(axs)
    assert plt.get_fignums() == [fig.number]


def test_wrong_number_of_axes():
    ax = plt.subplots()[1]
    with pytest.raises(ValueError, match="Expected `ax` to be 3 Axes"): plot_stress(stress_result(), ax)


def test_nothing_global_changes():
    before = dict(matplotlib.rcParams)
    plot_scores(scored())
    with plt.rc_context(house_style()): plt.subplots()
    assert dict(matplotlib.rcParams) == before


def test_text_follows_the_font_size():
    small = plot_stress(stress_result(), stress="fgsm")._left_title.get_fontsize()
    with plt.rc_context({"font.size": 20}):
        large = plot_stress(stress_result(), stress="fgsm")._left_title.get_fontsize()
    assert (small, large) == (pytest.approx(13), pytest.approx(26))


# Errors

@pytest.mark.parametrize("draw, says", [
    (lambda: plot_stress(filter_result()), "Expected `result` to be a stress_sweep"),
    (lambda: plot_stress([1, 2]), "xarray.Dataset"),
    (lambda: plot_stress(stress_result(), stress="rotatoin"), "Did you mean 'rotation'"),
    (lambda: plot_filter_response(scored(), "conv1"), "filter_sweep"),
    (lambda: plot_filter_response(filter_result(), "conv9"), "Unknown `layer`.*conv1, conv2, conv3"),
    (lambda: plot_filter_response(filter_result(), "conv1", "band_pass"), "Unknown `filter`.*combined"),
    (lambda: plot_filter_response(filter_result(attack=False), "conv1", stress="adversarial"),
     "Unknown `stress`.*Known: clean"),
    (lambda: plot_filter_response(filter_result(epochs=3), "conv1"), r"one network.*result.sel\(epoch=2\)"),
    (lambda: plot_scores(filter_result()), "Expected `scores` to be a synaptic_scores"),
    (lambda: plot_scores(scored(attack=False), kind="adversarial"), "Unknown `kind`.*Known: clean"),
    (lambda: plot_scores(scored(), filter="low"), "Unknown `filter`"),
    (lambda: plot_scores(scored(epochs=2)), r"scores.sel\(epoch=1\)"),
    (lambda: plot_landscape(scored()), "dimension `epoch`"),
    (lambda: plot_landscape(scored(epochs=2), "cleen"), "Did you mean 'clean'"),
    (lambda: plot_compactness(filter_result(), "conv1", share=1.5), "`share`"),
    (lambda: plot_training(filter_result()), "training"),
    (lambda: plot_training(training_log(), what="speed"), "Unknown `what`"),
    (lambda: plot_comparison(stress_result()), "dict of name -> result"),
    (lambda: plot_comparison({"a": stress_result(), "b": filter_result()}), r"results\['b'\]"),
    (lambda: plot_comparison({"a": stress_result(["x"]), "b": stress_result(["y"])}), "none in common"),
    (lambda: plot_depth({"a": scored(epochs=2)}), r"scores\['a'\]"),
])
def test_one_clear_error(draw, says):
    with pytest.raises((ValueError, TypeError), match=says): draw()


# From a file, without torch

def test_saved_results_draw_without_torch(tmp_path):
    result = filter_result(epochs=2)
    save_result(stress_result(), tmp_path/"stress.nc")
    save_result(filter_result(), tmp_path/"filters.nc")
    save_result(relabel(synaptic_scores(result, n_boot=100), 0.02), tmp_path/"landscape.nc")
    save_result(scored(), tmp_path/"scores.nc")
    save_result(training_log(), tmp_path/"log.nc")
    code = """
import sys
class NoTorch:
    def find_spec(self, name, *rest):
        if name.split(".")[0] in ("torch", "torchvision"): raise ImportError(f"{name} must not be needed")
sys.meta_path.insert(0, NoTorch())
import matplotlib
matplotlib.use("Agg")
from fragility_nb.core.results import load_result
from fragility_nb.figures.plots import *
load = lambda name: load_result(name + ".nc")
axs = [plot_stress(load("stress"))[0], plot_comparison(dict(a=load("stress"), b=load("stress")))[0],
       plot_scores(load("scores"))[0], plot_filter_response(load("filters"), "conv1"),
       plot_compactness(load("filters"), "conv1"), plot_landscape(load("landscape")),
       plot_training(load("log")), plot_depth(dict(a=load("scores")))]
for i, ax in enumerate(axs): ax.figure.savefig(f"{i}.png")
print(len(axs), [m for m in sys.modules if m.split(".")[0] in ("torch", "torchvision")])
"""
    assert python(code, cwd=tmp_path) == "8 []"
    assert len(list(tmp_path.glob("*.png"))) == 8


@pytest.mark.quick
def test_a_panel_of_a_subfigure_has_its_own_size():
    from fragility_nb.figures.style import panel_points
    figure = plt.figure(figsize=(8, 4))
    for part in (figure, figure.subfigures(1, 2)[1]):
        ax = part.subplots()
        ax.set_position([0, 0, 1, 1])
        assert panel_points(ax) == pytest.approx((576 if part is figure else 288, 288))
    plt.close(figure)
