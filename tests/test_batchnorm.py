"BatchNorm probed: against plain loops over copies, PyTorch's training mode and NumPy; swapped norms; what must fail."
import copy
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import xarray as xr
from matplotlib.axes import Axes
from torch import nn

from fragility_nb.probes.batchnorm import plots
from fragility_nb.probes.batchnorm.probe import BN_PROBES, batch_statistics, bn_probe, recalibrate, recalibration
from fragility_nb.probes.batchnorm.layers import find_batchnorms
from fragility_nb.probes.batchnorm.residual import residual_features
from fragility_nb.probes.batchnorm.statistics import statistic_gap, statistic_stress
from fragility_nb.probes.batchnorm.scores import emission_effect, probe_summary, statistic_scores
from fragility_nb.stress.attacks import FGSM, attack_images
from fragility_nb.core.results import load_result, save_result
from fragility_nb.data.images import generator
from fragility_nb.data.sets import load_data
from fragility_nb.engine.engine import EditEngine
from fragility_nb.models.networks import CifarResNet
from fragility_nb.models.wrap import Normalized, model_hash
from fragility_nb.models.answers import predict
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.norms import swap_norm
from fragility_nb.stress.stressors import GaussianBlur, GaussianNoise, apply_stress
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.training import fit

QUIET = dict(progress=False, device="cpu")


@pytest.fixture(scope="module")
def data():
    return load_data("digits").take(range(0, 544, 3))  # 182 images


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train")


@pytest.fixture(scope="module")
def net(train):
    "A small residual network, trained a little."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Normalized(CifarResNet(8, 10, 1), 0.5, 0.5)
    fit(model, train, epochs=3, lr=3e-3, batch_size=50, progress=False)
    return model


@pytest.fixture(scope="module")
def results(net, data, train):
    return bn_probe(net, data, source=train, stressors=[GaussianNoise(), GaussianBlur()], severities=(0, 3), **QUIET,
                    recalibration=dict(n=(2, 16)), batch_statistics=dict(batch_sizes=(1, 8, 64)))


class Odd(nn.Module):
    "Biases, a ReLU and a pooling between, no γ and β, a norm after a linear layer, of the images and of a sum."
    def __init__(self):
        super().__init__()
        self.first, self.conv1, self.bn1 = nn.BatchNorm2d(1), nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6, affine=False)
        self.conv2, self.bn2, self.bn3 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.linear, self.bn4, self.out = nn.Linear(6, 12), nn.BatchNorm1d(12), nn.Linear(12, 10)

    def forward(self, x):
        x = self.bn1(F.max_pool2d(F.relu(self.conv1(self.first(x))), 2))
        if x.sum() > -1e9: x = self.bn3(x + self.bn2(self.conv2(x)))  # cannot be traced
        return self.out(F.relu(self.bn4(self.linear(x.mean((2, 3))))))


@pytest.fixture(scope="module")
def odd(train):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Odd()
    fit(model, train, epochs=3, lr=1e-2, batch_size=50, progress=False)
    return model


def right(net, data, batches=None):
    "Plain answers, in given batches."
    x = data.batch(0, len(data))
    with torch.no_grad():
        if batches is None: return (net(x).argmax(1) == data.labels).numpy()
        out = np.zeros(len(data), bool)
        for rows in batches: out[rows.numpy()] = (net(x[rows]).argmax(1) == data.labels[rows]).numpy()
    return out


def by_batch(net):
    "A copy whose BatchNorm alone is in training mode."
    net = copy.deepcopy(net).eval()
    for m in net.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm): m.train()
    return net


def without(net, layer, norm=None):
    "A copy without a layer's weights and bias, and if named with a silent norm."
    net = copy.deepcopy(net).eval()
    for p in net.get_submodule(layer).parameters(): p.data.zero_()
    if norm: net.get_submodule(norm).register_forward_hook(lambda m, a, y: torch.zeros_like(y))
    return net


def emitted(net, norm, x):
    "What a norm puts out."
    got = []
    handle = net.get_submodule(norm).register_forward_hook(lambda m, a, y: got.append(y.detach().double()))
    with torch.no_grad(): net(x)
    handle.remove()
    return got[0]


# residual features

