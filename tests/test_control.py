"""The random control, scores against it and against chance: twins, plain loops, networks whose truth is built in."""
import copy
import warnings

import numpy as np
import pytest
import torch
import xarray as xr
from control_results import fake_sweep
from kills import Stop
from torch import nn

from fragility_nb.core.identity import stable_seed
from fragility_nb.core.results import load_result, provenance, save_result
from fragility_nb.data.images import ImageData
from fragility_nb.measure.scores import average_inits, chance_level, relabel, score_summary, synaptic_scores
from fragility_nb.measure.sweeps import filter_landscape, filter_sweep
from fragility_nb.measure.targeted import targeted_mask, targeted_weights
from fragility_nb.models.activations import find_layers
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
from fragility_nb.stress.attacks import FGSM, attack_images
from fragility_nb.stress.control import ControlPlan, RandomOrders
from fragility_nb.stress.filters import plan_filter
from fragility_nb.stress.path import between_nodes, control_steps

QUICK = dict(layers=["conv1", "conv3"], filters=["high_pass", "pulse"], thresholds=7, device="cpu", progress=False)
ALL = ["high_pass", "low_pass", "pulse", "magnitude"]


@pytest.fixture(scope="module")
def few(digits): return digits.take(range(0, 544, 5))


# Masks

def twin_mask(weights, names, draw, match, taken):
    "Which weights go, one at a time: of each sign the first ones of its own random order."
    flat = [float(w) for w in torch.cat([w.flatten() for w in weights])]
    sign = [int(np.sign(w)) if match == "sign" else -1 for w in flat]
    generator = torch.Generator().manual_seed(stable_seed("random control", *names, draw))
    gone = set()
    for s in (-1, 0, 1):
        places = [i for i in range(len(flat)) if sign[i] == s]
        order = torch.randperm(len(places), generator=generator, dtype=torch.int32).tolist()
        k = sum(1 for i in places if i in taken)
        gone |= {places[j] for j in range(len(places)) if order[j] < k}
    return gone


@pytest.mark.parametrize("match", ["sign", "count"])
@pytest.mark.parametrize("name", ALL)
def test_masks_equal_the_twin(name, match):
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(4, 3, 2, 2, generator=g), torch.randn(5, 6, generator=g)]
    weights[0][0] = 0.
    plan, names = plan_filter(weights, name, 11), ["conv1", "linear"]
    control = ControlPlan(plan, RandomOrders(weights, names, match), nodes=6)
    for m, i in enumerate(control.steps):
        taken = set(torch.nonzero(torch.cat([~k.flatten() for k in plan.kept(int(i))]))[:, 0].tolist())
        for draw in range(2):
            gone = twin_mask(weights, names, draw, match, taken)
            assert len(gone) == len(taken) == plan.removed[i]
            got = control.filtered(m, draw)
            for part, w in zip(got, weights): assert part.shape == w.shape
            got, want = torch.cat([w.flatten() for w in got]), torch.cat([w.flatten() for w in weights])
            want[list(gone)] = 0.
            assert torch.equal(got, want)


def test_draws_are_nested_and_differ():
    w = torch.randn(500, generator=torch.Generator().manual_seed(0))
    control = ControlPlan(plan_filter(w, "high_pass", 25), RandomOrders(w, ["a"]))
    masks = [[control.filtered(m, draw)[0] == 0 for m in range(9)] for draw in range(2)]
    for one in masks:
        for before, after in zip(one, one[1:]): assert (after | ~before).all()
    assert not torch.equal(masks[0][4], masks[1][4])
    other = ControlPlan(plan_filter(w, "high_pass", 25), RandomOrders(w, ["b"]))
    assert not torch.equal(other.filtered(4, 0)[0], control.filtered(4, 0)[0])  # each layer has its own order


@pytest.mark.parametrize("match", ["sign", "count"])
def test_equal_keys_are_equal_masks_across_filters(match):
    w = torch.randn(12, generator=torch.Generator().manual_seed(3))
    orders, seen = RandomOrders(w, ["a"], match), {}
    for name in ALL:
        plan = plan_filter(w, name, 9)
        control = ControlPlan(plan, orders, nodes=None)
        for draw in range(2):
            for m in range(9):
                new = control.filtered(m, draw)[0]
                assert torch.equal(seen.setdefault(control.key(m, draw), new), new)
        for i in range(9): assert torch.equal(seen.get(plan.key(i), plan.filtered(i)[0]), plan.filtered(i)[0])
    assert {"all", "none"} <= seen.keys() and len(seen) < 2*9*len(ALL)


