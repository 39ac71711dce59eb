"Kernels: the plain loop, planted truths, independent references, the networks that are built otherwise, bad input."
import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from scipy import stats
from torch import nn

from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.core.results import load_result, save_result
from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.probes.kernels.scores import fragile_kernels, kernel_set, kernel_shares, permutation_test
from fragility_nb.probes.kernels.scores import superiority, targeting_scores
from fragility_nb.probes.kernels.probe import _removals, find_kernel_place, kernel_dropout, kernel_history
from fragility_nb.probes.kernels.targeting import adversarial_targeting, rebalance
from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
from fragility_nb.models.training import fit
from fragility_nb.models.resume import list_snapshots

QUIET = dict(progress=False, device="cpu")


def images(n=96, channels=1, size=8, seed=0):
    "Random images with random labels of four classes."
    g = torch.Generator().manual_seed(seed)
    return ImageData(torch.rand(n, channels, size, size, generator=g), torch.randint(4, (n,), generator=g),
                     tuple("abcd"))


def answered(model, data):
    "The same images, labelled as the model answers, no class ahead of the others: each change of an answer shows."
    last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    for m in last: m.bias.data -= predict(model, data).mean(0)
    return ImageData(data.images, predict(model, data).argmax(1), data.classes)


def randomised(model, seed=0):
    "Weights, biases and running statistics drawn at random, so that nothing is at its default."
    g = torch.Generator().manual_seed(seed)
    for m in model.modules():
        if getattr(m, "running_mean", None) is not None:
            m.running_mean.copy_(0.3*torch.randn(m.running_mean.shape, generator=g))
            m.running_var.copy_(0.5 + torch.rand(m.running_var.shape, generator=g))
        if isinstance(m, (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)) and m.weight is not None:
            m.weight.data.copy_(0.5 + torch.rand(m.weight.shape, generator=g))
            m.bias.data.copy_(0.3*torch.randn(m.bias.shape, generator=g))
        elif isinstance(m, nn.modules.conv._ConvNd) and m.bias is not None:
            m.bias.data.copy_(0.3*torch.randn(m.bias.shape, generator=g))
    return model.eval()


# ---- the plain loop ----

def plain(model, data, path, factor=0., norm=None, kernels=None):
    "Copy, multiply one kernel's weights and bias (or the norm's), evaluate: bool (K, N)."
    rows = []
    for k in range(model.get_submodule(path).out_channels) if kernels is None else kernels:
        net = copy.deepcopy(model)
        target = net.get_submodule(norm or path)
        with torch.no_grad():
            weight = target.weight.transpose(0, 1) if getattr(target, "transposed", False) else target.weight
            weight[k] *= factor
            if target.bias is not None: target.bias[k] *= factor
        rows.append((predict(net, data).argmax(1) == data.labels).numpy())
    return np.stack(rows)


class Functional(nn.Module):
    "The convolution that runs first is registered last; functions instead of modules; a bias."
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.second = nn.Conv2d(6, 8, 3)
        self.first = nn.Conv2d(1, 6, 3, padding=1)
    def forward(self, x): return self.head(F.relu(self.second(F.max_pool2d(F.relu(self.first(x)), 2))).mean((2, 3)))


class Untraceable(Functional):
    "Asks its data, so it cannot be cut."
    def forward(self, x): return super().forward(x if float(x.sum()) > -1e9 else -x)


class Reader(Functional):
    "Reads attributes of its convolution, as some networks do."
    def forward(self, x): return super().forward(x * (self.first.out_channels + self.first.weight.shape[1]) / 7)


class Dense(nn.Module):
    "Several read the map of the first convolution: two convolutions, a concatenation, an addition."
    def __init__(self):
        super().__init__()
        self.conv0, self.norm0, self.pool0 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.MaxPool2d(3, 2, 1)
        self.conv1, self.norm1, self.conv2, self.head = nn.Conv2d(6, 6, 3, padding=1,
            bias=False), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 1), nn.Linear(18, 4)
    def forward(self, x):
        a = self.pool0(torch.relu(self.norm0(self.conv0(x))))
        b, c = torch.relu(self.norm1(self.conv1(a))), self.conv2(a) + a
        return self.head(torch.cat([a, b, c], 1).amax((2, 3)))