def test_residual_features_are_the_plain_loop(net, data):
    got = residual_features(net, data, batch_size=50, **QUIET)
    batches = torch.arange(len(data)).split(50)
    assert list(got.layer_name.values)[:3] == ["bn1", "layer1.0.bn1",
                                               "layer1.0.bn2"] and str(got.removed_layer.values[2]) == "layer1.0.conv2"
    np.testing.assert_array_equal(got.reference_correct.sel(mode="running"), right(net, data))
    np.testing.assert_array_equal(got.reference_correct.sel(mode="batch"), right(by_batch(net), data, batches))
    for norm, layer in zip(got.layer_name.values, got.removed_layer.values):
        norm, path = f"network.{norm}", f"network.{layer}"
        one = got.correct.sel(layer_name=norm.removeprefix("network."))
        np.testing.assert_array_equal(one.sel(mode="running"), right(without(net, path), data))
        np.testing.assert_array_equal(one.sel(mode="silent"), right(without(net, path, norm), data))
        mixed = without(net, path)
        mixed.get_submodule(norm).train()  # PyTorch's own batch mode, in this norm alone
        assert (one.sel(mode="beta").values != right(mixed, data)).mean() < 0.02
        # rounding
        assert (one.sel(mode="batch").values != right(by_batch(without(net, path)), data, batches)).mean() < 0.02
    assert got.weights.values[0] == 16*9 and not got.removed_bias.any()


def test_emitted_constants_are_the_formula(net, data):
    got = residual_features(net, data, **QUIET)
    for name, m in find_batchnorms(net).items():
        layer = str(got.removed_layer.sel(layer_name=name).values)
        unit = got.layer.values == name
        mean, var, gamma, beta = (v.detach().numpy().astype(float)
                                  for v in (m.running_mean, m.running_var, m.weight, m.bias))
        formula = gamma*(0 - mean)/np.sqrt(var + m.eps) + beta
        y = emitted(without(net, f"network.{layer}"), f"network.{name}", data.batch(0, 32))  # this layer alone removed
        np.testing.assert_allclose(got.emitted.sel(mode="running")[unit], formula, atol=1e-5)
        np.testing.assert_allclose(y.mean((0, 2, 3)), formula, atol=1e-5)
        np.testing.assert_allclose(got.emitted.sel(mode="batch")[unit], beta, atol=1e-5)
        np.testing.assert_allclose(got.emitted.sel(mode="beta")[unit], beta, atol=1e-5)
        assert np.ptp(y.numpy(), axis=(0, 2, 3)).max() == 0
    np.testing.assert_allclose(got.emitted, got.formula, atol=1e-5)
    assert float(got.spread.max()) < 1e-6 and (got.emitted.sel(mode="silent") == 0).all()


@pytest.mark.filterwarnings("ignore:This network cannot be cut")
def test_bias_relu_pooling_and_no_affine(odd, data):
    got = residual_features(odd, data, **QUIET)
    assert dict(zip(got.layer_name.values, got.removed_layer.values)) == dict(bn1="conv1", bn2="conv2",
        bn4="linear") and got.removed_bias.all()
    assert got.attrs["without_weights"] == "first, bn3"
    for norm, layer in dict(bn1="conv1", bn2="conv2", bn4="linear").items():
        np.testing.assert_array_equal(got.correct.sel(mode="running", layer_name=norm),
                                      right(without(odd, layer), data))
        np.testing.assert_array_equal(got.correct.sel(mode="silent", layer_name=norm),
                                      right(without(odd, layer, norm), data))
    np.testing.assert_allclose(got.emitted, got.formula, atol=1e-5)
    with pytest.raises(ValueError, match="`bn3` reads something else"): residual_features(odd, data, "bn3", **QUIET)


def test_group_norm_emits_beta(train, data):
    model = create_model("cnn4", norm="group")
    fit(model, train, epochs=1, lr=3e-3, batch_size=50, progress=False)
    got = residual_features(model, data, **QUIET)
    beta = np.concatenate([m.bias.detach().numpy() for m in model.modules() if isinstance(m, nn.GroupNorm)])
    assert list(got["mode"].values) == ["image", "silent"]
    np.testing.assert_allclose(got.emitted.sel(mode="image"), beta, atol=1e-6)
    np.testing.assert_array_equal(got.correct.sel(mode="image", layer_name="bn2"),
                                  right(without(model, "network.conv2"), data))


