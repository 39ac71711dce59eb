"""Old against new: differences against plain loops, rules, files, exit statuses, pages, model cards."""
import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
import xarray as xr
from gate_results import filters, report, sweep
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result
from fragility_nb.measure.differences import score_differences, stress_differences
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.summary import result_summary
from fragility_nb.measure.severity import auc_difference, flip_rate, stress_summary
from fragility_nb.run.card import model_card, save_model_card
from fragility_nb.run.comparison import (
    differences_table, layer_differences, layers_sentence, load_reports, telling_stress, verdict_sentence)
from fragility_nb.run.gate import compare_results, comparison_json, comparison_junit, comparison_markdown, parse_rule
from fragility_nb.run.pictures import disagreement_rows, disagreements, images_of

ONE, TWO = ((0.95, 0.7, 0.4), (0.95, 0.6, 0.3)), ((0.9, 0.5, 0.2), (0.9, 0.6, 0.3))


def row(found, name):
    return [float(found[k].sel(measure=name)) for k in ("first", "second", "difference", "low", "high")]


def counts_of(n, n_boot, seed):
    "The bootstrap draws that `resampled_means` takes."
    rng = np.random.default_rng([seed, n])
    sizes = [min(100, n_boot - i) for i in range(0, n_boot, 100)]
    return np.concatenate([rng.multinomial(n, np.full(n, 1/n), size=size) for size in sizes])


def numbers(hits, flips, x):
    "The measures of one curve (severity,), by a plain loop."
    area = lambda y: sum((b + a)/2*(u - t) for a, b, t, u in zip(y, y[1:], x, x[1:]))/x[-1]
    half = math.inf
    for a, b, t, u in zip(hits, hits[1:], x, x[1:]):
        if b <= hits[0]/2 < a:
            half = t + (a - hits[0]/2)/(a - b)*(u - t)
            break
    relative = [h/hits[0] for h in hits]
    return dict(relative_area=area(relative), half_severity=half, flip_rate=area(flips), auc=area(hits))


@pytest.mark.quick
@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_differences_are_those_of_a_plain_loop(paired):
    a, b = sweep(ONE, 60), sweep(TWO, 60, seed=2, data_hash="d" if paired else "e")
    found = stress_differences(a, b, n_boot=150, seed=3)
    assert found.attrs["paired"] == int(paired)
    each, x = [], [0., 1., 2.]
    for r, seed in ((a, 3), (b, 3 if paired else 4)):
        hit = r.correct.values[0, :, 0].astype(float)
        flip = (r.pred.values[0, :, 0] != r.pred.values[0, 0, 0]).astype(float)
        weights = [np.ones(60), *counts_of(60, 150, seed)]
        each.append([numbers([(h @ w)/60 for h in hit], [(f @ w)/60 for f in flip], x) for w in weights])
    for of in ("relative_area", "half_severity", "flip_rate", "auc"):
        first, second, difference, low, high = row(found, f"gaussian_noise_{of}")
        assert (first, second) == pytest.approx((each[0][0][of], each[1][0][of]))
        apart = np.array([q[of] - p[of] for p, q in zip(*each)])
        assert difference == pytest.approx(apart[0])
        if np.isfinite(apart).all():
            assert (low, high) == pytest.approx(tuple(np.percentile(apart[1:], [2.5, 97.5])))


@pytest.mark.quick
def test_a_network_that_is_worse_everywhere_is_not_more_fragile():
    "A fifth of the images wrong at every severity: METHODS' example."
    a = sweep(((0.98, 0.85, 0.7, 0.5),), 500)
    b = a.copy(deep=True)
    b["correct"][..., np.random.default_rng(0).permutation(500)[:100]] = False
    found = stress_differences(a, b)
    _, _, apart, low, high = row(found, "gaussian_noise_relative_area")
    assert low < 0 < high and abs(apart) < 0.03
    assert row(found, "gaussian_noise_auc")[4] < -0.1  # the absolute area says otherwise, surely
    assert float(auc_difference(a, b).high[0]) == pytest.approx(row(found, "gaussian_noise_auc")[4], abs=0.01)
    assert "cannot be told apart" in verdict_sentence("b", "a", found)


