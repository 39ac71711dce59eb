"""What the pages of the templates say: numbers, words, sentences and tables from results made by hand."""
import math

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import NO_TORCH, python

from fragility_nb.core.results import provenance, save_result
from fragility_nb.run import comparison, report

pytestmark = pytest.mark.quick


def scores(values, labels, width=0.02):
    "What `clean_scores` gives: one score for each layer."
    at = np.array(values, float)
    data = dict(score=at, low=at - width, high=at + width, label=labels)
    return xr.Dataset({k: ("layer", v) for k, v in data.items()}, dict(layer=[f"conv{i + 1}" for i in range(len(at))]))


def stress(auc, severities=(0., 2., 4.)):
    "What `stress_summary` gives, as far as it is told: name -> mean accuracy."
    at = np.array(list(auc.values()))
    found = {f"{k}{end}": ("stress", at*more + d) for k, more in dict(auc=1, relative_area=1.1, flip_rate=0.5).items()
             for end, d in {"": 0, "_low": -0.05, "_high": 0.05}.items()}
    return xr.Dataset(found | dict(half_severity=("stress", np.where(at < 0.5, 2.5, np.inf))),
                      dict(stress=list(auc), severity=list(severities)))


def saved(folder, name="cnn3", data_hash="a", lowest=-0.3):
    "The result of a report, with what a comparison needs."
    accuracy = (("stress", "severity"), np.array([[0.9, 0.5]]))
    summary = stress(dict(gaussian_noise=0.7), (0., 4.)).assign(accuracy=accuracy, low=accuracy, high=accuracy)
    every = scores([lowest, 0.1], ["fragile", "antifragile"]).expand_dims(kind=["clean"], filter=["combined"])
    found = xr.Dataset(dict(epsilon=0.05, accuracy=0.45, relative_accuracy=0.5))
    facts = dict(filters=xr.Dataset(attrs=dict(model=name, data="digits/test", data_hash=data_hash)),
                 stress_summary=summary, scores=every.assign_attrs(kind="synaptic_scores"), epsilon=found)
    parts = {k: v.assign_attrs(provenance(v.attrs.get("kind", k)) | v.attrs) for k, v in facts.items()}
    return str(save_result(parts, folder / f"{name}-{data_hash}.nc"))


@pytest.mark.parametrize("told, expected", [
    (report.percent(0.97312), "97.3 %"), (report.percent(0.5, 0), "50 %"), (report.percent(1), "100.0 %"),
    (report.percent_interval(0.95, 0.98931), "95.0 … 98.9 %"),
    (report.points(-0.0214), "−2.1"), (report.points(0.1), "+10.0"), (report.points(0), "+0.0"),
    (report.told_interval(-0.1234, -0.15, -0.0904), "−0.123 (−0.150 … −0.090)"),
    (report.told_interval(0.02, -0.01, 0.05, report.points), "+2.0 (−1.0 … +5.0)"),
    (report.stress_words("gaussian_noise"), "Gaussian noise"), (report.stress_words("fgsm"), "FGSM"),
    (report.stress_words("none"), "no stress"), (report.stress_words("gaussian_noise 2"), "Gaussian noise 2"),
    (report.data_words("digits/test"), "digits (test)"), (report.data_words("mine"), "mine"),
    (report.facts_table(dict(model_hash="9f", n=3)), "| | |\n|:--|:--|\n| model hash | 9f |\n| n | 3 |"),
])
def test_numbers_and_words(told, expected): assert told == expected