def test_effect_of_the_constant_is_the_paired_difference(results):
    r = results["residual_features"]
    got = emission_effect(r)
    np.testing.assert_allclose(got.effect, (r.accuracy.sel(mode="running") - r.accuracy.sel(mode="silent")), atol=1e-12)
    assert (got.low <= got.effect + 1e-12).all() and (got.effect <= got.high + 1e-12).all()
    with pytest.raises(ValueError, match="Unknown `other`"): emission_effect(r, other="loud")


# statistic stress

def wrong_statistics(net, names, statistic, value):
    "A copy whose buffers are changed."
    net = copy.deepcopy(net).eval()
    for name in names:
        m = net.get_submodule(name)
        if statistic == "scale": m.running_var *= value
        else: m.running_mean += value*(m.running_var + m.eps).sqrt()
    return net


def test_statistic_stress_is_the_plain_loop(net, data):
    attack = FGSM(0.1)
    got = statistic_stress(net, data, (1/4, 8), (-2, 1), layers=["layer1.0.bn2", "bn1"], attack=attack, **QUIET)
    assert got.value.values.tolist() == [1/4, 1, 8, -2, 0, 1] and got.layer.values.tolist() == ["layer1.0.bn2", "bn1",
        "global"]
    hostile = attack_images(net, data, attack, device="cpu")
    for layer in got.layer.values:
        names = ["network.layer1.0.bn2", "network.bn1"] if layer == "global" else [f"network.{layer}"]
        for i, (statistic, value) in enumerate(zip(got.statistic.values, got.value.values)):
            copied = wrong_statistics(net, names, statistic, value)
            here = got.correct.sel(layer=layer).isel(step=i)
            assert (here.sel(stress="clean").values != right(copied, data)).mean() < 0.01  # rounding
            with torch.no_grad(): theirs = (copied(hostile).argmax(1) == data.labels).numpy()
            assert (here.sel(stress="adversarial").values != theirs).mean() < 0.01
    identity = got.correct.isel(step=[1, 4])
    assert (identity == got.reference_correct).all()


@pytest.mark.filterwarnings("ignore:This network cannot be cut")
def test_statistic_stress_without_affine(odd, data):
    got = statistic_stress(odd, data, (1/16, 1), (0, 1.5), layers="bn1", scope="local", **QUIET)
    for i, (statistic, value) in enumerate(zip(got.statistic.values, got.value.values)):
        np.testing.assert_array_equal(got.correct.isel(stress=0, layer=0, step=i),
                                      right(wrong_statistics(odd, ["bn1"], statistic, value), data))
    assert odd.bn1.weight is None


def test_statistic_scores_by_hand(net, data):
    r = statistic_stress(net, data, (1/4, 1/2, 8), (-1, 3), attack=FGSM(0.1), **QUIET)
    for baseline in ("unchanged", "linear"):
        got = statistic_scores(r, baseline=baseline, n_boot=100)
        for layer in r.layer.values:
            areas = []
            for kind, x in dict(scale=np.array([-2., -1, 0, 3]), shift=np.array([-1., 0, 3])).items():
                p = r.accuracy.sel(layer=layer)[:, (r.statistic == kind).values] / r.reference_accuracy
                base = np.ones_like(x) if baseline == "unchanged" else 1 - np.abs(x)/3
                clean, hostile = (np.trapezoid(v, x)/np.ptp(x) for v in p.values)
                flat = np.trapezoid(base, x)/np.ptp(x)
                want = [clean - flat, hostile - flat, hostile - clean]
                np.testing.assert_allclose(got.score.sel(layer=layer, statistic=kind), want, atol=1e-12)
                areas.append(want)
            np.testing.assert_allclose(got.score.sel(layer=layer, statistic="combined"), np.mean(areas, 0), atol=1e-12)
        assert (got.low <= got.score).all() and (got.score <= got.high).all()


def test_interval_of_a_statistic_score_covers():
    rng, hits = np.random.default_rng(0), 0
    p = np.array([0.4, 0.9, 0.6])
    for _ in range(60):
        u = rng.random(300)
        right = (u < p[:, None])[None, None]
        steps = dict(statistic=("step", ["scale"]*3), value=("step", [1/2, 1, 2.]))
        r = xr.Dataset(dict(correct=(("stress", "layer", "step", "sample"), right),
                            accuracy=(("stress", "layer", "step"), right.mean(-1)),
                            reference_correct=(("stress", "sample"), right[:, 0, 1])),
                       dict(stress=["clean"], layer=["a"], **steps), dict(kind="statistic_stress", num_classes=10))
        s = statistic_scores(r, n_boot=200).isel(kind=0, layer=0).sel(statistic="scale")
        hits += float(s.low) <= (0.4/4 + 0.9/2 + 0.6/4)/0.9 - 1 <= float(s.high)
    assert 52 <= hits <= 60