def test_intervals_of_differences_cover_the_truth():
    "Both networks answer at random with known chances: the truth is known."
    p, q, hits, total = np.array([0.9, 0.7, 0.4]), np.array([0.8, 0.5, 0.3]), 0, 80
    area = lambda v: (v[0]/2 + v[1] + v[2]/2)/2/v[0]
    for i in range(total):
        rng, pair = np.random.default_rng(i), []
        for chance, offset in ((p, 0), (q, 1)):
            r = sweep((chance,), 100, seed=offset)
            r["correct"] = (r.correct.dims, rng.random(r.correct.shape) < chance[None, :, None, None])
            pair.append(r)
        _, _, _, low, high = row(stress_differences(*pair, n_boot=150, seed=i), "gaussian_noise_relative_area")
        hits += low <= area(q) - area(p) <= high
    assert 0.87 <= hits/total <= 0.995


@pytest.mark.quick
def test_unpaired_intervals_are_wider_and_of_other_sizes():
    a, b = sweep(ONE, 300), sweep(TWO, 300, seed=2)
    width = lambda d: row(d, "mean_relative_area")[4] - row(d, "mean_relative_area")[3]
    paired, apart = stress_differences(a, b), stress_differences(a, b.assign_attrs(data_hash="e"))
    assert width(paired) < 0.8*width(apart)
    alone = [stress_summary(r) for r in (a, b)]
    own = [float((s.auc_high - s.auc_low)[0]) for s in alone]
    d = apart.sel(measure="gaussian_noise_auc")
    assert float(d.high - d.low) == pytest.approx(math.hypot(*own), rel=0.12)
    assert stress_differences(a, sweep(TWO, 80)).attrs["paired"] == 0
    assert stress_differences(a, b.isel(sample=slice(None, None, -1))).attrs["paired"] == 0


@pytest.mark.quick
def test_an_attack_of_other_steps_is_compared_at_the_strengths_that_both_reach():
    a, b = sweep(ONE, epsilon=0.1), sweep(TWO, epsilon=0.15)
    found = stress_differences(a, b)
    x = np.array([0, 0.1, 0.15, 0.2])
    for which, r, step in (("first", a, 0.1), ("second", b, 0.15)):
        p = np.interp(x, step*np.arange(3), r.correct.values[1, :, 0].mean(-1))
        expected = ((p[1:] + p[:-1])/2*np.diff(x)).sum()/0.2/p[0]
        assert float(found[which].sel(measure="fgsm_relative_area")) == pytest.approx(expected)


@pytest.mark.quick
@pytest.mark.parametrize("change, told", [
    (dict(stressors="GaussianNoise(step=0.1, gray=True); FGSM(epsilon=0.1)"), "gaussian_noise (other settings)"),
    (None, "fgsm (not in the second)")], ids=["settings", "missing"])
def test_what_cannot_be_compared_is_left_out_with_a_word(change, told):
    b = sweep(TWO).isel(stress=[0]) if change is None else sweep(TWO, **change)
    found = stress_differences(sweep(ONE), b)
    assert told in found.attrs["left_out"]
    assert not any(str(k).startswith(told.split()[0]) for k in found.measure.values)


@pytest.mark.quick
def test_the_layers_are_those_of_the_scores():
    a, b = filters(3, 80, 0), filters(3, 80, 1)
    found = score_differences(a, b, n_boot=400)
    for which, r in (("first", a), ("second", b)):
        mine = synaptic_scores(r, n_boot=100).sel(kind="clean", filter="combined").score
        np.testing.assert_allclose(found[which].values[1:], mine, atol=1e-12)
    assert found.attrs["aligned"] == "name" and (found.low <= found.difference).all()
    deeper = score_differences(a, filters(6, 80, 1), n_boot=100)
    assert deeper.attrs["aligned"] == "role"
    assert deeper.layer.values.tolist() == ["", "first layer", "layers between (mean)", "last layer"]
    with pytest.raises(ValueError, match="`a` and `b` with the same filters"): score_differences(a, b.isel(filter=[0]))
    both, why = layer_differences(dict(a=a, b=b, c=b.isel(filter=[0])))
    assert list(both) == ["b"] and "same filters" in why["c"]


@pytest.mark.quick
def test_the_summary_of_a_stress_has_what_the_difference_compares(tmp_path):
    r = sweep(ONE)
    s, found = stress_summary(r), stress_differences(r, r)
    for of in ("relative_area", "half_severity", "flip_rate", "auc"):
        np.testing.assert_allclose(s[of], [row(found, f"{k}_{of}")[0] for k in ("gaussian_noise", "fgsm")])
    np.testing.assert_allclose(s.flips, flip_rate(r).flips)
    line = result_summary(load_result(report(tmp_path)/"result.nc"))
    for of in ("relative_area", "half_severity", "flip_rate", "auc"):
        assert {f"gaussian_noise_{of}", f"fgsm_{of}"} <= set(line)