# Sweeps

def plain_control(model, data, layers, scope, name, i, draw, x, match="sign"):
    "Copy, remove at random as the twin says, run the whole network."
    weights = [layer.weight for layer in layers]
    kept = plan_filter(weights, name, QUICK["thresholds"]).kept(i)
    taken = set(torch.nonzero(torch.cat([~k.flatten() for k in kept]))[:, 0].tolist())
    gone, net, start = twin_mask(weights, [layer.name for layer in layers], draw, match, taken), copy.deepcopy(model), 0
    for layer in layers:
        w = layer.weight.clone().flatten()
        w[[j - start for j in gone if start <= j < start + w.numel()]] = 0.
        net.get_submodule(layer.path).weight.data = w.view(layer.weight.shape)
        start += w.numel()
    images = x if x is not None else attack_images(net, data, FGSM(0.05), device="cpu")
    return (predict(net, images, device="cpu").argmax(1) == data.labels).numpy()


@pytest.mark.parametrize("mode", ["fixed", "adaptive"])
def test_controls_answer_like_a_plain_loop(trained, few, mode):
    result = filter_sweep(trained, few, attack=FGSM(0.05), attack_mode=mode, scope="both", control=2, control_nodes=3,
                          **QUICK)
    assert result.control_step.shape == (3, 2, 3) and result.control_correct.sizes["draw"] == 2
    layers = find_layers(trained, QUICK["layers"])
    scopes = {layer.name: [layer] for layer in layers} | {"global": layers}
    fixed = attack_images(trained, few, FGSM(0.05), device="cpu") if mode == "fixed" else None
    for scope in scopes:
        for name in QUICK["filters"]:
            for node, draw in ((1, 0), (1, 1), (2, 0)):
                at = dict(layer=scope, filter=name, node=node)
                i = int(result.control_step.sel(at))
                for stress, x in dict(clean=few.batch(0, len(few)), adversarial=fixed).items():
                    want = plain_control(trained, few, scopes[scope], scope, name, i, draw, x)
                    got = result.control_correct.sel(at | dict(stress=stress, draw=draw)).values
                    assert abs(int(got.sum()) - int(want.sum())) <= (stress == "adversarial"), (scope, name, node, draw)
                    if stress == "clean": np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(result.control_accuracy, result.control_correct.mean("sample"))


def test_a_control_changes_no_answer_of_the_filters(trained, few):
    plain, beside = filter_sweep(trained, few, **QUICK), filter_sweep(trained, few, control=1, **QUICK)
    assert (plain.correct == beside.correct).all()
    assert "control" not in plain.attrs and beside.attrs["control"] == 1 and "control_correct" not in plain
    count = filter_sweep(trained, few, control=1, control_match="count", **QUICK)
    assert count.attrs["control_match"] == "count" and (count.control_correct != beside.control_correct).any()


def test_all_nodes_are_the_truth_that_few_interpolate(trained, few):
    some, every = (filter_sweep(trained, few, control=2, control_nodes=k, **QUICK | dict(thresholds=15))
                   for k in (7, None))
    assert every.control_step.values.tolist() == [[list(range(15))]*2]*2
    for la, f in np.ndindex(2, 2):
        steps = some.control_step.values[la, f]
        np.testing.assert_array_equal(some.control_correct.values[:, la, f],
                                      every.control_correct.values[:, la, f][:, steps])
    s, e = (synaptic_scores(r, baseline="random").score.sel(filter=QUICK["filters"]) for r in (some, every))
    assert np.abs(s - e).max() < 0.05  # of an area between 0 and 1
    published = synaptic_scores(every).score.sel(filter=QUICK["filters"])
    assert np.abs(published - e).max() > 0.1