@pytest.mark.parametrize("check, error, message", [
    (lambda: report.check_list("a", "x"), TypeError,
     "Expected `a` to be a list, but got 'x'. By papermill: -y '{a: [...]}'."),
    (lambda: report.check_list("a", [], "{b: 1}", kind=dict, of=" of parameters"), TypeError,
     "Expected `a` to be a dict of parameters, but got []. By papermill: -y '{a: {b: 1}}'."),
    (lambda: report.check_numbers("a", "[0, 2]"), TypeError,
     "Expected `a` to be a list of numbers, but got '[0, 2]'. By papermill: -y '{a: [0, 1]}'."),
    (lambda: report.check_numbers("a", []), TypeError, "to be a list of numbers, but got []"),
    (lambda: report.check_numbers("a", ["1"]), TypeError, "to be a list of numbers, but got ['1']"),
    (lambda: report.check_levels("a", [1, 2]), ValueError, "Expected `a` to increase from 0, but got [1, 2]."),
    (lambda: report.check_levels("a", [0]), ValueError, "increase from 0"),
    (lambda: report.check_levels("a", [0, 2, 1]), ValueError, "increase from 0"),
    (lambda: report.section_switches(["coverge"]), ValueError, "Did you mean 'coverage'"),
    (lambda: report.check_report(dict(treshold=3), ()), ValueError, "Did you mean 'thresholds'"),
    (lambda: report.check_report(dict(with_coverage=True), ()), ValueError, "`report` sets `with_coverage`"),
    (lambda: report.check_report(dict(n=1, data="a"), ["data"]), ValueError, "`report` sets `data`"),
])
def test_mistakes_are_told(check, error, message):
    with pytest.raises(error) as told: check()
    assert message in str(told.value)


def test_what_is_right_passes():
    report.check_list("a", [])
    report.check_numbers("a", [0, 1.5])
    report.check_levels("a", [0, 1, 4.5])
    report.check_report(dict(n=10, thresholds=3), ["data"])
    assert report.section_switches(["kernels"]) == dict(with_coverage=False, with_batchnorm=False, with_kernels=True,
                                                        with_retraining=False)


def test_layers_are_told_strongest_first():
    some = scores([-0.1, -0.4, 0.2, -0.2, -0.3, -0.15], ["fragile"] * 2 + ["antifragile"] + ["fragile"] * 3)
    told = report.layers_with("fragile", some)
    assert told.startswith("conv2 (−0.400; −0.420 … −0.380), conv5 (") and told.endswith(" and 1 more")
    assert "conv3" not in told and report.layers_with("robust", some) == ""
    sentence = report.weights_sentence(some)
    assert "Fragile: conv2" in sentence and "Antifragile: conv3 (+0.200; +0.180 … +0.220)." in sentence
    assert "Robust" not in sentence and "Undecided" not in sentence
    assert report.weights_sentence(scores([0.], ["undecided"])).endswith("Undecided: 1.")


def test_words_by_both_baselines_are_told_with_the_layers_that_depend_on_them():
    plain = scores([-0.3, 0.2, 0.1], ["fragile", "antifragile", "undecided"])
    random = scores([-0.1, -0.2, 0.], ["fragile", "fragile", "undecided"])
    told = report.weights_sentence(plain, random)
    assert "Against removing as many weights at random: Fragile: conv2 (−0.200; −0.220 … −0.180), conv1" in told
    assert told.endswith("The word depends on what it is compared with for conv2.")
    assert report.weights_sentence(plain, plain).endswith("No word depends on what it is compared with.")
    line = dict(clean_accuracy=0.97, clean_low=0.95, clean_high=0.99, epsilon=0.0561, accuracy_at_epsilon=0.485,
                most_fragile="conv1", score=-0.3, low=-0.32, high=-0.28, fragile=1, robust=0, antifragile=1,
                undecided=1, fragile_random=2, robust_random=0, antifragile_random=0, undecided_random=1, depends=1,
                lowest="conv1, conv3")
    rows = report.overview_table(line, xr.Dataset(dict(relative_accuracy=0.5))).splitlines()
    assert rows[4].endswith("(−0.320 … −0.280); not to be told apart from it: conv3 |")
    assert rows[5:] == ["| Layers, by the published baseline | 1 fragile, 0 robust, 1 antifragile, 1 undecided |",
                        "| Layers, against random removal | 2 fragile, 0 robust, 0 antifragile, 1 undecided |",
                        "| Layers whose word depends on that | 1 |"]


def test_the_clean_scores_leave_out_the_global_one():
    every = scores([-0.3, 0.1], ["fragile", "antifragile"]).expand_dims(kind=["clean"], filter=["combined"])
    whole = xr.concat([every, every.isel(layer=[0]).assign_coords(layer=["global"])], "layer")
    assert report.clean_scores(whole).layer.values.tolist() == ["conv1", "conv2"]


