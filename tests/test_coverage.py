"""Coverage against a slow twin, image by image, in any batches and any order; what cannot be counted is refused."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fragility_nb.models.activations import record_activations
from fragility_nb.probes.batchnorm.statistics import statistic_gap
from fragility_nb.core.results import load_result, save_result
from fragility_nb.probes.coverage.criteria import KMNC, NBC, NC, SNAC, TKNC, TKNP, Criterion
from fragility_nb.probes.coverage.probe import Coverage, activation_profile, merge_coverage, neuron_coverage
from fragility_nb.probes.coverage.units import Units, find_outputs
from fragility_nb.probes.coverage.compare import coverage_growth, coverage_table
from fragility_nb.probes.coverage.plots import plot_coverage_map, plot_coverage_scores
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import Normalized, model_hash
from fragility_nb.stress.stressors import GaussianNoise

THRESHOLDS = (0., 0.25, 0.5, 0.75)


def criteria(k=5):
    return [*(NC(t, r) for t in THRESHOLDS for r in ("deepxplore", "mean-first")), KMNC(k), NBC(), SNAC(), TKNC(2),
            TKNP(2)]


def scale(v):
    "Min–max to [0, 1]; a constant is 0."
    low, high = v.min(), v.max()
    return np.zeros_like(v) if low == high else (v - low) / (high - low)


def leaders(means):
    "The two strongest units of a layer; among equals the first ones."
    return sorted(range(len(means)), key=lambda u: (-means[u], u))[:2]


def slots_hit(v, a, b, k):
    "Criterion and slot that a unit's mean v hits, whose profiled range is a to b."
    if v > b: yield from (("snac", 0), ("nbc", 1))
    if v < a: yield "nbc", 0
    if a < b and a <= v <= b: yield f"kmnc_{k}", min(int(np.floor((v - a) / (b - a) * k)), k - 1)


def unit_hits(layer, low, high, k):
    "Unit, criterion and slot that an image hits in a layer of (C, positions)."
    means = layer.mean(1)
    scaled = {"deepxplore": scale(layer).mean(1), "mean-first": scale(means)}
    for u, v in enumerate(means):
        yield from ((u, f"nc_{r}_{t:g}", 0) for r, s in scaled.items() for t in THRESHOLDS if s[u] > t)
        yield from ((u, *slot) for slot in slots_hit(v, low[u], high[u], k))
        if u in leaders(means): yield u, "tknc_2", 0


def twin(maps, low, high, k=5):
    """The sets of (layer, unit, slot) that the images hit, one image and one unit at a time.

    `maps`: layers of (N, C, positions).
    """
    hit = {c.name: {} for c in criteria(k) if c.name != "tknp_2"}
    patterns = set()
    for n in range(len(maps[0])):
        for i, layer in enumerate(maps):
            for u, name, slot in unit_hits(layer[n], low[i], high[i], k): hit[name].setdefault((i, u, slot), n)
        patterns.add(tuple(frozenset(leaders(layer[n].mean(1))) for layer in maps))
    return hit, len(patterns)


def as_units(maps, index):
    "The reduction of a batch, as the reader makes it."
    mean = torch.cat([torch.from_numpy(m.mean(2)) for m in maps], 1).float()
    ends = [torch.stack([torch.from_numpy(f(m.reshape(len(m), -1), 1)) for m in maps], 1).float()
            for f in (np.min, np.max)]
    keys = torch.randint(-2**62, 2**62, (mean.shape[1],), generator=torch.Generator().manual_seed(0))
    return Units(mean, tuple(m.shape[1] for m in maps), index, *ends, keys)


def profile_of(low, high):
    return xr.Dataset(dict(low=("unit", np.concatenate(low)), high=("unit", np.concatenate(high))))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_every_criterion_equals_its_twin(seed, n, batch):
    "Activations on a grid, so that both sides compute the same numbers; ties, constants, values on bounds are many."
    rng = np.random.default_rng(seed)
    maps = [rng.integers(-4, 5, (n, c, p)).astype(np.float64) / 4 for c, p in ((4, 4), (3, 1), (6, 2))]
    if seed % 3 == 0: maps[0][:] = 0.5  # a constant layer
    low = [rng.integers(-2, 1, m.shape[1]) / 2 for m in maps]
    high = [a + rng.integers(0, 3, len(a)) / 2 for a in low]
    hit, patterns = twin(maps, low, high)
    order = rng.permutation(n)
    for c in criteria():
        c.reset(13, profile_of(low, high))
        for rows in np.array_split(order, range(batch, n, batch)):
            if len(rows): c.update(as_units([m[rows] for m in maps], torch.from_numpy(rows)))
        if c.name == "tknp_2":
            assert len(c.compute()) == patterns
            continue
        first = c.compute()
        starts = np.cumsum([0] + [m.shape[1] for m in maps])
        expected = np.full(first.shape, -1)
        for (i, u, slot), where in hit[c.name].items(): expected[starts[i] + u, slot] = where
        np.testing.assert_array_equal(first, expected, err_msg=c.name)
        c.update(as_units(maps, torch.arange(n)))  # the same images again
        np.testing.assert_array_equal(c.compute(), expected)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_real_network_equals_the_twin(trained, digits, when):
    "Recorded maps of 24 images; units within rounding of a bound are let off, and there are few."
    few, train = digits.take(range(24)), load_data("digits", "train").take(range(60))
    names = [o.layer for o in find_outputs(trained, few.batch(0, 1))]
    read = names if when == "before" else ["bn1", "bn2", "bn3", "linear"]
    flat = lambda d: [m.numpy().reshape(len(m), m.shape[1], -1) for m in record_activations(trained, d, read).values()]
    maps, seen = flat(few), flat(train)
    if when == "after": maps, seen = ([np.maximum(m, 0) for m in ms[:-1]] + ms[-1:] for ms in (maps, seen))
    profile = activation_profile(trained, train, when=when, device="cpu", progress=False)
    np.testing.assert_allclose(profile.low, np.concatenate([m.mean(2).min(0) for m in seen]), rtol=1e-4, atol=1e-5)
    cut = np.cumsum([m.shape[1] for m in maps])[:-1]
    hit, patterns = twin(maps, np.split(profile.low.values, cut), np.split(profile.high.values, cut), k=20)
    result = neuron_coverage(trained, few, criteria(20), when=when, profile=profile, batch_size=7, device="cpu",
                             progress=False)
    starts = np.concatenate([[0], cut])
    for name in result.criterion.values:
        slots = {c.name: getattr(c, "slots", 1) for c in criteria(20)}[name]
        share = np.zeros(result.sizes["unit"])
        for i, u, _ in hit[name]: share[starts[i] + u] += 1/slots
        assert (np.abs(result.covered.sel(criterion=name) - share) > 1e-6).mean() < 0.05, name
        assert abs(float(result.coverage.sel(criterion=name)) - share.mean()) < 0.006, name
    assert int(result.patterns[0]) == patterns


def test_batch_size_order_device_state_do_not_matter(trained, digits):
    few = digits.take(range(90))
    for m in trained.modules(): m.train(m is trained.network.bn1)
    modes, before = [m.training for m in trained.modules()], model_hash(trained)
    one = neuron_coverage(trained, few, criteria()[:8] + [TKNC(3)], device="cpu", progress=False)
    other = neuron_coverage(trained, few.take(torch.arange(89, -1, -1)), criteria()[:8] + [TKNC(3)], batch_size=11,
                            device="cpu", progress=False)
    xr.testing.assert_equal(one, other)
    assert [m.training for m in trained.modules()] == modes and model_hash(trained) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.modules())
    trained.eval()


def test_merge_resume_save(trained, digits, tmp_path):
    train = load_data("digits", "train").take(range(100))
    profile = activation_profile(trained, train, device="cpu", progress=False)
    profile = load_result(save_result(profile, tmp_path / "profile.nc"), "activation_profile")
    run = lambda d, **k: neuron_coverage(trained, d, criteria(), profile=profile, device="cpu", progress=False, **k)
    whole, a, b = run(digits.take(range(80))), run(digits.take(range(30))), run(digits.take(range(30, 80)))
    a = load_result(save_result(a, tmp_path / "a.nc"), "neuron_coverage")
    for again in (merge_coverage(a, b), merge_coverage(b, a), run(digits.take(range(30, 80)), resume=a)):
        xr.testing.assert_equal(again, whole)
        assert again.attrs["n"] == 80
    np.testing.assert_array_equal(merge_coverage(a, a).coverage, a.coverage)  # the same images twice count once
    with pytest.raises(ValueError, match="criteria"):
        neuron_coverage(trained, digits, [NC(0)], resume=a, device="cpu", progress=False)
    few = digits.take(range(9))
    pair = [neuron_coverage(m, few, device="cpu", progress=False) for m in (create_model("cnn4", seed=3), trained)]
    with pytest.raises(ValueError, match="model_hash"): merge_coverage(*pair)


def test_a_constant_layer_is_not_covered_and_nothing_is_nan(digits):
    model = create_model("cnn3")
    for p in model.network.conv1.parameters(): p.data.zero_()
    for p in model.network.linear.parameters(): p.data.zero_()
    few = digits.take(range(20))
    profile = activation_profile(model, few, device="cpu", progress=False)
    result = neuron_coverage(model, few, [*criteria()[:8], KMNC(5), NBC(), SNAC()], profile=profile, device="cpu",
                             progress=False)
    assert not any(np.isnan(v).any() for v in (result.coverage, result.covered, result.layer_coverage))
    assert (result.layer_coverage.sel(layer_name="linear") == 0).all()


def test_a_dead_unit_at_the_bottom_of_its_layer_is_not_covered_by_rounding():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc = nn.Conv2d(1, 3, 1), nn.Linear(3, 2)
            self.conv.weight.data = torch.tensor([0., 1., 2.]).view(3, 1, 1, 1)
            self.conv.bias.data = torch.tensor([-0.1, 0.3, 0.])
        def forward(self, x): return self.fc(self.conv(x).mean((2, 3)))
    result = neuron_coverage(Net(), (torch.rand(40, 1, 7, 9), torch.arange(40) % 2), [NC(0)], layers="conv",
                             device="cpu", progress=False)
    assert result.covered.values.tolist() == [[0, 1, 1]]


def test_outputs_follow_the_tensor_not_the_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
            self.c, self.act = nn.Linear(4, 2), nn.ReLU(inplace=True)
        def forward(self, x):
            x = self.act(self.a(x))
            y = self.b(x)
            y += x  # in place: no longer what the layer put out
            return self.c(F.gelu(y).mean((2, 3)))
    x = torch.rand(40, 1, 8, 8)
    assert [o.words for o in find_outputs(Net(), x)] == ["a → relu", "b", "c"]
    model = Net()
    result = neuron_coverage(model, (x, torch.arange(40) % 2), [NC(0.25)], device="cpu", progress=False)
    v = torch.relu(model.a(x)).detach().numpy().reshape(40, 4, -1)
    expected = (np.stack([scale(i).mean(1) for i in v]) > 0.25).any(0)
    np.testing.assert_array_equal(result.covered.values[0, :4] > 0, expected)


def test_an_own_network_keeps_its_names():
    "`network.` is left out where `Normalized` put it there, not where the network's author did."
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                                         nn.Linear(144, 2))
        def forward(self, x): return self.network(x)
    own, x = Own().eval(), torch.rand(2, 1, 8, 8)
    assert [o.words for o in find_outputs(own, x)] == ["network.0 → network.1 → relu", "network.4"]
    wrapped = Normalized(own.network, 0.5, 0.5).eval()
    assert [o.words for o in find_outputs(wrapped, x)] == ["0 → 1 → relu", "4"]


def test_growth_is_the_coverage_of_each_prefix(trained, digits):
    few = digits.take(range(40))
    profile = activation_profile(trained, few, device="cpu", progress=False)
    chosen = [NC(0.25), TKNC(2), NBC(), KMNC(7)]
    growth = coverage_growth(trained, few, chosen, orders=3, points=6, profile=profile, device="cpu", progress=False)
    for n in growth.inputs.values:
        part = neuron_coverage(trained, few.take(range(n)), chosen, profile=profile, device="cpu", progress=False)
        np.testing.assert_allclose(growth.coverage.sel(order=0, inputs=n), part.coverage)
    assert (growth.coverage.isel(inputs=-1).std("order") < 1e-12).all() and (growth.coverage.diff("inputs") >= 0).all()


def test_a_criterion_of_ones_own_takes_a_few_lines(trained, digits):
    class Silent(Criterion):
        def hits(self, units): return units.mean == 0
    result = neuron_coverage(trained, digits.take(range(30)), [Silent()], device="cpu", progress=False)
    assert 0 < float(result.coverage[0]) < 1


def test_what_is_kept_does_not_grow(trained, digits):
    run = Coverage(trained, [*criteria()[:8], TKNC(2)])
    sizes = []
    for i in range(0, 128, 32):
        run.update(digits.batch(i, i + 32))
        sizes.append(sum(c.first.numel() for c in run.criteria))
    assert len(set(sizes)) == 1 and run.n == 128


class Odd(nn.Module):
    "A tuple, a vector and a sequence on the way."
    def __init__(self):
        super().__init__()
        self.two, self.flat, self.seq, self.fc = Two(), nn.Flatten(0), nn.Unflatten(1, (4, 16)), nn.Linear(64, 10)
    def forward(self, x):
        y = self.two(x)[0].flatten(1)
        self.flat(y)
        self.seq(y)
        return self.fc(y)


class Two(nn.Module):
    def forward(self, x): return x, x


@pytest.mark.parametrize("call, message", [
    (lambda m, d, p: NC(-0.1), "`threshold` to be a number between 0 and 1"),
    (lambda m, d, p: NC(1.01), "`threshold` to be a number between 0 and 1"),
    (lambda m, d, p: NC(0, "mean first"), "Did you mean 'mean-first'"),
    (lambda m, d, p: KMNC(0), "`k` to be an integer"),
    (lambda m, d, p: neuron_coverage(m, d, layers=["conv11"]), "Unknown `layers`"),
    (lambda m, d, p: neuron_coverage(m, d, when="later"), "Unknown `when`"),
    (lambda m, d, p: neuron_coverage(Odd(), d, layers="two"), "a tuple"),
    (lambda m, d, p: neuron_coverage(Odd(), d, layers="flat"), "no channel axis"),
    (lambda m, d, p: neuron_coverage(Odd(), d, layers="seq"), "no channel axis"),
    (lambda m, d, p: neuron_coverage(m, d, [KMNC(5)]), "Expected `profile`"),
    (lambda m, d, p: neuron_coverage(create_model("cnn4", seed=5), d, [KMNC(5)], profile=p), "of this model"),
    (lambda m, d, p: neuron_coverage(m, d, [SNAC()], profile=p, when="before"),
     "read before the activation, but got one read after"),
    (lambda m, d, p: neuron_coverage(m, d, [SNAC()], profile=p, layers="conv1"), "of the outputs"),
    (lambda m, d, p: neuron_coverage(m, d, [NC(0), NC(0.)]), "different ones"),
    (lambda m, d, p: coverage_growth(m, d, [TKNP(2)]), "TKNP"),
])
def test_bad_input(trained, digits, call, message):
    few = digits.take(range(8))
    profile = activation_profile(trained, few, device="cpu", progress=False)
    with pytest.raises(ValueError, match=message): call(trained, few, profile)


def test_a_criterion_must_be_one(trained, digits):
    with pytest.raises(TypeError, match="criteria such as"): neuron_coverage(trained, digits, ["nc"])


def test_statistic_gap_is_pytorchs_batch_statistics(trained, digits):
    "Deeper layers, too: each BatchNorm in turn in training mode on what reaches it in eval mode."
    gap = statistic_gap(trained, digits, GaussianNoise(), (0, 2), batch_size=100, device="cpu", progress=False)
    inputs = record_activations(trained, digits, ["conv1", "conv2", "conv3"])
    for name, x in zip(("bn1", "bn2", "bn3"), inputs.values()):
        run, norm = trained.network.get_submodule(name), nn.BatchNorm2d(x.shape[1], momentum=None)
        norm(x)
        mine = gap.isel(severity=0, stress=0, unit=gap.layer.values == name)
        std = (run.running_var + run.eps).sqrt()
        np.testing.assert_allclose(mine.mean_gap, (norm.running_mean - run.running_mean) / std, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(mine.log_variance_ratio, ((norm.running_var + norm.eps) / std**2).log(), rtol=1e-3,
                                   atol=1e-4)
    assert float(gap.mean_gap_size.sel(severity=2).mean()) > float(gap.mean_gap_size.sel(severity=0).mean())


def test_table_without_batchnorm_and_scores(digits):
    model = create_model("lenet1", image_size=8)
    table = coverage_table(neuron_coverage(model, digits.take(range(8)), [NC(0.5)], device="cpu", progress=False))
    assert "mean_gap_size" not in table and "score" not in table
    assert list(table.layer.values) == ["conv1", "conv2", "linear"]
    with pytest.raises(ValueError, match="BatchNorm with running statistics"):
        statistic_gap(model, digits, progress=False)


def test_patterns_alone_are_a_whole_result(tmp_path):
    "TKNP without a criterion that counts units: measured, saved, merged, resumed; figures say what is missing."
    model, data = create_model("cnn3", seed=1), load_data("digits").take(range(30))
    cover = lambda part, **more: neuron_coverage(model, part, [TKNP(3)], progress=False, device="cpu", **more)
    whole = cover(data)
    parts = [cover(data.take(range(i, i + 15))) for i in (0, 15)]
    beside = neuron_coverage(model, data, [NC(0.25), TKNP(3)], progress=False, device="cpu")
    saved = load_result(save_result(whole, tmp_path / "patterns.nc"))
    for other in (beside, merge_coverage(*parts), cover(data.take(range(15, 30)), resume=parts[0]), saved):
        np.testing.assert_array_equal(other.pattern_tknp_3, whole.pattern_tknp_3)
        assert other.patterns.values.tolist() == whole.patterns.values.tolist()
    assert whole.sizes["criterion"] == 0 and whole.covered.shape == (0, beside.sizes["unit"])
    assert coverage_table(whole).coverage.shape == (0, beside.sizes["layer_name"])
    with pytest.raises(ValueError, match="TKNP counts patterns"): plot_coverage_map(whole)


def test_an_undefined_correlation_is_called_undefined():
    table = xr.Dataset(dict(coverage=(("criterion", "layer"), [[1., 1.]]), score=("layer", [-0.2, 0.1]),
                            low=("layer", [-0.3, 0.]), high=("layer", [-0.1, 0.2]),
                            label=("layer", ["fragile", "robust"]),
                            **{k: (("criterion", "with"), [[v]]) for k, v in
                               dict(correlation=np.nan, correlation_low=-1., correlation_high=1.).items()}),
                       {"criterion": ["nc_deepxplore_0.25"], "layer": ["a", "b"], "with": ["score"]},
                       dict(kind="coverage_table", score_kind="clean"))
    assert plot_coverage_scores(table).get_title(loc="left").startswith("rank correlation undefined, 2 layers")
    known = table.assign({k: (("criterion", "with"), [[v]]) for k, v in
                          dict(correlation=0., correlation_low=-0.5, correlation_high=0.25).items()})
    assert "rank correlation +0.00 [−0.50, +0.25], 2 layers" in plot_coverage_scores(known).get_title(loc="left")