# batch statistics

def test_batch_statistics_are_pytorchs(net, data):
    got = batch_statistics(net, data, (1, 5, 64, 182), GaussianNoise(), (0, 3), seeds=(0, 7), **QUIET)
    for severity in (0, 3):
        x = apply_stress(GaussianNoise(), data.batch(0, len(data)), severity, 0, data.index)
        np.testing.assert_array_equal(got.reference_correct.sel(severity=severity)[0],
                                      (predict(net, x).argmax(1) == data.labels).numpy())
        for seed in (0, 7):
            order = torch.randperm(len(data), generator=generator("batches", seed))
            for b in (1, 5, 64, 182):
                rows, copied = torch.cat([order, order[:-len(order) % b]]), by_batch(net)
                with torch.no_grad():
                    theirs = torch.cat([copied(x[r]).argmax(1) == data.labels[r] for r in rows.split(b)])[:len(order)]
                ours = got.correct.sel(severity=severity, seed=seed, batch_size=b).isel(stress=0).values[order.numpy()]
                assert (ours != theirs.numpy()).mean() < 0.01


def test_one_value_has_no_variance(data):
    model = nn.Sequential(nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 10))
    with pytest.warns(UserWarning, match="`1` sees maps of 1×1"):
        got = batch_statistics(model, data, (1, 2, 4), **QUIET)
    assert got.batch_size.values.tolist() == [2, 4]
    with pytest.raises(ValueError, match="one value has no variance"): batch_statistics(model, data, (1,), **QUIET)
    with pytest.raises(ValueError, match="one value has no variance"): recalibrate(model, data, 1)
    with pytest.raises(ValueError, match="one value has no variance"): recalibrate(model, data, 3, batch_size=1)
    with pytest.raises(ValueError, match="`batch_size` to leave no batch of one image"):
        residual_features(model, data.take(range(101)), batch_size=50, **QUIET)
    with pytest.warns(UserWarning, match="left out of `n`"):
        assert recalibration(model, data, n=(1, 2), **QUIET).n.values.tolist() == [2]


def test_norm_of_its_own_kind(data):
    "A subclass may do more than normalise: whole passes, batch after batch."
    class Activated(nn.BatchNorm2d):
        def forward(self, x): return F.relu(super().forward(x))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), Activated(8), nn.Flatten(), nn.Linear(288, 10))
    got = batch_statistics(model, data, (16,), **QUIET)
    order = torch.randperm(len(data), generator=generator("batches", 0))
    rows = torch.cat([order, order[:-len(order) % 16]])
    np.testing.assert_array_equal(got.correct.values[0, 0, 0, 0][order.numpy()],
                                  theirs_by_rows(model, data, rows)[:len(order)])
    with pytest.raises(ValueError, match="cannot be swapped"): swap_norm(model)


def theirs_by_rows(model, data, rows):
    "Answers of batches of 16 rows."
    x, net = data.batch(0, len(data)), by_batch(model)
    with torch.no_grad(): return torch.cat([net(x[r]).argmax(1) == data.labels[r] for r in rows.split(16)]).numpy()


# recalibration

def test_cumulative_is_update_bn(net, train):
    few = train.take(range(300))
    got = recalibrate(net, few, batch_size=100, seed=3, device="cpu")
    order = torch.randperm(300, generator=generator("images to estimate from", 3))
    theirs = copy.deepcopy(net)
    torch.optim.swa_utils.update_bn([few.batch(0, 300)[rows] for rows in order.split(100)], theirs)
    same_state(got, theirs, 1e-5)
    assert not got.training and got.network.bn1.momentum == 0.1


def test_exponential_is_training_mode(net, train):
    few = train.take(range(200))
    got = recalibrate(net, few, 150, mode="exponential", momentum=0.3, stressor=GaussianNoise(), severity=2,
                      batch_size=50, layers=["bn1", "layer2.0.bn1"])
    order = torch.randperm(200, generator=generator("images to estimate from", 0))[:150]
    x = apply_stress(GaussianNoise(), few.batch(0, 200), 2, 0, few.index)
    theirs = copy.deepcopy(net).eval()
    for m in (theirs.network.bn1, theirs.network.layer2[0].bn1):
        m.train()
        m.momentum = 0.3
    with torch.no_grad():
        for rows in order.split(50): theirs(x[rows])
    same_state(got, theirs, 1e-5)
    assert torch.equal(got.network.layer3[0].bn1.running_mean, net.network.layer3[0].bn1.running_mean)