def test_the_worst_and_the_mildest_stress_without_the_attack():
    told = report.stress_sentence(stress(dict(gaussian_noise=0.3, gaussian_blur=0.9, rotation=0.6, fgsm=0.1)))
    assert told == ("**Stress on the images.** Averaged over severities 0 to 4, least of the clean accuracy is left by "
                    "Gaussian noise (33.0 %; 28.0 … 38.0 %; absolute 30.0 %) and most by Gaussian blur (99.0 %; "
                    "94.0 … 104.0 %; absolute 90.0 %).")


def test_overview():
    line = dict(clean_accuracy=0.97, clean_low=0.95, clean_high=0.99, epsilon=0.0561, accuracy_at_epsilon=0.485,
                most_fragile="conv1", score=-0.3, low=-0.32, high=-0.28, fragile=1, robust=0, antifragile=2,
                undecided=3)
    rows = report.overview_table(line, xr.Dataset(dict(relative_accuracy=0.5))).splitlines()
    assert rows[2:] == ["| Clean accuracy | **97.0 %** (95.0 … 99.0 %) |",
                        "| FGSM that leaves 50 % of it | **ε = 0.056** of the pixel range (14.3/255), "
                        "accuracy 48.5 % |",
                        "| Most fragile layer, clean images | **conv1**, score −0.300 (−0.320 … −0.280) |",
                        "| Layers | 1 fragile, 0 robust, 2 antifragile, 3 undecided |"]


def test_coverage_is_counted():
    nc = xr.Dataset(dict(coverage=("criterion", [0.75]), covered=(("criterion", "unit"), [[1, 0, 3, 2]])),
                    dict(criterion=["nc_deepxplore_0.25"]))
    assert report.coverage_sentence(nc) == ("**Coverage.** 75 % of the 4 units exceeded a quarter of their layer's "
                                            "range for some test image; 1 never did.")


@pytest.mark.parametrize("norms", [False, True])
def test_coverage_columns(norms):
    table = xr.Dataset(dict(coverage=(("criterion", "layer"), [[1., 0.5]]), units=("layer", [8, 16]),
                            score=("layer", [-0.2, 0.01]), label=("layer", ["fragile", "robust"])),
                       dict(criterion=["nc_deepxplore_0.25"], layer=["conv1", "fc"]))
    if norms: table = table.assign(mean_gap_size=("layer", [0.4, math.nan]), batchnorm=("layer", ["bn1", ""]))
    shown = report.coverage_columns(table)
    assert shown.iloc[:, :5].values.tolist() == [["conv1", 8, "100 %", "−0.200", "fragile"],
                                                 ["fc", 16, "50 %", "+0.010", "robust"]]
    assert shown.columns[2] == "NC(t = 0.25)" and shown.shape[1] == 5 + norms
    if norms: assert shown.iloc[:, 5].tolist() == ["0.40", "no BatchNorm"]


def test_a_gap_that_is_not_known_is_a_dash():
    table = xr.Dataset(dict(coverage=(("criterion", "layer"), [[1.]*3]), units=("layer", [8]*3),
                            score=("layer", [0.]*3), label=("layer", ["robust"]*3),
                            mean_gap_size=("layer", [0., math.nan, math.nan]),
                            batchnorm=("layer", ["bn1", "bn2", ""])),
                       dict(criterion=["nc_deepxplore_0.25"], layer=["a", "b", "c"]))
    assert report.coverage_columns(table).iloc[:, 5].tolist() == ["0.00", "–", "no BatchNorm"]


def test_tables_of_stress_and_compactness():
    table = report.stress_table(stress(dict(gaussian_noise=0.3, fgsm=0.1)))
    assert table.values.tolist()[0] == ["Gaussian noise", "33.0 % (28.0 … 38.0 %)", "at severity 2.5",
                                        "15.0 % (10.0 … 20.0 %)", "30.0 % (25.0 … 35.0 %)"]
    assert report.stress_table(stress(dict(rotation=0.8))).values.tolist()[0][2] == "not within these severities"
    assert report.markdown_table(table).splitlines()[2].startswith("| Gaussian noise | 33.0 % (28.0")
    small = xr.DataArray([[0.25, math.nan]], dict(layer=["conv1"], filter=["high_pass", "pulse"]), ("layer", "filter"))
    table = report.compactness_table(small)
    assert list(table.columns) == ["layer", "high-pass", "pulse"] and table.values.tolist() == [["conv1", "25 %", "–"]]