def group_norm():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.GroupNorm(3, 6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(24, 4))
def grouped():
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
                         nn.Linear(96, 4))
def transposed():
    return nn.Sequential(nn.ConvTranspose2d(1, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(486, 4))


def shared():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    return nn.Sequential(nn.Conv2d(1, 4, 1), conv, nn.ReLU(), conv, nn.Flatten(), nn.Linear(256, 4))


NETWORKS = {
    "functional": (Functional, "first", None, None), "untraceable": (Untraceable, "first", None, None),
    "reader": (Reader, "first", None, None),
    "GroupNorm": (group_norm, "0", "1", None), "depthwise": (grouped, "1", "2", "1"),
    "transposed": (transposed, "0", "1", None),
    "called twice": (shared, "1", None, "1"), "concatenation": (Dense, "conv0", "norm0", None),
}


@pytest.mark.filterwarnings("ignore:This network cannot be cut")
@pytest.mark.parametrize("name", NETWORKS)
def test_dropout_is_the_plain_loop(name):
    make, path, norm, layer = NETWORKS[name]
    torch.manual_seed(1)
    model = randomised(make())
    data = answered(model, images())
    result = kernel_dropout(model, data, layer, **QUIET)
    assert result.attrs["layer"] == path and result.reference_correct.all()
    want = plain(model, data, path)
    assert not want.all(), "nothing changed: the test would see nothing"
    assert (result.correct.values[0] == want).all()
    assert result.accuracy.values[0] == pytest.approx(want.mean(1))
    assert float(result["mean"][0]) == pytest.approx(want.mean())
    if norm:
        maps = kernel_dropout(model, data, layer, "feature_map", **QUIET)
        assert maps.attrs["place"] == norm and (maps.correct.values[0] == plain(model, data, path, norm=norm)).all()


def test_own_network_with_an_attribute_network_keeps_its_names():
    class Own(nn.Module):
        "Not wrapped: `network` is a part like any other."
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
            self.head = nn.Linear(216, 4)

        def forward(self, x): return self.head(self.network(x))

    model, data = randomised(Own()), images()
    weights, maps = (kernel_dropout(model, data, remove=r, **QUIET) for r in ("weights", "feature_map"))
    assert weights.attrs["layer"] == weights.attrs["place"] == maps.attrs["layer"] == "network.0"
    assert maps.attrs["place"] == "network.1"


@pytest.mark.parametrize("name, layer, norm", [("resnet18", "conv1", "bn1"), ("squeezenet1_1", "features.0", None),
                                               ("resnet18", "layer2.0.conv1", "layer2.0.bn1")])
def test_dropout_of_known_architectures_is_the_plain_loop(name, layer, norm):
    model = randomised(create_model(name, 4, 3, 32))
    data, which = answered(model, images(24, 3, 32)), [0, 30, 63]
    for remove, at in (("weights", None), ("feature_map", norm)):
        result = kernel_dropout(model, data, layer, remove, kernels=which, **QUIET)
        assert (result.correct.values[0] == plain(model, data, f"network.{layer}", norm=at and f"network.{at}",
                                                  kernels=which)).all()
        assert result.kernel.values.tolist() == which


@pytest.mark.parametrize("make, layer, cheap",
                         [(Dense, None, True), (Functional, None, True), (grouped, None, True), (shared, "1", False),
                          (Untraceable, None, False)])
def test_the_cheap_way_is_taken_where_it_can_be(make, layer, cheap):
    torch.manual_seed(1)
    model, data = randomised(make()), images(8)
    net, edits = _removals(model, find_kernel_place(model, data, layer, "weights"), [0, 3], data.batch(0, 3),
                           running=True)
    assert isinstance(net, torch.fx.GraphModule) == cheap and len(edits) == 3
    with torch.no_grad(): assert torch.allclose(net.eval()(data.batch(0, 8)), model(data.batch(0, 8)), atol=1e-5)


def test_batch_statistics_and_attacks_are_those_of_the_loop(trained, digits):
    few, attack = digits.take(range(100)), FGSM(0.05)
    net = copy.deepcopy(trained)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.track_running_stats, m.running_mean, m.running_var = False, None, None
    by_batch = kernel_dropout(trained, few, bn_mode="batch", batch_size=100, **QUIET)
    want = []
    for k in range(16):
        copied = copy.deepcopy(net).eval()
        with torch.no_grad():
            copied.network.conv1.weight[k] = 0
            want.append((copied(few.batch(0, 100)).argmax(1) == few.labels).numpy())
    assert (by_batch.correct.values[0] == np.stack(want)).mean() > 0.998 # sums in another order may turn a tie
    fixed = kernel_dropout(trained, few, attack=attack, attack_mode="fixed",
                           **QUIET).correct.sel(stress="adversarial").values
    x = ImageData(attack_images(trained, few, attack), few.labels, few.classes)
    assert (fixed == plain(trained, x, "network.conv1")).all()
    anew = kernel_dropout(trained, few, attack=attack, attack_mode="adaptive", kernels=[0, 3],
                          **QUIET).correct.sel(stress="adversarial").values
    for k, got in zip((0, 3), anew):
        copied = copy.deepcopy(trained).eval()
        with torch.no_grad(): copied.network.conv1.weight[k] = 0
        right = predict(copied, attack_images(copied, few, attack)).argmax(1) == few.labels
        assert (got == right.numpy()).mean() >= 0.99 # a gradient at 0 may change its sign by rounding


@pytest.mark.parametrize("scale, at", [("weights", "conv1"), ("feature_map", "bn1")])
def test_rebalance_is_the_plain_loop(trained, digits, scale, at):
    few, fragile = digits.take(range(120)), [0, 3, 5]
    result = rebalance(trained, few, fragile, (0.5, 1), (1, 2), FGSM(0.05), attack_mode="both", scale=scale, **QUIET)
    for c in (0.5, 1):
        for a in (1, 2):
            net = copy.deepcopy(trained).eval()
            target, factor = net.network.get_submodule(at), torch.tensor([a if k in fragile else c for k in range(16)],
                dtype=torch.float)
            with torch.no_grad():
                for p in target.parameters(): p *= factor.view(-1, *[1]*(p.ndim - 1))
            one = result.sel(compress=c, amplify=a).correct
            right = lambda x, net=net: (predict(net, x).argmax(1) == few.labels).numpy()
            assert (one.sel(stress="clean").values == right(few)).all()
            assert (one.sel(stress="fixed").values == right(attack_images(trained, few, FGSM(0.05)))).all()
            assert (one.sel(stress="adaptive").values == right(attack_images(net, few, FGSM(0.05)))).mean() >= 0.99
    assert (result.gain.sel(compress=1, amplify=1) == 0).all()
    each = result.correct.sel(stress="clean", compress=0.5,
                              amplify=1).values.astype(float) - result.reference_correct.sel(stress="clean").values
    normal = 1.96*each.std()/np.sqrt(len(each))
    one = result.sel(stress="clean", compress=0.5, amplify=1)
    assert float(one.high - one.low)/2 == pytest.approx(normal, rel=0.2)


# ---- planted truths ----

def decisive(seed, chosen, k=12):
    "A network whose classes are read from the chosen kernels, one each; the others are computed and never read."
    g = torch.Generator().manual_seed(seed)
    conv, head = nn.Conv2d(1, k, 4, stride=4, bias=False), nn.Linear(k, len(chosen), bias=False)
    w = torch.linalg.qr(torch.randn(16, 16, generator=g))[0][:k]
    conv.weight.data.copy_(w.view(k, 1, 4, 4))
    head.weight.data.zero_()
    for c, kernel in enumerate(chosen): head.weight.data[c, kernel] = 1
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


@pytest.mark.parametrize("seed, chosen", [(0, (1, 4, 7)), (1, (0, 11)), (2, (2, 3, 5, 8)), (3, (6, 9, 10))])
def test_decisive_kernels_are_found_and_no_others(seed, chosen):
    model = decisive(seed, chosen)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2000, 1, 8, 8, generator=g)
    y = model(x).argmax(1)
    rows = torch.cat([(y == c).nonzero()[:60, 0] for c in range(len(chosen))]) # as many of each class
    lifted = nn.Sequential(Shifted(), *model) # images are in [0, 1]
    data = ImageData((x[rows]/8 + 0.5).clamp(0, 1), y[rows], tuple("abcd"[:len(chosen)]))
    data = ImageData(data.images, predict(lifted, data).argmax(1), data.classes)
    scores = fragile_kernels(kernel_dropout(lifted, data, **QUIET))
    assert tuple(kernel_set(scores)) == chosen
    assert kernel_set(scores, "null") == [k for k in range(12) if k not in chosen]
    assert kernel_set(scores,
                      rule="mean") == list(chosen) and float(scores.fragile_share[0]) == pytest.approx(len(chosen)/12)