def same_state(a, b, tolerance):
    for k, v in a.state_dict().items(): torch.testing.assert_close(v, b.state_dict()[k], rtol=tolerance, atol=tolerance)


def test_recalibrating_on_the_training_set_gives_back_its_statistics(train):
    "Within sampling error: the running mean of a training is a moving average over some 19 of its last batches."
    train, model = train.take(range(1250)), create_model("cnn4")  # batches of one size
    fit(model, train, epochs=8, lr=3e-3, batch_size=50, schedule="cosine", progress=False)
    again = recalibrate(model, train, batch_size=50, device="cpu")
    copied, means = by_batch(model), {n: [] for n in find_batchnorms(model)}
    for name, m in find_batchnorms(copied).items():
        m.register_forward_pre_hook(lambda m, a, n=name: means[n].append(a[0].mean((0, 2, 3))))
    with torch.no_grad():
        for rows in torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).split(50):
            copied(train.batch(0, len(train))[rows])
    z = []
    for name, m in find_batchnorms(model).items():
        spread = torch.stack(means[name]).std(0)  # of one batch's mean
        z.append((m.running_mean - again.get_submodule(f"network.{name}").running_mean) / (spread*(0.1/1.9)**0.5))
        ratio = (m.running_var + m.eps) / (again.get_submodule(f"network.{name}").running_var + m.eps)
        assert ratio.log().abs().max() < 0.15
    z = torch.cat(z)
    assert z.abs().max() < 4.5 and z.square().mean() < 1.5, (z.abs().max(), z.square().mean())


def test_recalibration_is_recalibrate(net, data, train, results):
    got = results["recalibration"]
    assert got["images"].values.tolist() == ["clean", "stressed"] and got.n.values.tolist() == [2, 16]
    for k in (2, 16):
        one = recalibrate(net, train, k, device="cpu")
        x = apply_stress(GaussianBlur(), data.batch(0, len(data)), 3, 0, data.index)
        theirs = (predict(one, x, device="cpu").argmax(1) == data.labels).numpy()
        np.testing.assert_array_equal(got.correct.sel(stress="gaussian_blur", severity=3, images="clean", n=k)[0, 0],
                                      theirs)
        stressed = recalibrate(net, train, k, stressor=GaussianBlur(), severity=3, device="cpu")
        theirs = (predict(stressed, x, device="cpu").argmax(1) == data.labels).numpy()
        np.testing.assert_array_equal(got.correct.sel(stress="gaussian_blur", severity=3, images="stressed", n=k)[0,
            0], theirs)
    np.testing.assert_array_equal(got.correct.sel(severity=0, images="clean"),
                                  got.correct.sel(severity=0, images="stressed"))


# all of them

def test_all_probes_leave_the_model_alone_and_are_saved(net, data, train, tmp_path):
    model = copy.deepcopy(net).train()
    model.network.bn1.eval()
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    data = data.take(range(60))
    found = bn_probe(model, data, severities=(0, 2), source=train, **QUIET, recalibration=dict(n=(8,)),
                     batch_statistics=dict(batch_sizes=(32,)),
                     statistic_stress=dict(scope="global"))
    assert list(found) == list(BN_PROBES) == [r.attrs["kind"] for r in found.values()]
    assert modes == [m.training for m in model.modules()] and not any(len(m._forward_hooks) + len(m._forward_pre_hooks)
        for m in model.modules())
    for k, v in model.state_dict().items(): assert torch.equal(v, before[k]), k
    loaded = load_result(save_result(found, tmp_path/"bn.nc"))
    for k, r in found.items():
        xr.testing.assert_identical(loaded[k].to_dataset(), r)
        assert {"model_hash", "data_hash", "num_classes", "schema"} <= r.attrs.keys()


