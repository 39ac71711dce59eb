"Layers of two networks by the random control and over initialisations; images that the smallest stress separates."
import numpy as np
import pytest
import xarray as xr
from control_results import fake_sweep
from explorer_results import landscape
from gate_results import sweep
from scipy import stats

from fragility_nb.measure.differences import differences_by_baseline, init_differences, score_differences
from fragility_nb.measure.scores import average_inits, synaptic_scores
from fragility_nb.run.comparison import layers_beside, layers_sentence
from fragility_nb.run.gate import compare_results, comparison_markdown
from fragility_nb.run.pictures import separation_rows, separations

pytestmark = pytest.mark.quick
ONE, TWO = ((0.95, 0.7, 0.4), (0.95, 0.6, 0.3)), ((0.9, 0.5, 0.2), (0.9, 0.6, 0.3))


def controlled(seed, n=80):
    return fake_sweep(n=n, seed=seed).assign_coords(sample=np.arange(n)).assign_attrs(data_hash="d", model=f"m{seed}")


def inits(seed, k=3, seeds=None, layers=3):
    "Scores over k initialisations."
    found = synaptic_scores(landscape(layers, 1, 60, k, seed=seed).isel(epoch=0, drop=True), n_boot=100)
    return found if seeds is None else found.assign_attrs(init_seeds=seeds)


def tree(seed, seeds="0, 1, 2", control=True, k=3):
    "What a report keeps of stress and layers."
    parts = dict(stress=sweep((ONE, TWO)[seed % 2], 80, seed=seed), filters=controlled(seed))
    if not control: parts["filters"] = parts["filters"].drop_vars(["control_correct", "control_accuracy"])
    if k:
        every = inits(seed, k, seeds)
        parts |= dict(landscape_scores=every.expand_dims(epoch=[5]), scores_inits=average_inits(every))
    return xr.DataTree.from_dict(parts)


def test_against_the_control_the_scores_are_those_of_synaptic_scores():
    a, b = controlled(0), controlled(1)
    found = score_differences(a, b, baseline="random", n_boot=2000)
    scores = [synaptic_scores(r, baseline="random", n_boot=2000).sel(kind="clean", filter="combined") for r in (a, b)]
    np.testing.assert_allclose(found["first"].values[1:], scores[0].score, atol=1e-12)
    np.testing.assert_allclose(found.second.values[1:], scores[1].score, atol=1e-12)
    assert found.measure.values.tolist() == ["mean_score_random", "score_random[conv0]", "score_random[conv1]"]
    apart = np.sqrt(sum(((s.high - s.low)/2)**2 for s in scores)).values  # two independent networks
    np.testing.assert_allclose((found.high - found.low).values[1:]/2, apart, rtol=0.35)
    with pytest.raises(ValueError, match="`b` of a sweep with a random control"):
        score_differences(a, b.drop_vars("control_correct"), baseline="random")


def test_the_intervals_against_the_control_cover_the_truth():
    "Two networks of the same chances: the difference is 0."
    hits = 0
    for i in range(60):
        d = score_differences(controlled(2*i), controlled(2*i + 1).assign_attrs(data_hash=f"{i}"), baseline="random",
                              n_boot=200, seed=i)
        # the filters of both remove other weights, but the control removes as many at random: the truth is 0
        hits += float(d.low[0]) <= 0 <= float(d.high[0])
    assert 52 <= hits <= 60  # 57 of 60 expected; below 52 with a chance of one in 100


@pytest.mark.parametrize("by, depends", [((0.1, 0.05, -0.1), True), ((-0.1, -0.2, -0.05), False),
                                         ((0.1, -0.05, 0.2), False)], ids=["turns", "agrees", "undecided"])
def test_a_star_where_the_sign_depends_on_the_baseline(by, depends):
    a, b = controlled(0), controlled(1)
    published, random = (score_differences(a, b, baseline=k, n_boot=100) for k in ("published", "random"))
    for k, v in zip(("difference", "low", "high"), (-0.1, -0.2, 0.01) if depends is False else (-0.1, -0.2, -0.01)):
        published[k][1:] = v
    for k, v in zip(("difference", "low", "high"), (by[0], min(by[1:]), max(by[1:]))): random[k][1:] = v
    if depends: random["low"][1:], random["high"][1:] = -0.05, 0.2
    found = differences_by_baseline(published, random)
    assert found.depends.values[1:].tolist() == [depends]*2
    assert ("★" in layers_sentence("b", found)) == depends
    with pytest.raises(ValueError, match="`random` of `score_diff"): differences_by_baseline(published, published)


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "unpaired"])
def test_over_initialisations_the_intervals_are_students(paired):
    a, b = inits(0, 4, "0, 1, 2, 3"), inits(1, 4 if paired else 3, "0, 1, 2, 3" if paired else "4, 5, 6")
    found = init_differences(a, b)
    assert found.attrs["paired"] == int(paired)
    one, two = (s.score.sel(kind="clean", filter="combined").transpose("init", "layer").values for s in (a, b))
    for i in range(-1, 3):
        x, y = (v.mean(1) if i < 0 else v[:, i] for v in (one, two))
        test = stats.ttest_rel(y, x) if paired else stats.ttest_ind(y, x, equal_var=False)
        expected = test.confidence_interval(0.95)
        row = found.isel(measure=i + 1)
        assert float(row.difference) == pytest.approx(y.mean() - x.mean())
        assert (float(row.low), float(row.high)) == pytest.approx((expected.low, expected.high))