class Shifted(nn.Module):
    "[0, 1] to [−4, 4]."
    def forward(self, x): return 8*x - 4


@pytest.fixture(scope="module")
def aimed():
    "A network that an attack can only move through three of sixteen kernels, all of one norm, and images for it."
    chosen = (3, 8, 13)
    model = nn.Sequential(Shifted(), *decisive(5, chosen, 16)).eval()
    data = ImageData(torch.rand(80, 1, 16, 16, generator=torch.Generator().manual_seed(2))*0.6 + 0.2,
                     torch.zeros(80, dtype=torch.long), tuple("abc"))
    data = ImageData(data.images, predict(model, data).argmax(1), data.classes)
    return adversarial_targeting(model, data, [FGSM(0.01), PGD(0.01)], chosen, severities=(1, 4),
                                 **QUIET), chosen, model, data


def test_a_forced_attack_is_found_and_noise_is_not(aimed):
    result, *_ = aimed
    attack, noise = (result.sel(source=s) for s in ("attack", "noise"))
    assert (attack.p_value < 0.01).all() and (result.beyond_p < 0.01).all() and (result.beyond_noise > 1.3).all()
    assert (attack.share > 0.95).all() and (attack.ratio > 1.3).all() and (attack.superiority == 1).all()
    assert (noise.p_value > 0.05).all() and (abs(noise.ratio - 1) < 0.05).all()