def test_what_stands_beside_accuracy():
    "Clean images once, each stress at its highest severity; what a summary does not hold is a dash."
    curve = lambda *v: (("stress", "severity"), np.array([[v[0], v[1]], [v[0], v[2]]]))
    s = stress(dict(gaussian_noise=0.3, fgsm=0.1), (0., 4.)).assign(accuracy=curve(0.9, 0.5, 0.1))
    ends = lambda k, *v: {f"{k}{end}": curve(*(x + add for x in v))
                          for end, add in (("", 0), ("_low", -0.1), ("_high", 0.1))}
    full = s.assign(ends("worst_class", 0.8, 0.2, 0.1) | ends("ece", 0.1, 0.4, 0.5) | ends("nll", 0.3, 1.5, 2.25))
    assert report.beside_table(full).values.tolist() == [
        ["clean", "90.0 %", "80.0 % (70.0 … 90.0 %)", "10.0 % (0.0 … 20.0 %)", "0.30 (0.20 … 0.40)"],
        ["Gaussian noise, severity 4", "50.0 %", "20.0 % (10.0 … 30.0 %)", "40.0 % (30.0 … 50.0 %)",
         "1.50 (1.40 … 1.60)"],
        ["FGSM, severity 4", "10.0 %", "10.0 % (0.0 … 20.0 %)", "50.0 % (40.0 … 60.0 %)", "2.25 (2.15 … 2.35)"]]
    assert report.beside_table(s).iloc[1].tolist() == ["Gaussian noise, severity 4", "50.0 %", "–", "–", "–"]


def gains():
    "What `retraining_gain` gives."
    data = dict(area_gain=[math.nan, 0.021], area_low=[math.nan, -0.004], area_high=[math.nan, 0.047],
                area_mean=[0.6, 0.621], area_sd=[0.01, 0.02])
    return xr.Dataset({k: ("rule", v) for k, v in data.items()}, dict(rule=["none", "difference"]))


def test_retraining():
    told = report.retraining_sentence(gains())
    assert told == ("**Retraining.** Against plain training, resting the layers that the attacked images need more "
                    "changes the mean accuracy under attack by +2.1 points (−0.4 … +4.7).")
    both = gains().reindex(rule=["none", "difference", "difference_positive"]).fillna(0.01)
    assert "; resting the layers that the clean images need more changes" in report.retraining_sentence(both)
    assert report.gain_table(gains()).values.tolist() == [
        ["plain", "60.0 ± 1.0 %", ""], ["selective, rule difference", "62.1 ± 2.0 %", "+2.1 (−0.4 … +4.7)"]]
    frozen = xr.Dataset(dict(frozen=(("rule", "init", "epoch", "layer"), [[[[True, False], [False, False]]]])),
                        dict(rule=["difference"], layer=["conv1", "fc"]))
    assert report.frozen_text(frozen).startswith("Frozen by `difference` conv1 (50 % of the epochs). The mean is over")
    assert "Frozen by `difference` nothing." in report.frozen_text(frozen.isel(layer=[1]))


@pytest.mark.parametrize("p, verdict", [(0.01, ": the attack aims at them."), (0.4, ": no sign that the attack aims")])
def test_targeting(p, verdict):
    one = dict(attack=["fgsm"], severity=[1.], source=["attack", "noise"])
    t = xr.Dataset(dict(beyond_p=(("attack", "severity"), [[p]]), beyond_noise=(("attack", "severity"), [[1.234]]),
                        ratio=(("attack", "severity", "source"), [[[1.5, 1.2]]]),
                        p_value=(("attack", "severity", "source"), [[[0.02, 0.3]]])), one)
    told = report.targeting_text(t, 0.05, [1, 2, 3])
    assert "of the 3 kernels below the line" in told and "At ε = 0.050 the first move 1.50 times as far" in told
    assert f"Beyond noise the factor is 1.23 (p = {p:.3f}){verdict}" in told


def test_what_was_found_says_how_sure_it_is():
    text = report.found_text(["one", "two"], 0.9)
    assert text.startswith("## What was found\n\n- one\n- two\n\nBrackets hold 90 % bootstrap intervals")