def test_results_do_not_depend_on_memory_and_seeding(net, data):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a = statistic_stress(net, data, (1/4, 4), (1,), memory="1MB", **QUIET)
    b = statistic_stress(net, data, (1/4, 4), (1,), **QUIET)
    np.testing.assert_array_equal(a.correct, b.correct)
    a, b = (residual_features(net, data, modes="running", memory=m, **QUIET) for m in ("1MB", "2GiB"))
    np.testing.assert_array_equal(a.correct, b.correct)
    recalibrate(net, data, 20)
    batch_statistics(net, data, (8,), **QUIET)
    assert torch.equal(state, torch.get_rng_state())


class Fixed(nn.Module):
    "No weights at all: a norm without γ and β, and a buffer."
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(1, affine=False)
        self.register_buffer("w", torch.randn(64, 10, generator=torch.Generator().manual_seed(0)))

    def forward(self, x): return self.bn(x).flatten(1) @ self.w


def test_network_without_weights(data):
    "Nothing to remove is one clear error; the statistics are estimated anew as in any network."
    model = Fixed().eval()
    with pytest.raises(ValueError, match="there are no weights to remove"): residual_features(model, data, **QUIET)
    with pytest.raises(ValueError, match="there are no weights of its own to remove"):
        residual_features(model, data, "bn", **QUIET)
    new = recalibrate(model, data, device="cpu")
    pixels = data.batch(0, len(data))
    assert float(new.bn.running_mean) == pytest.approx(float(pixels.mean()), abs=0.02)
    result = recalibration(model, data, n=(4, len(data)), **QUIET)
    assert (result.correct.sel(n=len(data)).squeeze().values == recalibration_answers(new, data)).all()
    assert statistic_stress(model, data, scales=(1, 4), shifts=0, **QUIET).sizes["layer"] == 2


def recalibration_answers(net, data):
    with torch.no_grad(): return (net(data.batch(0, len(data))).argmax(1) == data.labels).numpy()


def test_probes_of_networks_without_running_statistics(data):
    for model, words in ((create_model("lenet1"), "no norm over channels"),
                         (create_model("cnn4", norm="layer"), "GroupNorm, which normalises each image")):
        for probe in (statistic_gap, statistic_stress, recalibrate, recalibration, batch_statistics):
            with pytest.raises(ValueError, match=f"to have BatchNorm with running statistics.*{words}"):
                probe(model, data)
    with pytest.raises(ValueError, match="no norm over channels"):
        residual_features(create_model("lenet1"), data, **QUIET)
    with pytest.warns(UserWarning, match="Left out: statistic_gap, statistic_stress, batch_statistics, recalibration"):
        assert list(bn_probe(create_model("cnn4", norm="group"), data, **QUIET)) == ["residual_features"]
    with pytest.raises(ValueError, match="no norm over channels"): bn_probe(create_model("lenet1"), data, **QUIET)


def test_batchnorm_that_keeps_no_statistics(data):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU(), nn.Flatten(),
                          nn.Linear(288, 10))
    for probe in (statistic_gap, statistic_stress, recalibrate, recalibration):
        with pytest.raises(ValueError, match="track_running_stats=False"): probe(model, data)
    with pytest.raises(ValueError, match="track_running_stats=False"):
        residual_features(model, data, modes="running", **QUIET)
    got = residual_features(model, data, **QUIET)
    assert list(got["mode"].values) == ["batch", "silent"]
    np.testing.assert_allclose(got.emitted, got.formula, atol=1e-6)
    summary = probe_summary(batch_statistics(model, data, (16, 64), **QUIET))
    assert "reference" not in summary and summary.sizes["batch_size"] == 2
    cured = recalibrate(swap_norm(model, "batch"), data)
    assert cured[1].running_mean.abs().max() > 0 and statistic_gap(cured, data, **QUIET).mean_gap_size < 0.05