def test_shuffled_labels_give_even_p_values(aimed):
    result, chosen, *_ = aimed
    rng = np.random.default_rng(11)
    few = result.isel(sample=slice(0, 10), severity=[0], attack=[0])
    p = np.array([[s.p_value.sel(attack="fgsm", source="attack").item(), s.beyond_p.sel(attack="fgsm").item()] for s in
                  (targeting_scores(few, rng.choice(16, 3, replace=False).tolist(), n_perm=199, seed=i)
                   for i in range(200))])
    for column in p.T: assert stats.kstest(column, "uniform").pvalue > 0.01 and (column < 0.05).mean() < 0.1
    assert targeting_scores(few, chosen).p_value.sel(attack="fgsm", source="attack").item() < 0.01


# ---- independent references ----

def test_distances_are_those_of_numpy(aimed):
    result, chosen, model, data = aimed
    w = model[1].weight.detach().double().numpy()[:, 0].reshape(16, 16)
    patches = lambda x: (8*x.double().numpy() - 4).reshape(-1, 4, 4, 4, 4).transpose(0, 1, 3, 2, 4).reshape(len(x), 16,
        16) # 16 patches of 4×4
    z = lambda x: patches(x) @ w.T # (N, 16 places, 16 kernels)
    clean = data.batch(0, 80)
    for severity in (1, 4):
        moved = attack_images(model, data, FGSM(0.01), severity)
        want = np.abs(z(moved) - z(clean)).mean(1).T # (kernel, image)
        got = result.distance.sel(attack="fgsm", severity=severity, source="attack").transpose("kernel",
            "sample").values
        assert got == pytest.approx(want, rel=1e-4, abs=1e-6)
        size = np.linalg.norm((moved - clean).double().numpy().reshape(80, -1), axis=1).mean()
        # attack and noise
        assert result["size"].sel(attack="fgsm", severity=severity).values == pytest.approx(size, rel=1e-4)
        inside = np.isin(np.arange(16), chosen)
        one = result.sel(attack="fgsm", severity=severity, source="attack")
        assert float(one.share) == pytest.approx((want[inside].mean(0) > want[~inside].mean(0)).mean())
        assert float(one.ratio) == pytest.approx(want[inside].mean() / want[~inside].mean(), rel=1e-4)