def test_reports_that_cannot_be_compared(tmp_path):
    one, other, elsewhere = saved(tmp_path), saved(tmp_path, "cnn7"), saved(tmp_path, "cnn9", "b")
    assert list(comparison.load_reports([one, other])) == ["cnn3", "cnn7"]
    assert list(comparison.load_reports([one, one], ["a", "b"])) == ["a", "b"]
    assert list(comparison.load_reports([one, elsewhere])) == ["cnn3", "cnn9"] # of other images
    for results, names, message in (([one], [], "two or more paths"), (one, [], "two or more paths"),
                                    ([one, other], ["a"], "one name for each of the 2 results"),
                                    ([one, one], [], "to differ")):
        with pytest.raises(ValueError, match=message): comparison.load_reports(results, names)


def test_reports_side_by_side(tmp_path):
    reports = comparison.load_reports([saved(tmp_path), saved(tmp_path, "cnn7", lowest=-0.2)])
    table = comparison.comparison_table(reports)
    assert list(table.columns) == ["", "cnn3", "cnn7"]
    rows = table.set_index("").cnn7.to_dict()
    assert rows["Clean accuracy"] == "90.0 % (90.0 … 90.0 %)"
    assert rows["ε of FGSM, of the pixel range"] == "0.050, leaves 50 % of it"
    assert rows["Left of the clean accuracy, Gaussian noise"] == "77.8 % (absolute 70.0 %)"
    assert rows["Most fragile layer (score; interval)"] == "conv1 (−0.200; −0.220 … −0.180)"
    assert rows["Layers: fragile / robust / antifragile / undecided"] == "1 / 0 / 1 / 0"
    found = report.clean_scores(comparison.report_group(reports, "scores")["cnn7"])
    assert comparison.place_sentence("cnn7", found) == ("**cnn7** is most fragile in conv1, layer 1 of 2 "
                                                    "(−0.200; −0.220 … −0.180).")


@pytest.mark.parametrize("low, verdict", [(0.01, "The intervals of Gaussian noise exclude 0."),
                                          (-0.01, "No interval excludes 0.")])
def test_differences(low, verdict):
    d = xr.Dataset({k: ("stress", [v]) for k, v in dict(difference=0.05, low=low, high=0.09).items()},
                   dict(stress=["gaussian_noise"]))
    told = comparison.difference_sentence("cnn7", "cnn3", d)
    assert told.startswith("**cnn7 against cnn3**, mean accuracy over the severities: Gaussian noise +5.0 points (")
    assert told.endswith(verdict)


def test_the_best_trainings():
    accuracy = np.array([[[0.9, 0.4], [0.8, 0.7]], [[0.9, 0.3], [0.8, 0.6]]])
    data = {k: (("stress", "train", "severity"), accuracy + d) for k, d in dict(accuracy=0, low=-.1, high=.1).items()}
    summary = xr.Dataset(data, dict(stress=["gaussian_noise", "fgsm"], train=["none", "mixup"], severity=[0., 2.]))
    table = comparison.best_trainings(summary)
    assert list(table.columns) == ["tested with", "first training (no stress)", "best training", "its accuracy"]
    assert table["tested with"].tolist() == ["clean images", "Gaussian noise, severity 2", "FGSM, severity 2"]
    assert table.iloc[1].tolist()[1:] == ["40.0 % (30.0 … 50.0 %)", "mixup", "70.0 % (60.0 … 80.0 %)"]


def test_the_smallest_change():
    fooled = xr.Dataset({f"mean_change{k}": ("train", [4., 9.5 + d]) for k, d in
                         {"": 0, "_low": -1, "_high": 1}.items()} | dict(censored=("train", [0., 0.125])),
                        dict(train=["none", "mixup"]))
    told = comparison.minimal_text(fooled, "fgsm", "none", "mixup")
    assert told.startswith("**Along the sign of the gradient, as FGSM does**: 4.0 of 255 (4.0 … 4.0) after the first")
    assert "9.5 of 255 (8.5 … 10.5) after mixup; 12.5 % of the images" in told
    assert comparison.minimal_text(fooled, "mine", "none", "mixup").startswith("**mine**")


def test_tables_are_shown_without_their_index(capsys):
    report.show_text("a **word**")
    report.show_table(pd.DataFrame(dict(layer=["conv1"])))
    assert "Markdown" in capsys.readouterr().out


def test_no_torch_is_needed():
    assert python(NO_TORCH + "import fragility_nb.run.report as r; print(r.percent(0.5))") == "50.0 %"