def test_what_is_undefined_has_no_bounds_and_one_training_is_no_interval():
    a, b = inits(0), inits(1)
    a["low"][..., 1] = -np.inf
    found = init_differences(a, b, paired=True)
    assert np.isinf(found.low).all() and np.isinf(found.high).all()
    with pytest.raises(ValueError, match="`b` over two or more initialisations"): init_differences(a, b.isel(init=0))
    with pytest.raises(ValueError, match="as many initialisations for `paired`"):
        init_differences(a, inits(1, 4), paired=True)
    assert init_differences(inits(0, layers=5), b).attrs["aligned"] == "role"


def test_the_page_has_every_kind_of_scores_that_both_results_have():
    reports = dict(a=tree(0), b=tree(1), c=tree(3, seeds="7, 8, 9", control=False), d=tree(5, k=0, control=False))
    tables, why = layers_beside(reports)
    assert {k: list(v) for k, v in tables.items()} == dict(
        b=["score", "score_random", "score_inits"], c=["score", "score_inits"], d=["score"])
    assert why["c"] == "the second result has no random control" and "b" not in why
    assert "3 trainings of each, paired by their seeds" in layers_sentence("b", tables["b"]["score_inits"])
    assert "of the second, unpaired" in layers_sentence("c", tables["c"]["score_inits"])
    assert "against removing as many weights at random" in layers_sentence("b", tables["b"]["score_random"])


RULES = ["mean_score_random < -9", "score_random[conv1].high < -9", "mean_score_inits > 9",
         "score_inits[layer1.0.conv2] > -9"]


def test_a_gate_has_rules_on_the_control_and_on_initialisations():
    found = compare_results(tree(0), tree(1), RULES)
    assert found.failed.values.tolist() == [False, False, False, True]
    text = comparison_markdown(found)
    assert "over initialisations** (" in text and "3 trainings of each, paired" in text
    both = init_differences(*(r["landscape_scores"].to_dataset().isel(epoch=-1) for r in (tree(0), tree(1))))
    first = dict(measure="score_inits[layer1.0.conv1]")
    assert float(found.high.sel(first)) == float(both.high.sel(first))


@pytest.mark.parametrize("old, rule, told", [
    (dict(control=False), "mean_score_random < 0", "the old result has no random control"),
    (dict(k=0), "score_inits[conv0] < 0", "the old result has no scores over initialisations"),
    (dict(control=False), "score_random[conv0].high < 0", "the old result has no random control")],
    ids=["control", "inits", "layer"])
def test_a_measure_that_one_result_lacks_is_told(old, rule, told):
    with pytest.raises(ValueError, match=f"`fail_if` to name what both results have.*{told}"):
        compare_results(tree(0, **old), tree(1), [rule])
    assert told.replace("old", "first").split(" no ")[1] in compare_results(tree(0, **old), tree(1)).attrs["left_out"]


def test_a_stress_that_one_result_lacks_is_told():
    less = sweep(TWO, seed=2).isel(stress=[1])
    for rule in ("noise_auc < 0", "gaussian_noise_relative_area < 0"):
        with pytest.raises(ValueError, match="not compared: not in the new"): compare_results(sweep(ONE), less, [rule])


def test_images_are_separated_by_the_smallest_stress():
    a, b = sweep(((0.95, 0.8, 0.6, 0.3),), 120), sweep(((0.95, 0.6, 0.5, 0.3),), 120, seed=2)
    one, two = (r.correct.values[0, :, 0] for r in (a, b))
    for (places, levels), (x, y) in zip(separations(a, b, "gaussian_noise"), ((one, two), (two, one))):
        expected = {}
        for i in range(120):
            apart = [v for v in (1, 2, 3) if x[v, i] and not y[v, i]]
            if one[0, i] and two[0, i] and apart: expected[i] = apart[0]
        assert dict(zip(places.tolist(), levels.tolist())) == expected and expected
        assert (np.diff(levels) >= 0).all()


def test_the_clean_image_stands_above_the_stressed_one():
    from fragility_nb.data.sets import load_data
    from fragility_nb.stress import GaussianNoise, apply_stress
    from fragility_nb.stress.stressors import stress_id
    data = load_data("digits", "test", n=60, image_size=8)
    how = dict(data_hash=data.hash, stressors=stress_id(GaussianNoise()))
    a, b = (sweep((p,), 60, seed=s, **how).assign_coords(sample=data.index.numpy())
            for p, s in (((0.95, 0.8, 0.5), 0), ((0.95, 0.5, 0.4), 2)))
    a = a.assign(confidence=a.correct*0 + 0.75)
    images, words, titles = separation_rows(dict(first=a, second=b), data, "gaussian_noise", most=4)
    places, levels = (v[:4] for v in separations(a, b, "gaussian_noise")[0])
    few = data.take(places.tolist())
    np.testing.assert_array_equal(images[0], few.batch(0, len(few)).numpy())
    for i, level in enumerate(levels):
        one = data.take([int(places[i])])
        stressed = apply_stress(GaussianNoise(), one.batch(0, 1), level, 0, one.index)
        np.testing.assert_array_equal(images[1][i], stressed.numpy()[0])
    assert len(images) == len(titles) == 4 and "only first is still right" in titles[0]
    assert words[1][0].startswith("first: ") and " 75 %" in words[1][0].split("\n")[0]