def test_permutation_test_and_effect_size_are_scipys():
    rng = np.random.default_rng(3)
    for k, s in ((8, 3), (12, 5)):
        values = rng.normal(size=(4, k)) + np.where(np.arange(k) < s, 0.7, 0)
        chosen = np.arange(k) < s
        difference, p = permutation_test(values, chosen, n_perm=19999)
        for v, d, q in zip(values, difference, p):
            a, b = v[chosen], v[~chosen]
            exact = stats.permutation_test((a, b), lambda x, y: x.mean() - y.mean(), alternative="greater",
                                           n_resamples=np.inf)
            assert d == pytest.approx(exact.statistic) and q == pytest.approx(exact.pvalue, abs=4*np.sqrt(0.25/19999))
            assert superiority(v, chosen) == pytest.approx(stats.mannwhitneyu(a, b).statistic / (len(a)*len(b)))
    assert permutation_test(np.ones(6), np.arange(6) < 2)[1] == 1 and superiority(np.ones(6), np.arange(6) < 2) == 0.5


def test_intervals_are_scipys(trained, digits):
    result = kernel_dropout(trained, digits.take(range(200)), kernels=[0, 1, 2, 3, 4], **QUIET)
    scores = fragile_kernels(result, 0.9, n_boot=4000)
    hits = result.correct.values[0].astype(float)
    for k, got in enumerate(zip(scores.low.values[0], scores.high.values[0])):
        each = hits[k] - hits.mean(0)
        want = stats.bootstrap((each,), np.mean, confidence_level=0.9, method="percentile", n_resamples=4000,
                               rng=np.random.default_rng(0)).confidence_interval
        assert got == pytest.approx((want.low, want.high), abs=2.5/200)
    assert scores.difference.values[0] == pytest.approx(hits.mean(1) - hits.mean())


def test_intervals_hold_what_they_say():
    "Kernels of one true accuracy: each interval of p_k − m misses 0 about one time in twenty."
    rng, misses = np.random.default_rng(5), []
    for _ in range(60):
        common = rng.random(300) < 0.8 # images that are easy for every copy
        hits = common[None] ^ (rng.random((8, 300)) < 0.1)
        right = hits.mean(1)[None]
        result = xr.Dataset(dict(correct=(("stress", "kernel", "sample"), hits[None]),
                                 accuracy=(("stress", "kernel"), right), mean=("stress", right.mean(1)),
                                 reference_accuracy=("stress", [common.mean()])),
                            dict(stress=["clean"], kernel=range(8)), dict(kind="kernel_dropout", parameters=1))
        misses.append((fragile_kernels(result, n_boot=300).label != "undecided").mean().item())
    assert 0.02 < np.mean(misses) < 0.09


# ---- snapshots, resuming, saving ----

@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    model = create_model("cnn3")
    fit(model, load_data("digits", "train", n=400), epochs=3, lr=5e-3, batch_size=32, snapshots=1, folder=folder,
        progress=False, device="cpu")
    return model, list_snapshots(folder)


def test_history_is_the_snapshots_one_by_one(snapshots, digits, tmp_path):
    from fragility_nb.models.create import load_checkpoint
    model, paths = snapshots
    few = digits.take(range(150))
    history = kernel_history(model, paths, few, attack=FGSM(0.03), resume=tmp_path, **QUIET)
    for epoch, path in paths.items():
        one = kernel_dropout(load_checkpoint(path), few, attack=FGSM(0.03), **QUIET)
        assert (history.correct.sel(epoch=epoch).values
                == one.correct.values).all() and np.allclose(history.weight.sel(epoch=epoch), one.weight)
    scores = fragile_kernels(history)
    label = scores.label.sel(stress="clean")
    assert kernel_set(scores) == label.kernel.values[(label == "fragile").all("epoch").values].tolist()
    both = kernel_history(model, [paths, paths], few, **QUIET)
    assert dict(both.accuracy.sizes) == dict(init=2, epoch=3, stress=1,
                                             kernel=16) and fragile_kernels(both).always_fragile.dims == ("stress",
                                                 "kernel", "init")