@pytest.mark.quick
def test_who_guesses_is_not_robust():
    "What is right by chance only has nothing to lose; that cannot be told, and every rule on it fails."
    guessing = sweep(((0.12, 0.12, 0.12), (0.12, 0.12, 0.12)))
    found = compare_results(sweep(ONE), guessing, ["noise_relative_area < -0.02", "noise_flip_rate > 0.9"])
    assert np.isnan(found.value).all() and found.failed.all() and found.attrs["guesses"] == "second"
    assert "cannot be told" in comparison_markdown(found) and "null" in comparison_json(found)


KNOWN = ["clean_accuracy", "gaussian_noise_relative_area", "shot_noise_c_auc", "gaussian_noise_c_auc", "score[a.low]"]


@pytest.mark.quick
@pytest.mark.parametrize("text, measure, side, sign, limit", [
    ("noise_relative_area < -0.02", "gaussian_noise_relative_area", "difference", "<", -0.02),
    ("gaussian_noise_relative_area.high<=−2e-2", "gaussian_noise_relative_area", "high", "<=", -0.02),
    (" clean_accuracy.new  >  .9 ", "clean_accuracy", "new", ">", 0.9),
    ("score[a.low] >= 0", "score[a.low]", "difference", ">=", 0),
    ("score[a.low].low < 1", "score[a.low]", "low", "<", 1)])
def test_rules_are_read(text, measure, side, sign, limit):
    rule = parse_rule(text, KNOWN)
    assert (rule.measure, rule.side, rule.sign, rule.limit) == (measure, side, sign, limit)


@pytest.mark.quick
@pytest.mark.parametrize("text, told", [
    ("nose_relative_area < 0", "Known: clean_accuracy"), ("noise_c_auc < 0", "shot_noise_c_auc, gaussian_noise_c_auc"),
    ("clean_accuracy", "a name, one of"), ("clean_accuracy < x", "a number"), ("clean_accuracy < inf", "a number"),
    ("clean_accuracy == 0", "a name, one of"), ("clean_accuracy.mean < 0", "Unknown"),
    ("", "a name, one of"), (3, "got 3"),
    ("open('x').read() < 0", "Unknown"), ("clean_accuracy < 0 < 1", "Unknown")])
def test_wrong_rules_are_told(text, told):
    with pytest.raises(ValueError, match="fail_if") as e: parse_rule(text, KNOWN)
    assert told in str(e.value)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Reports: old, a more fragile one, one of another depth on other images."
    home = tmp_path_factory.mktemp("runs")
    report(home/"old", "old")
    report(home/"new", "new", p=TWO, seed=2)
    report(home/"else", "deep", layers=6, p=TWO, seed=3, n=80, data="mnist/test", data_hash="e")
    return home


@pytest.mark.parametrize("rules, status", [
    ([], 0), (["noise_relative_area < -0.9"], 0), (["noise_relative_area < -0.02"], 3),
    (["noise_relative_area < -0.9", "noise_relative_area.high < -0.02"], 3), (["nose_auc < 0"], 2), (["x"], 2)],
    ids=["none", "passes", "fails", "one of two", "unknown", "no rule"])
def test_exit_statuses(runs, rules, status):
    words = [w for rule in rules for w in ("--fail-if", rule)]
    done = CliRunner().invoke(app, ["compare", str(runs/"old"), str(runs/"new"/"result.nc"), *words])
    assert done.exit_code == status, done.output
    if status == 3: assert "FAILED" in done.output and "paired" in done.output


@pytest.mark.parametrize("words", [
    ["nothing", "new"], ["old", "new", "--ci", "95"], ["old"], ["old", "new", "--json", "a", "--junit", "a"]],
    ids=["no file", "ci", "one", "twice"])
def test_bad_input_is_status_2(runs, monkeypatch, words):
    monkeypatch.chdir(runs)
    done = CliRunner().invoke(app, ["compare", *words])
    assert done.exit_code == 2 and "Traceback" not in done.output