def test_nodes_stand_along_the_path():
    removed = np.array([0, 0, 0, 0, 50, 100, 100, 100, 100])
    steps = control_steps(removed, 100, 5)
    assert steps[0] == 0 and steps[-1] == 8 and {4, 5} & set(steps.tolist())
    y = np.array([1, 1, 1, 1, 0.6, 0.2, 0.2, 0.2, 0.2])
    matrix = between_nodes(removed, 100, steps)
    length = np.concatenate([[0], np.cumsum(np.sqrt(np.diff(removed/100)**2 + (1/8)**2))])
    for i in range(9):  # by hand: the line between the two nodes around it
        right = next(k for k in range(1, 5) if steps[k] >= i)
        a, b = steps[right - 1], steps[right]
        share = (length[i] - length[a]) / (length[b] - length[a])
        assert matrix[i] @ y[steps] == pytest.approx((1 - share)*y[a] + share*y[b])


def test_control_is_interrupted_and_resumed(trained, few, monkeypatch, tmp_path):
    whole = filter_sweep(trained, few, control=2, **QUICK)  # 7 calls: unfiltered; filters and two draws of two layers
    with monkeypatch.context() as patch, pytest.warns(UserWarning, match="holds 1 of 2 layers"):
        Stop(patch, 5)
        some = filter_sweep(trained, few, control=2, **QUICK)
    assert some.attrs["incomplete"] == 1
    assert (some.control_correct == whole.control_correct.isel(layer=[0])).all()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, 3)  # within the control of the first layer
        filter_sweep(trained, few, control=2, resume=tmp_path, **QUICK)
    with monkeypatch.context() as patch:
        rest = Stop(patch, 100)
        resumed = filter_sweep(trained, few, control=2, resume=tmp_path, **QUICK)
        assert 100 - rest.left == 4 and resumed.drop_attrs().identical(whole.drop_attrs())
        filter_sweep(trained, few, resume=tmp_path, **QUICK)
        assert 100 - rest.left == 4  # without a control the same filters
        filter_sweep(trained, few, control=3, resume=tmp_path, **QUICK)
        assert 100 - rest.left == 6  # one more draw costs only itself