def test_an_interrupted_history_goes_on(snapshots, digits, tmp_path, monkeypatch):
    import fragility_nb.probes.kernels.probe as k
    model, paths = snapshots
    few, measure, calls = digits.take(range(60)), k._removed_right, []
    def stops(*args):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return measure(*args)
    monkeypatch.setattr(k, "_removed_right", stops)
    with pytest.warns(UserWarning, match="2 of 3 snapshots"): part = kernel_history(model, paths, few, **QUIET)
    assert part.epoch.values.tolist() == [1, 2] and part.attrs["incomplete"] == 1
    calls.clear()
    with pytest.raises(KeyboardInterrupt): kernel_history(model, paths, few, resume=tmp_path, **QUIET)
    calls.clear()
    whole = kernel_history(model, paths, few, resume=tmp_path, **QUIET)
    assert len(calls) == 1 and whole.epoch.values.tolist() == [1, 2, 3]


def test_results_survive_the_disk(aimed, trained, digits, tmp_path):
    few = digits.take(range(60))
    dropout = kernel_dropout(trained, few, attack=FGSM(0.03), **QUIET)
    parts = dict(dropout=dropout, scores=fragile_kernels(dropout), targeting=aimed[0],
                 balance=rebalance(trained, few, [0, 1], (0.5, 1), (1, 2), **QUIET),
                 shares=kernel_shares({"a": dropout}))
    again = load_result(save_result(parts, tmp_path/"x.nc"))
    for name, part in parts.items(): xr.testing.assert_equal(again[name].to_dataset(inherit=False), part)
    xr.testing.assert_equal(fragile_kernels(again["dropout"].to_dataset()), parts["scores"])


def test_the_batch_changes_nothing(trained, digits):
    few = digits.take(range(90))
    a, b = (kernel_dropout(trained, few, attack=FGSM(0.03), batch_size=size, **QUIET) for size in (None, 32))
    xr.testing.assert_equal(a.correct, b.correct)
    a, b = (adversarial_targeting(trained, few, PGD(0.02), [0, 3], batch_size=size, **QUIET) for size in (256, 32))
    xr.testing.assert_equal(a.drop_vars("size"), b.drop_vars("size"))
    assert np.allclose(a["size"], b["size"])


@pytest.mark.parametrize("call", [
    lambda m, d: kernel_dropout(m, d, attack=FGSM(0.03), attack_mode="adaptive", **QUIET),
    lambda m, d: adversarial_targeting(m, d, FGSM(0.03), [0, 3], **QUIET),
    lambda m, d: rebalance(m, d, [0, 3], (0.5,), (2,), FGSM(0.03), **QUIET),
], ids=["dropout", "targeting", "rebalance"])
def test_model_comes_back_unchanged(trained, digits, call):
    model = copy.deepcopy(trained).train()
    model.network.bn1.eval()
    model.network.conv2.weight.requires_grad_(False)
    facts = lambda: ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()],
                     [type(m) for m in model.modules()],
                     [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
                     [p.grad for p in model.parameters()])
    before, tensors, random = facts(), {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    call(model, digits.take(range(40)))
    assert facts() == before and torch.equal(random, torch.get_rng_state())
    for k, v in model.state_dict().items(): assert torch.equal(v, tensors[k]), k


# ---- bad input ----

LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
ONE = nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(36, 10))


class Idle(nn.Module):
    "Has a convolution that it never calls."
    def __init__(self):
        super().__init__()
        self.used, self.idle, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(1, 4, 3), nn.Linear(4, 10)
    def forward(self, x): return self.head(self.used(x).mean((2, 3)))