def test_files_are_whole_and_put_nothing_over_another(runs, tmp_path):
    rules = ["noise_relative_area < -0.02", "clean_accuracy.new < 0.5"]
    words = ["compare", str(runs/"old"), str(runs/"new"), *[w for r in rules for w in ("--fail-if", r)]]
    for kind in ("markdown", "json", "junit"): words += [f"--{kind}", str(tmp_path/f"gate.{kind}")]
    assert [CliRunner().invoke(app, words).exit_code for _ in range(2)] == [3, 3]
    assert not (tmp_path/"earlier").exists()  # the same to the byte
    got = json.loads((tmp_path/"gate.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert [(r["rule"], r["failed"]) for r in got["rules"]] == [(rules[0], True), (rules[1], False)]
    suite = ElementTree.parse(tmp_path/"gate.junit").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [len(case) for case in suite] == [1, 0] and suite[0].get("name") == rules[0]
    assert "| noise\\_" not in (text := (tmp_path/"gate.markdown").read_text(encoding="utf-8")) and "**FAILED**" in text
    CliRunner().invoke(app, [*words, "--seed", "1"])
    assert len(list((tmp_path/"earlier").rglob("gate.json"))) == 1


@pytest.mark.quick
def test_names_of_layers_do_nothing_in_any_file():
    a, b = (filters(2, 80, s).assign_coords(layer=["<b>|$x$`\x01", "&]]>"]) for s in (0, 1))
    tree = [xr.DataTree.from_dict(dict(stress=sweep(ONE, 80, seed=s), filters=f)) for s, f in ((0, a), (1, b))]
    found = compare_results(*tree, ["score[<b>|$x$`\x01].new > 5"])
    text = comparison_markdown(found)
    assert "<b>" not in text and "$" not in text
    assert ElementTree.fromstring(comparison_junit(found))[0][0].get("name") == "score[<b>|$x$`?].new > 5"
    assert "score[&]]>]" in json.loads(comparison_json(found))["measures"]


@pytest.mark.quick
def test_the_function_takes_what_is_in_memory():
    found = compare_results(sweep(ONE), sweep(TWO, seed=2), ["noise_auc < 0"])
    assert found.attrs["rules_failed"] == 1 and "layers (not in both" in found.attrs["left_out"]
    for wrong, error in ((3, TypeError), (filters(2), ValueError), (None, TypeError)):
        with pytest.raises(error, match="`new`"): compare_results(sweep(ONE), wrong)
    with pytest.raises(TypeError, match="`fail_if`"): compare_results(sweep(ONE), sweep(TWO), "noise_auc < 0")


# The page

@pytest.mark.quick
def test_the_answer_in_a_sentence():
    a, b = sweep(ONE, 300), sweep(((0.95, 0.5, 0.1), (0.95, 0.4, 0.1)), 300, seed=2)
    told = verdict_sentence("b", "a", stress_differences(a, b))
    assert told.startswith("**b is more fragile than a.**") and "More fragile to: Gaussian noise −" in told
    assert verdict_sentence("a", "b", stress_differences(b, a)).startswith("**a is less fragile than b.**")
    layers = layers_sentence("b", score_differences(filters(3, 90, 0), filters(3, 90, 1)))
    assert layers.startswith("**Layers of b**") and "(−" in layers
    assert telling_stress(stress_differences(a, b)) == "gaussian_noise"
    assert len(differences_table(stress_differences(a, b))) == 12


@pytest.mark.quick
def test_images_that_only_one_gets_right_are_counted_one_by_one():
    a, b = sweep(ONE, 90), sweep(TWO, 90, seed=2)
    only_a, only_b = disagreements(a, b, "gaussian_noise", 2)
    one, two = (r.correct.values[0, 2, 0] for r in (a, b))
    assert set(only_a) == {i for i in range(90) if one[i] and not two[i]} and len(only_a)
    assert set(only_b) == {i for i in range(90) if two[i] and not one[i]}
    gap = (a.margin - b.margin).values[0, 2, 0][only_a]
    assert (np.diff(gap) <= 0).all()
    with pytest.raises(ValueError, match="same images"): disagreements(a, b.assign_attrs(data_hash="e"), "fgsm")


def test_images_are_shown_only_if_they_are_the_same(tmp_path):
    from fragility_nb.data.sets import load_data
    from fragility_nb.stress import GaussianNoise, apply_stress
    from fragility_nb.stress.stressors import stress_id
    data = load_data("digits", "test", n=40, image_size=8)
    noise = f"{stress_id(GaussianNoise())}; FGSM(epsilon=0.1)"
    report(tmp_path, n=40, data_hash=data.hash, stressors=noise)
    run = dict(model_report=dict(identity=dict(parameters=dict(data="digits", n=40, image_size=8, root=None))))
    (tmp_path/"run.json").write_text(json.dumps(run))
    tree = load_result(tmp_path/"result.nc")
    got, why = images_of(tmp_path/"result.nc", tree)
    assert why == "" and got.hash == data.hash
    a = tree["stress"].to_dataset().assign_coords(sample=data.index.numpy())
    b = sweep(TWO, 40, seed=2, data_hash=data.hash, stressors=noise).assign_coords(sample=data.index.numpy())
    images, words, titles = disagreement_rows(dict(a=a, b=b), got, "gaussian_noise", 2, most=3)
    places = disagreements(a, b, "gaussian_noise", 2)[0][:3]
    few = data.take(places.tolist())
    seen = apply_stress(GaussianNoise(), few.batch(0, len(few)), 2, 0, few.index)
    np.testing.assert_array_equal(images[0], seen.numpy())
    assert "severity 2: only a is right" in titles[0] and words[0][0].startswith("a: ")
    assert "shown clean" in disagreement_rows(dict(a=a, b=b), got, "fgsm", 2)[2][0]
    run["model_report"]["identity"]["parameters"]["n"] = 41
    (tmp_path/"run.json").write_text(json.dumps(run))
    assert images_of(tmp_path/"result.nc", tree) == (None, "what is there now are other images")
    run["model_report"]["identity"]["parameters"]["data"] = "no_such_set"
    (tmp_path/"run.json").write_text(json.dumps(run))
    assert "cannot be read" in images_of(tmp_path/"result.nc", tree)[1]


def test_the_page_of_two_architectures_on_two_data_sets(runs, tmp_path):
    from fragility_nb.run.studies import run_study
    results = [str(runs/k/"result.nc") for k in ("old", "new", "else")]
    assert list(load_reports(results)) == ["old", "new", "deep"]
    page = run_study("comparison", tmp_path, progress=False, results=results).read_text(encoding="utf-8")
    assert "new is more fragile than old" in page
    for words in ("unpaired", "digits (test) and mnist (test)", "The layers differ, so they are compared by role",
                  "there is none that only one gets", "The images are not shown", "Every difference"):
        assert words in page, words


# The card

def test_hugging_face_reads_the_card(runs, tmp_path):
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results
    done = CliRunner().invoke(app, ["card", str(runs/"old"), "--out", str(tmp_path/"README.md")])
    assert done.exit_code == 0, done.output
    card, line = ModelCard.load(tmp_path/"README.md"), result_summary(load_result(runs/"old"/"result.nc"))
    values = {e.metric_type: e.metric_value for e in card.data.eval_results}
    assert card.data.model_name == "old" and values["accuracy"] == pytest.approx(line["clean_accuracy"], abs=1e-6)
    for k in ("gaussian_noise_relative_area", "gaussian_noise_flip_rate", "fgsm_auc"):
        assert values[k] == pytest.approx(line[k], abs=1e-6)
    name, again = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "old" and {e.dataset_type for e in again} == {"digits"} and len(again) == len(values)
    assert "## Fragility" in card.text and "of the clean accuracy" in card.text


def test_a_card_that_is_there_keeps_its_words(runs, tmp_path):
    from huggingface_hub import EvalResult, ModelCard, ModelCardData
    f1 = EvalResult("image-classification", "digits", "digits/test", "f1", 0.4, dataset_split="test", metric_name="F1")
    data = ModelCardData(license="mit", model_name="Mine", eval_results=[f1])
    own = ModelCard(f"---\n{data.to_yaml()}\n---\n# Mine\n\n$x$ é\n")
    path = tmp_path/"README.md"
    path.write_text(str(own), encoding="utf-8")
    for which in ("old", "new"): save_model_card(runs/which, path)
    card = ModelCard.load(path)
    metrics = [e.metric_type for e in card.data.eval_results]
    assert card.data.license == "mit" and card.data.model_name == "Mine" and metrics.count("f1") == 1
    assert metrics.count("accuracy") == 1 and card.text.count("## Fragility") == 1 and "$x$ é" in card.text
    assert model_card(runs/"new", card=path.read_text(encoding="utf-8")) == path.read_text(encoding="utf-8")
    assert len(list((tmp_path/"earlier").rglob("README.md"))) == 2  # nothing was overwritten
    with pytest.raises(ValueError, match="`card`"): model_card(runs/"old", card="---\n{a: [\n---\n")
    with pytest.raises(TypeError, match="`run`"): model_card(3)