@pytest.mark.parametrize("call, words", [
    (lambda m, d: residual_features(m, d, "bn7"), "Unknown `layers`: 'bn7'"),
    (lambda m, d: residual_features(m, d, modes="training"), "Unknown `modes`"),
    (lambda m, d: residual_features(m, d, modes=[]), "`modes` not to be empty"),
    (lambda m, d: statistic_stress(m, d, scales=(0, 1)), "`scales` to be a number larger than 0"),
    (lambda m, d: statistic_stress(m, d, shifts=(float("nan"),)), "`shifts`"),
    (lambda m, d: statistic_stress(m, d, scales=(1,), shifts=(0,)), "changes something"),
    (lambda m, d: statistic_stress(m, d, scope="all"), "Unknown `scope`"),
    (lambda m, d: statistic_stress(m, d, layers=[]), "`layers` not to be empty"),
    (lambda m, d: batch_statistics(m, d, (0,)), "`batch_sizes` to be an integer between 1 and 182"),
    (lambda m, d: batch_statistics(m, d, (4, 500)), "`batch_sizes` to be an integer between 1 and 182"),
    (lambda m, d: batch_statistics(m, d, ()), "`batch_sizes` not to be empty"),
    (lambda m, d: batch_statistics(m, d, (4,), severities=()), "`severities` not to be empty"),
    (lambda m, d: recalibrate(m, d, 0), "`n` to be an integer between 1 and 182"),
    (lambda m, d: recalibrate(m, d, mode="mean"), "Unknown `mode`"),
    (lambda m, d: recalibrate(m, d, mode="exponential", momentum=0), "`momentum` to be"),
    (lambda m, d: recalibration(m, d, n=(4,), images="dirty"), "Unknown `images`"),
    (lambda m, d: bn_probe(m, d, "gap"), "Unknown `probes`"),
    (lambda m, d: bn_probe(m, d, "statistic_gap", recalibration={}), "Unknown `options`"),
    (lambda m, d: bn_probe(m, d, "recalibration", recalibration=3),
     "Expected `recalibration` to be a dict of its options, but got 3"),
    (lambda m, d: statistic_gap(m, d, [GaussianNoise(), GaussianNoise()]), "to differ"),
    (lambda m, d: swap_norm(m, "batchnorm"), "Unknown `norm`"),
    (lambda m, d: swap_norm(m, groups=5),
     r"`groups` to divide the channels of every layer \(1, 2, 4, 8, 16 do\), but got 5 for the 16 channels of "
     r"`network.bn1`"),
    (lambda m, d: swap_norm(m, layers="bn9"), "Unknown `layers`"),
    (lambda m, d: swap_norm(m, eps=-1), "`eps`"),
    (lambda m, d: swap_norm(m, affine="yes"), "`affine` to be True or False or None"),
    (lambda m, d: swap_norm(create_model("lenet1")), "to swap, but `lenet1` has none"),
])
def test_bad_input(net, data, call, words):
    with pytest.raises((ValueError, TypeError), match=words): call(net, data)


# other norms