@pytest.mark.parametrize("call, error, message", [
    (lambda m, d: kernel_dropout(LINEAR, d, **QUIET), ValueError,
     "Expected `model` to have a convolution, but `Sequential` has none"),
    (lambda m, d: kernel_dropout(ONE, d, **QUIET), ValueError, "at least 2 kernels, but `0` has 1"),
    (lambda m, d: kernel_dropout(Idle(), d, "idle", **QUIET), ValueError,
     "that the model calls, but it never calls `idle`"),
    (lambda m, d: kernel_dropout(m, d, "linear", **QUIET), ValueError,
     "Expected `layer` to be a convolution, but `linear` is a linear layer"),
    (lambda m, d: kernel_dropout(m, d, "conv7", **QUIET), ValueError, "Unknown `layers`: 'conv7'.*Known: conv1"),
    (lambda m, d: kernel_dropout(m, d, ["conv1", "conv2"], **QUIET), TypeError,
     r"Expected `layer` to be a text or None, but got \['conv1', 'conv2'\]"),
    (lambda m, d: kernel_dropout(m, d, remove="channel", **QUIET), ValueError,
     "Unknown `remove`.*weights, feature_map"),
    (lambda m, d: kernel_dropout(m, d, kernels=[2], **QUIET), ValueError,
     "at least 2 different kernels, but got \\[2\\]"),
    (lambda m, d: kernel_dropout(m, d, kernels=[2, 16], **QUIET), ValueError,
     "`kernels` to be an integer between 0 and 15, but got 16"),
    (lambda m, d: kernel_dropout(m, d, kernels=[0.5, 1], **QUIET), ValueError, "`kernels` to be a list of integers"),
    (lambda m, d: kernel_dropout(m, d, attack_mode="always", **QUIET), ValueError, "Unknown `attack_mode`"),
    (lambda m, d: kernel_history(m, {}, d, **QUIET), ValueError, "Expected `snapshots` to name at least one"),
    (lambda m, d: kernel_history(m, {1: "x"}, d, thresholds=3, **QUIET), ValueError, "Unknown `options`: 'thresholds'"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.), [0], **QUIET), ValueError,
     "Expected every attack to have ε > 0"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), [0], severities=(0, 1), **QUIET), ValueError,
     "Expected every attack to have ε > 0"),
    (lambda m, d: adversarial_targeting(m, d, [], [0], **QUIET), ValueError, "`attacks` not to be empty"),
    (lambda m, d: adversarial_targeting(m, d, "fgms", [0], **QUIET), ValueError,
     "Unknown `attacks`: 'fgms'. Did you mean 'fgsm'"),
    (lambda m, d: adversarial_targeting(m, d, [FGSM(0.1), FGSM(0.1)], [0], **QUIET), ValueError,
     "Expected `attacks` to differ"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), [], **QUIET), ValueError,
     "`kernels` not to be empty"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), range(16), **QUIET), ValueError,
     "leave at least one kernel to compare with"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), [16], **QUIET), ValueError, "between 0 and 15, but got 16"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), [1], against=[1, 2], **QUIET), ValueError,
     "share no kernel with `kernels`, but both hold \\[1\\]"),
    (lambda m, d: adversarial_targeting(m, d, FGSM(0.1), [1], n_perm=5, **QUIET), ValueError, "`n_perm`"),
    (lambda m, d: rebalance(m, d, [1], (-1, 1), **QUIET), ValueError, "`compress` to be a number at least 0"),
    (lambda m, d: rebalance(m, d, [1], (1, 0.5), **QUIET), ValueError, "Expected `compress` to increase"),
    (lambda m, d: rebalance(m, d, [], **QUIET), ValueError, "`kernels` not to be empty"),
    (lambda m, d: fragile_kernels(d), TypeError, "Expected `result` to be a result .*but got ImageData"),
    (lambda m, d: kernel_shares({}), TypeError, "`results` to be a non-empty dict"),
    (lambda m, d: kernel_dropout(m, d, kernels=3, **QUIET), ValueError,
     "Expected `kernels` to be a list of integers or None, but got 3"),
    (lambda m, d: kernel_dropout(m, d, 3, **QUIET), ValueError,
     "Expected `layer` to be a text or None, but got 3"),
    (lambda m, d: kernel_dropout(m, d, attack="fgms", **QUIET), ValueError,
     "Unknown `attack`: 'fgms'. Did you mean 'fgsm'"),
    (lambda m, d: permutation_test(np.ones(4), np.ones(4, bool)), ValueError,
     "`chosen` to be a part of the 4 kernels, but got 4"),
], ids=range(32))
def test_bad_input_is_one_clear_error(trained, digits, call, error, message):
    with pytest.raises(error, match=message): call(trained, digits.take(range(20)))


# ---- figures ----