def test_a_landscape_with_control_is_sweep_by_sweep(trained, few, tmp_path):
    paths = {}
    for epoch in (1, 2):
        paths[epoch] = tmp_path / f"{epoch}.pt"
        save_checkpoint(create_model("cnn4", seed=epoch), paths[epoch])
    options = QUICK | dict(control=2, control_nodes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = filter_landscape(create_model("cnn4"), [paths, paths], few, **options)
        one = filter_sweep(create_model("cnn4", weights=paths[2]), few, **options)
    assert both.control_correct.dims[:2] == ("init", "epoch") and both.control_step.dims[:2] == ("init", "epoch")
    for k in ("control_correct", "control_step", "control_accuracy"):
        np.testing.assert_array_equal(both[k].sel(init=1, epoch=2), one[k])
    scores = synaptic_scores(both, baseline="random")
    want = synaptic_scores(one, baseline="random").score
    np.testing.assert_allclose(scores.score.sel(init=1, epoch=2), want, atol=1e-12)


def test_counts_of_a_bar_with_control(trained, few, monkeypatch, tmp_path):
    import fragility_nb.measure.sweeps as sweeps
    class Bar:
        n = 0
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def set_description(self, _, refresh=True): pass
        def update(self, k): self.n += k
    totals = []
    for _ in range(2):
        bar = Bar()
        monkeypatch.setattr(sweeps, "sweep_bar", lambda copies, _, bar=bar: totals.append(copies) or bar)
        filter_sweep(trained, few, control=2, control_nodes=3, resume=tmp_path, **QUICK)
        assert bar.n == pytest.approx(totals[-1]) and totals[-1] == 2*2*(7 + 2*3)


def test_results_with_control_are_saved_and_read(trained, few, tmp_path):
    result = filter_sweep(trained, few, control=2, **QUICK)
    save_result(result, tmp_path / "r.nc")
    again = synaptic_scores(load_result(tmp_path / "r.nc"), baseline="random", simultaneous=True)
    want = synaptic_scores(result, baseline="random", simultaneous=True)
    assert again.drop_attrs().equals(want.drop_attrs())


def test_errors_say_what_to_call(trained, few):
    with pytest.raises(ValueError, match="`control` to be 0 with `tolerance`"):
        filter_sweep(trained, few, control=2, tolerance=0.1)
    with pytest.raises(ValueError, match="Unknown `control_match`"): filter_sweep(trained, few, control_match="size")
    result = filter_sweep(trained, few, **QUICK)
    with pytest.raises(ValueError, match=r"Call `filter_sweep\(..., control=2\)`"):
        synaptic_scores(result, baseline="random")
    with pytest.raises(ValueError, match="Unknown `baseline`"): synaptic_scores(result, baseline="pruning")
    loose = filter_sweep(trained, few, tolerance=0.9, **QUICK)
    for options in (dict(baseline="random"), dict(baseline="chance"), dict(simultaneous=True)):
        with pytest.raises(ValueError, match="without `tolerance`"): synaptic_scores(loose, **options)


# Scores against the control, against a slow loop

def slow_random_score(r, stress, layer, f, rows, draws):
    "One area against the control, of these images and random orders, in plain loops."
    A, p0 = r.sizes["threshold"], r.reference_correct.values[stress][rows].mean()
    removed, steps = r.removed.values[layer, f] / 100, r.control_step.values[layer, f]
    length = [0.]
    for i in range(A - 1): length.append(length[-1] + ((removed[i + 1] - removed[i])**2 + (1/(A - 1))**2)**0.5)
    gap = []
    for i in range(A):
        p = r.correct.values[stress, layer, f, i][rows].mean() / p0
        nodes = [np.mean([r.control_correct.values[stress, layer, f, m, d][rows].mean() / p0 for d in draws])
                 for m in range(len(steps))]
        gap.append(p - np.interp(length[i], [length[s] for s in steps], nodes))
    return sum((gap[i] + gap[i + 1])/2/(A - 1) for i in range(A - 1))


def test_random_scores_equal_the_slow_loop():
    r = fake_sweep()
    got = synaptic_scores(r, baseline="random").score
    rows, draws = np.arange(80), range(3)
    for layer in range(2):
        clean, attacked = ([slow_random_score(r, s, layer, f, rows, draws) for f in range(2)] for s in range(2))
        for kind, want in dict(clean=clean, adversarial=attacked, difference=np.subtract(attacked, clean)).items():
            np.testing.assert_allclose(got.sel(kind=kind).values[layer], [*want, np.mean(want)], atol=1e-12)


def test_random_intervals_equal_a_plain_bootstrap():
    "Images and random orders drawn one by one; the orders' part is stretched by √(r/(r−1))."
    r, rng, draws = fake_sweep(n=60, A=5, r=3, nodes=3, layers=1), np.random.default_rng(5), []
    one = dict(stress=0, layer=0, f=0)
    for _ in range(800):
        rows, orders = rng.integers(0, 60, 60), rng.integers(0, 3, 3)
        middle, drawn = (slow_random_score(r, **one, rows=rows, draws=d) for d in (range(3), orders))
        draws.append(middle + (drawn - middle) * np.sqrt(3/2))
    low, high = np.percentile(draws, [2.5, 97.5])
    got = synaptic_scores(r, baseline="random", n_boot=4000).isel(kind=0, layer=0, filter=0)
    assert float(got.low) == pytest.approx(low, abs=0.12*(high - low))
    assert float(got.high) == pytest.approx(high, abs=0.12*(high - low))


def covered(r, runs=120, n=100, spread=0.04):
    "How often the interval of one score holds 0, its truth, where random orders differ by `spread` in accuracy."
    hits = 0
    for seed in range(runs):
        rng = np.random.default_rng([seed, r])
        result = fake_sweep(n=n, A=3, r=r, nodes=3, layers=1, seed=seed, ref=(1., 1.)).isel(stress=[0], filter=[0])
        correct = rng.random((1, 1, 1, 3, n)) < 0.6
        p = 0.6 + spread*rng.normal(size=r)
        control = rng.random((1, 1, 1, 3, r, n)) < p[:, None]
        result = result.assign(correct=(result.correct.dims, correct),
                               control_correct=(result.control_correct.dims, control))
        s = synaptic_scores(result, baseline="random", n_boot=100).isel(kind=0, layer=0, filter=0)
        hits += float(s.low) <= 0 <= float(s.high)
    return hits / runs


def test_intervals_over_random_orders_cover_the_truth():
    "With one order they do not, and a warning says so."
    with pytest.warns(UserWarning, match="one random order"): alone = covered(1, spread=0.08)
    assert alone < 0.8 and covered(4) >= 0.9


def test_one_random_order_is_warned_of_and_written_down():
    with pytest.warns(UserWarning, match="one random order"):
        assert synaptic_scores(fake_sweep(r=1), baseline="random").attrs["interval_over"] == "images"
    assert synaptic_scores(fake_sweep(r=2), baseline="random").attrs["interval_over"] == "images and random orders"
    assert synaptic_scores(fake_sweep(r=2)).attrs["interval_over"] == "images"


def test_scores_with_a_control_beside_them_stay_the_published_ones():
    r = fake_sweep()
    plain = synaptic_scores(r.drop_vars(["control_correct", "control_step", "control_accuracy"]))
    assert synaptic_scores(r).drop_attrs().identical(plain.drop_attrs())


def test_few_images_are_warned_of_once():
    for n, told in ((49, 1), (50, 0)):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            synaptic_scores(fake_sweep(n=n), baseline="random", simultaneous=True)
        assert len([w for w in heard if "88 to 91 %" in str(w.message)]) == told


# Chance

def at_chance_level(n=200):
    "A layer removed wholly at every threshold: guessing among 10 classes is left of .9 and of .45."
    A, first = 5, np.arange(n)
    guess, ref = first < n*0.1, np.stack([first < n*0.9, first < n*0.45])
    correct = np.broadcast_to(guess, (2, 1, 1, A, n))
    return fake_sweep(n=n, A=A, r=2, nodes=3, layers=1).isel(filter=[0]).assign(
        correct=(("stress", "layer", "filter", "threshold", "sample"), correct),
        removed=(("layer", "filter", "threshold"), np.full((1, 1, A), 100)),
        control_correct=(("stress", "layer", "filter", "node", "draw", "sample"),
                         np.broadcast_to(guess, (2, 1, 1, 3, 2, n))),
        reference_correct=(("stress", "sample"), ref), reference_accuracy=("stress", ref.mean(-1)))


def test_guessing_is_antifragile_as_published_and_nothing_against_chance():
    "By hand: .1/.9 = .11, .1/.45 = .22, and .11 between them; (.1 − .1)/(p₀ − .1) = 0; as many at random guess, too."
    r = at_chance_level()
    for baseline, want in dict(published=[1/9, 2/9, 1/9], chance=[0, 0, 0], random=[0, 0, 0]).items():
        s = synaptic_scores(r, baseline=baseline).sel(layer="conv0", filter="high_pass")
        np.testing.assert_allclose(s.score, want, atol=1e-12)
        words = set(s.label.values.tolist())
        assert words == {"antifragile"} if baseline == "published" else "antifragile" not in words, baseline
    assert set(s.label.values.tolist()) == {"robust"}  # against random: exactly the same answers


def test_chance_of_balanced_and_of_unbalanced_classes():
    r = fake_sweep(n=100).assign_coords(label=("sample", np.arange(100) % 10))
    assert chance_level(r) == 0.1
    assert chance_level(r.assign_coords(label=("sample", np.random.default_rng(0).integers(0, 10, 100)))) == 0.1
    assert chance_level(r.assign_coords(label=("sample", np.arange(100) // 60))) == 0.6
    assert chance_level(r.drop_vars("label")) == 0.1
    with pytest.raises(ValueError, match="num_classes"):
        chance_level(r.drop_vars("label").drop_attrs().assign_attrs(provenance("filter_sweep")))


def test_no_score_where_the_unfiltered_network_guesses():
    r = fake_sweep(n=100, ref=(0.9, 0.1))
    r = r.assign(reference_correct=(("stress", "sample"), np.stack([np.arange(100) < 90, np.arange(100) < 10])))
    s = synaptic_scores(r, baseline="chance", simultaneous=True)
    for kind in ("adversarial", "difference"):
        one = s.sel(kind=kind)
        assert one.score.isnull().all() and np.isinf(one.low).all() and np.isinf(one.high).all()
        assert (one.label == "undecided").all() and one.lowest.all()
    assert np.isfinite(s.sel(kind="clean").low).all() and np.isfinite(s.sel(kind="clean").high).all()
    assert s.attrs["chance"] == 0.1
    assert score_summary(s, "adversarial")["undecided"] == 2


def test_chance_scores_equal_a_plain_loop():
    r = fake_sweep()
    got = synaptic_scores(r, baseline="chance").score
    for layer, f in np.ndindex(2, 2):
        each = []
        for stress in range(2):
            p0 = r.reference_correct.values[stress].mean() - 0.1
            each.append([(r.correct.values[stress, layer, f, i].mean() - 0.1)/p0 for i in range(9)])
        hat = 1 - r.removed.values[layer, f]/100
        area = lambda y: sum((y[i] + y[i + 1])/2/8 for i in range(8))
        want = [area(each[0] - hat), area(each[1] - hat), area(np.subtract(each[1], each[0]))]
        np.testing.assert_allclose(got.values[:, layer, f], want, atol=1e-12)


# Planted truth

class Planted(nn.Module):
    "Two classes, told apart by two pixels: through two large weights, or past `idle` ones, whose pixels are black."
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        weights = 0.1*torch.randn(2, 40, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
        if kind == "large": weights[0, 0] = weights[1, 1] = 2.
        weights[0, 1] = weights[1, 0] = 0.
        self.layer = nn.Linear(40, 2, bias=False)
        self.layer.weight.data = weights

    def forward(self, x):
        x = x.flatten(1)
        if self.kind == "large": return self.layer(x)
        past = 3*x[:, :2] if self.kind == "idle" else 0*x[:, :2] + torch.tensor([3., -2.])
        return past + self.layer(x*torch.cat([torch.zeros(2), torch.ones(38)]))


@pytest.fixture(scope="module")
def two_pixels():
    labels = torch.arange(100) % 2
    x = torch.zeros(100, 1, 5, 8)
    x.view(100, 40)[torch.arange(100), labels] = 1.
    return ImageData(x, labels, ("left", "right"))


def planted(kind, data, filter):
    sweep = filter_sweep(Planted(kind), data, filters=filter, thresholds=21, control=4, device="cpu", progress=False)
    return {b: synaptic_scores(sweep, baseline=b).isel(kind=0, layer=0).sel(filter=filter)
            for b in ("published", "random", "chance")}, sweep


def test_where_large_weights_matter_taking_them_first_is_fragile(two_pixels):
    """Low-pass takes the two large weights first: guessing, .5, at each threshold but none removed in the others.

    By hand: relative .5 at all 21 thresholds; against chance 0; 2 of 40 positive weights at random hardly ever hit.
    """
    by, sweep = planted("large", two_pixels, "low_pass")
    assert (sweep.accuracy == 0.5).all()
    hat = 1 - sweep.removed.values[0, 0]/80
    area = np.trapezoid(hat, dx=1/20)
    assert float(by["published"].score) == pytest.approx(0.5 - area)
    assert float(by["chance"].score) == pytest.approx(0 - area)
    assert float(by["random"].score) < -0.2
    assert {b: s.label.item() for b, s in by.items()} == dict.fromkeys(by, "fragile")


@pytest.mark.parametrize("filter", ["magnitude", "high_pass"])
def test_where_large_weights_matter_keeping_them_is_more_than_pruning_at_random(two_pixels, filter):
    "By hand: right at all thresholds but the last, where nothing is left."
    by, sweep = planted("large", two_pixels, filter)
    assert sweep.accuracy.values[0, 0, 0].tolist() == [1.]*20 + [0.5]
    area = np.trapezoid(1 - sweep.removed.values[0, 0]/80, dx=1/20)
    assert float(by["published"].score) == pytest.approx(1 - 0.25/20 - area)
    assert float(by["chance"].score) == pytest.approx(1 - 0.5/20 - area)
    assert float(by["random"].score) > 0.2
    assert {b: s.label.item() for b, s in by.items()} == dict.fromkeys(by, "antifragile")


@pytest.mark.parametrize("filter", ALL)
def test_where_no_weight_matters_only_the_published_baseline_finds_something(two_pixels, filter):
    "By hand: right whatever is removed, so 1 − p̂ is all of the published score, and nothing is left against random."
    by, sweep = planted("idle", two_pixels, filter)
    assert (sweep.accuracy == 1).all() and (sweep.control_accuracy == 1).all()
    area = np.trapezoid(sweep.removed.values[0, 0]/80, dx=1/20)
    for name in ("published", "chance"): assert float(by[name].score) == pytest.approx(area)
    assert float(by["random"].score) == pytest.approx(0, abs=1e-12) and by["random"].label.item() == "robust"
    assert by["published"].label.item() == by["chance"].label.item() == "antifragile"
    both = synaptic_scores(sweep, baseline="random", simultaneous=True)
    assert both.attrs["not_varying"] == "layer" and np.abs([both.low, both.high]).max() < 1e-12


def test_a_network_that_guesses_gets_no_word(two_pixels):
    with pytest.warns(UserWarning, match="not above a random guess"): by, _ = planted("guess", two_pixels, "high_pass")
    assert {s.label.item() for s in by.values()} == {"undecided"}
    assert all(np.isinf(s.low) and np.isinf(s.high) for s in by.values())


class DeepLinear(nn.Module):
    "Two linear layers without anything between: logits ±s, s = v·W·(x − ½)."
    def __init__(self):
        super().__init__()
        g = torch.Generator().manual_seed(4)
        self.first, self.last = nn.Linear(12, 6, bias=False), nn.Linear(6, 1, bias=False)
        for layer in (self.first, self.last): layer.weight.data = torch.randn(layer.weight.shape, generator=g)

    def forward(self, x):
        s = self.last(self.first(x.flatten(1) - 0.5))
        return torch.cat([s, -s], 1)


def test_fixed_and_adaptive_attacks_of_a_linear_network_by_hand():
    """With effective weights u = v·W before and u' = v·W' after filtering, y = ±1, and no pixel near 0 or 1:

    adaptive images cost y·s by ε·‖u'‖₁, fixed ones by ε·Σ sign(u)·u', which is never more.
    """
    eps, g, model = 0.02, torch.Generator().manual_seed(0), DeepLinear()
    x = 0.2 + 0.6*torch.rand(120, 1, 3, 4, generator=g)
    with torch.no_grad(): labels = model(x).argmax(1)
    labels[:10] = 1 - labels[:10]
    data, y = ImageData(x, labels, ("plus", "minus")), 1 - 2*labels.numpy()
    sweeps = {mode: filter_sweep(model, data, attack=FGSM(eps), attack_mode=mode, thresholds=9, layers="first",
                                 device="cpu", progress=False) for mode in ("fixed", "adaptive")}
    W, v = (layer.weight.detach().double().numpy() for layer in (model.first, model.last))
    z = (x.flatten(1) - 0.5).double().numpy()
    u = (v @ W)[0]
    for name in ("high_pass", "low_pass", "pulse"):
        plan = plan_filter(model.first.weight, name, 9)
        for i in range(8):
            after = (v @ np.where(plan.kept(i)[0].numpy(), W, 0))[0]
            if not after.any(): continue  # nothing left: both logits 0
            clean = y * (z @ after)
            cost = dict(adaptive=eps*np.abs(after).sum(), fixed=eps*(np.sign(u)*after).sum())
            assert cost["fixed"] <= cost["adaptive"] + 1e-12
            for mode, sweep in sweeps.items():
                margin, got = clean - cost[mode], sweep.correct.sel(filter=name).values[1, 0, i]
                sure = np.abs(margin) > 1e-5
                np.testing.assert_array_equal(got[sure], margin[sure] > 0)
    accuracy = {mode: float(s.accuracy.sel(stress="adversarial").mean()) for mode, s in sweeps.items()}
    assert accuracy["fixed"] > accuracy["adaptive"] + 0.01
    assert sweeps["adaptive"].attrs["attack_mode"] == "adaptive" == filter_sweep(
        model, data, attack=FGSM(eps), thresholds=2, device="cpu", progress=False).attrs["attack_mode"]


# Targeted weights

class TwoWays(nn.Module):
    "Right by 20 small weights; attacked also through a large one, whose pixel says nothing of the class."
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(21, 1, bias=False)
        self.layer.weight.data = torch.tensor([[0.1 + 0.001*i for i in range(20)] + [1.]])

    def forward(self, x):
        s = self.layer(x.flatten(1) - 0.5)
        return torch.cat([s, -s], 1)


def test_targeted_weights_are_the_one_that_the_attack_works_through():
    """By hand: margins are .05·Σw = 0.1095 for small weights w, the large one's pixel adds nothing to the clean margin.

    FGSM with ε = .045 takes .045·(2.19 + 1) = .144 from it with the large weight, so every image is wrong, and .099
    without it, so every image is right; without the small ones the margin is 0 and −.045, a guess and wrong.
    """
    labels = torch.arange(80) % 2
    x = torch.full((80, 1, 1, 21), 0.5)
    x[..., :20] += 0.05*(1 - 2*labels.view(-1, 1, 1, 1))
    x[:8, ..., :20] += 0.05*(1 - 2*labels[:8].view(-1, 1, 1, 1))  # some survive the attack on the whole network
    data = ImageData(x, labels, ("plus", "minus"))
    with pytest.warns(UserWarning, match="not above a random guess"):
        sweep = filter_sweep(TwoWays(), data, filters="pulse", thresholds=10, attack=FGSM(0.045), device="cpu",
                             progress=False)
    targets = targeted_weights(sweep, "layer")
    assert sweep.removed.values.ravel().tolist() == [20, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert targets.sign.values.tolist()[1:] == [0]*8 + [1] and float(targets.difference[-1]) == pytest.approx(10 - 1)
    assert targeted_mask(TwoWays(), targets, sign=1).tolist() == [[False]*20 + [True]]
    assert targets.attrs["alpha_high"] == 1


def test_targeted_intervals_equal_a_plain_bootstrap():
    r, rng = fake_sweep(n=60, A=5), np.random.default_rng(0)
    r = r.assign(alpha=r.removed/100)
    got = targeted_weights(r, "conv1", "pulse", n_boot=4000)
    draws = []
    for _ in range(3000):
        rows = rng.integers(0, 60, 60)
        p = [[r.correct.values[s, 1, 1, i][rows].mean() / r.reference_correct.values[s][rows].mean() for i in range(5)]
             for s in range(2)]
        draws.append(np.subtract(p[1], p[0]))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    np.testing.assert_allclose(got.low, low, atol=0.1*(high - low).max())
    np.testing.assert_allclose(got.high, high, atol=0.1*(high - low).max())
    assert ((got.sign > 0) == (got.low > 0)).all() and ((got.sign < 0) == (got.high < 0)).all()


# Initialisations

def inits_at(*values, half=0.005):
    "Scores of one layer that differ between initialisations, each known to ± half."
    one = synaptic_scores(fake_sweep(layers=1)).isel(kind=[0], filter=[0])
    each = [one.assign(score=0*one.score + v, low=0*one.low + v - half, high=0*one.high + v + half) for v in values]
    each = [relabel(s, 0.01) for s in each]
    return xr.concat(each, xr.Variable("init", range(len(values))), combine_attrs="override")


def test_initialisations_far_apart_say_nothing_of_their_mean():
    scores = inits_at(-0.2, 0.2)
    mean = average_inits(scores)
    half = 12.706 * 0.4/np.sqrt(2)/np.sqrt(2)  # Student's t of 1 degree of freedom
    assert mean.score.item() == pytest.approx(0) and mean.low.item() == pytest.approx(-half, rel=1e-4)
    assert mean.high.item() == pytest.approx(half, rel=1e-4) and mean.label.item() == "undecided"
    assert relabel(mean, 0.01).label.item() == "undecided" and mean.attrs["interval_over"] == "initialisations"


@pytest.mark.parametrize("values", [(-0.2, 0.2), (-0.2, -0.21, -0.19), (0.3, 0.31), (0., 0.001, 0.0005), (0.02,)])
@pytest.mark.parametrize("band", [0.001, 0.01, 0.05, 0.25])
def test_labels_before_and_after_the_mean_are_the_same(values, band):
    scores = inits_at(*values)
    before, after = average_inits(relabel(scores, band)), relabel(average_inits(scores), band)
    assert before.label.item() == after.label.item() and before.identical(after)


def test_mean_of_three_initialisations_by_hand_and_of_one():
    mean = average_inits(inits_at(-0.2, -0.21, -0.19))
    assert mean.label.item() == "fragile" and mean.high.item() == pytest.approx(-0.2 + 4.3027*0.01/np.sqrt(3), rel=1e-4)
    one = average_inits(inits_at(0.1))
    assert one.high.item() - one.low.item() == pytest.approx(0.01) and one.attrs["interval_over"] == "images"
    unknown = inits_at(-0.2, -0.2)
    unknown["low"][dict(init=0)] = -np.inf
    assert average_inits(unknown).label.item() == "undecided"