def test_swapped_norms_are_pytorchs(net, data):
    x = data.batch(0, 16)
    h = torch.randn(4, 16, 5, 5, generator=torch.Generator().manual_seed(0))
    w, b = net.network.bn1.weight, net.network.bn1.bias
    norm = lambda *a, **k: swap_norm(net, *a, **k).network.bn1(h)
    by_channel = lambda y: y*w[:, None, None] + b[:, None, None]
    torch.testing.assert_close(norm("layer"), by_channel(F.layer_norm(h, (16, 5, 5))))
    torch.testing.assert_close(norm("instance"), by_channel(F.instance_norm(h)))
    torch.testing.assert_close(norm("group", groups=4), F.group_norm(h, 4, w, b))
    torch.testing.assert_close(norm("group", groups=4, affine=False, eps=0.1), F.group_norm(h, 4, eps=0.1))
    torch.testing.assert_close(norm("none"), by_channel(h))
    assert torch.equal(norm("none", affine=False), h)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6))
    assert type(swap_norm(swap_norm(flat, "group", groups=3), "batch")[2]) is nn.BatchNorm1d and swap_norm(flat,
        "none")(x).shape == (16, 6)
    changed = swap_norm(net, "batch", momentum=0.5, eps=1e-2, affine=False)
    assert (changed.network.bn1.momentum, changed.network.bn1.eps, changed.network.bn1.weight) == (0.5, 1e-2, None)
    assert torch.equal(changed.network.bn1.running_var, net.network.bn1.running_var)
    torch.testing.assert_close(swap_norm(net, "batch")(x), net.eval()(x), rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:The unfiltered accuracy")
@pytest.mark.parametrize("norm", ["batch", "group", "layer", "instance", "none"])
def test_swapped_networks_train_come_back_and_can_be_cut(norm, train, tmp_path):
    plain = create_model("cnn4", seed=3)
    before, few = model_hash(plain), train.take(range(200))
    model = swap_norm(plain, norm, affine=False)
    assert model_hash(plain) == before and torch.equal(model.network.conv2.weight, plain.network.conv2.weight)
    fit(model, few, epochs=1, batch_size=50, snapshots=1, folder=tmp_path/"run", progress=False)
    again = load_checkpoint(save_checkpoint(model, tmp_path/"a.safetensors"))
    assert model_hash(again) == model_hash(model) and again.spec == model.spec
    assert type(again.network.bn1) is type(model.network.bn1)
    assert torch.equal(predict(again, few), predict(model, few))
    assert model_hash(create_model(**model.spec, weights=tmp_path/"a.safetensors")) == model_hash(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert EditEngine(model, device="cpu")._ready(few.batch(0, 8))
    assert filter_sweep(model, few.take(range(40)), layers="conv1", filters="pulse", thresholds=3,
                        progress=False).sizes["threshold"] == 3


def test_swaps_add_up_and_differ():
    plain = create_model("cnn4")
    partly = swap_norm(swap_norm(plain, "group", groups=4, layers="bn1"), "instance", layers=["bn2", "bn3"])
    kinds = [partly.network.bn1.num_groups, partly.network.bn2.num_groups, partly.network.bn3.num_groups]
    assert kinds == [4, 32, 64] and create_model(**partly.spec).network.bn2.num_groups == 32
    hashes = {model_hash(m) for m in (plain, partly, *(swap_norm(plain, "group", groups=g) for g in (1, 4, 8)))}
    assert len(hashes) == 5
    assert create_model("cnn4", norm="group").spec == create_model("cnn4", norm=dict(norm="group", groups=8)).spec
    assert "norm" not in plain.spec
    with pytest.raises(ValueError, match="another architecture"): load_state(partly, plain)


def load_state(a, b, path="x.safetensors"):
    import tempfile
    from pathlib import Path
    with tempfile.TemporaryDirectory() as d: load_checkpoint(save_checkpoint(a, Path(d)/path), b)


# plots

def test_every_result_has_its_picture(results):
    gap, residual, stress = (results[k] for k in ("statistic_gap", "residual_features", "statistic_stress"))
    drawn = [plots.plot_statistic_gap(gap), plots.plot_statistic_gap(gap, what="variance", stress="gaussian_blur"),
             plots.plot_channel_gaps(gap, "bn1", what="mean"),
             plots.plot_residual(residual), plots.plot_residual(residual, modes="running"),
             plots.plot_emitted(residual, "layer1.0.bn2"),
             plots.plot_statistic_stress(stress), plots.plot_statistic_stress(stress, layers=["bn1", "global"]),
             plots.plot_statistic_scores(statistic_scores(stress, n_boot=100)),
             plots.plot_batch_statistics(results["batch_statistics"]),
             plots.plot_batch_statistics(results["batch_statistics"], severities=3),
             plots.plot_recalibration(results["recalibration"])]
    for ax in drawn:
        for one in np.ravel(ax):
            assert isinstance(one, Axes) and (one.get_xlabel() or one.get_ylabel())
            one.figure.draw_without_rendering()
    plt.close("all")


def test_what_is_drawn_is_the_result(results):
    r = results["residual_features"]
    ax = plots.plot_residual(r, modes="running")
    np.testing.assert_allclose([line for line in ax.get_lines() if line.get_marker() == "o"][0].get_xdata(),
                               r.accuracy.sel(mode="running"))
    ax = plots.plot_batch_statistics(results["batch_statistics"], severities=[3])[1]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(),
                               results["batch_statistics"].accuracy.sel(stress="gaussian_blur", severity=3, seed=0))
    _, axs = plt.subplots(1, 2)
    assert plots.plot_statistic_gap(results["statistic_gap"], axs)[1] is axs[1]
    image = axs[0].get_images()[0].get_array()
    np.testing.assert_allclose(image, results["statistic_gap"].mean_gap_size.sel(stress="gaussian_noise").T)
    for call, words in ((lambda: plots.plot_statistic_gap(r), "statistic_gap result"),
                        (lambda: plots.plot_emitted(r, "conv1"), "Unknown `layer`"),
                        (lambda: plots.plot_batch_statistics(results["batch_statistics"], severities=9),
                         "Unknown `severities`"),
                        (lambda: plots.plot_recalibration(results["recalibration"], mode="exponential"),
                         "Unknown `mode`")):
        with pytest.raises(ValueError, match=words): call()
    plt.close("all")


def test_model_hash_of_unswapped_networks_stays():
    assert model_hash(create_model("cnn4")) == "550ac9922ca48591"