@pytest.fixture(scope="module")
def drawn(aimed):
    "A result of each kind, with colour kernels."
    model = randomised(create_model("cnn3", 4, 3, 8))
    data = answered(model, images(60, 3))
    dropout = kernel_dropout(model, data, attack=FGSM(0.1), **QUIET)
    later = dropout.assign(correct=dropout.correct ^ (xr.DataArray(np.random.default_rng(0).random(60) < 0.1,
        dims="sample")))
    history = xr.concat([dropout, later], xr.Variable("epoch", [1, 2]), data_vars="all", combine_attrs="override")
    return dict(dropout=dropout, scores=fragile_kernels(dropout), history=fragile_kernels(history), targeting=aimed[0],
                balance=rebalance(model, data, [0, 1, 2], (0.5, 1), (1, 2, 3), FGSM(0.1), attack_mode="both", **QUIET),
                shares=kernel_shares({"a": dropout, "b": dropout}))


def test_figures_show_what_the_result_says(drawn):
    import matplotlib.pyplot as plt

    from fragility_nb.probes.kernels import plots as kp
    scores = drawn["scores"].sel(stress="clean")
    ax = kp.plot_kernel_dropout(drawn["dropout"], drawn["scores"])
    points = [line for line in ax.lines if line.get_marker() in ("o", "*") and len(line.get_xdata()) == 1]
    assert [float(line.get_ydata()[0])
            for line in points] == pytest.approx(drawn["dropout"].accuracy.sel(stress="clean").values)
    assert [line.get_color() for line in points] == [kp.LABEL_COLOURS[str(k)] for k in scores.label.values]
    assert any(line.get_ydata()[0] == pytest.approx(float(drawn["dropout"]["mean"][0])) for line in ax.lines
               if len(line.get_xdata()) == 2)
    ax = kp.plot_kernels(drawn["dropout"], drawn["scores"], order="accuracy")
    assert len(ax.images) == 16 and ax.images[0].get_array().shape == (3, 3, 3)
    worst = int(scores.difference.values.argmin())
    w = drawn["dropout"].weight.values
    assert np.allclose(ax.images[0].get_array(), 0.5 + w[worst].transpose(1, 2, 0) / np.abs(w).max() / 2)
    left, right = kp.plot_targeting(drawn["targeting"], "pgd")
    assert left.lines[0].get_ydata() == pytest.approx(drawn["targeting"].set_distance.sel(attack="pgd",
        source="attack", set="fragile").values)
    assert right.lines[1].get_ydata() == pytest.approx(drawn["targeting"].ratio.sel(attack="pgd",
        source="noise").values)
    ax = kp.plot_targeting_kernels(drawn["targeting"])
    assert sum(len(line.get_xdata()) for line in ax.lines if line.get_marker() == "o") == 16
    axs = kp.plot_rebalance(drawn["balance"])
    assert len(axs) == 3 and np.allclose(axs[0].images[0].get_array(), drawn["balance"].gain.sel(stress="clean"))
    ax = kp.plot_kernel_history(drawn["history"], "adversarial")
    assert np.allclose(ax.images[0].get_array(), drawn["history"].difference.sel(stress="adversarial"))
    assert kp.plot_kernel_shares(drawn["shares"]).get_xlabel()
    for number in plt.get_fignums():
        for a in plt.figure(number).axes: assert a.get_xlabel() or a.get_ylabel()
    plt.close("all")


@pytest.mark.parametrize("name, args, message", [
    ("plot_kernel_dropout", ("scores",), "kernel_dropout result, but its kind is 'fragile_kernels'"),
    ("plot_kernel_history", ("scores",), "with a dimension `epoch`"),
    ("plot_kernel_dropout", ("dropout", "history"), "choose one"),
    ("plot_targeting", ("dropout",), "adversarial_targeting result"),
    ("plot_rebalance", ("targeting",), "rebalance result"),
    ("plot_kernel_shares", ("dropout",), "kernel_shares result"),
])
def test_wrong_results_for_figures(drawn, name, args, message):
    from fragility_nb.probes.kernels import plots as kp
    with pytest.raises(ValueError, match=message): getattr(kp, name)(*(drawn[a] for a in args))
