"What passes through a network is read as the network computes it: against plain hooks that copy at once."
import copy
import warnings

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from fragility_nb.data.images import ImageData
from fragility_nb.explore import explore_kernels
from fragility_nb.models.activations import look_at, record_activations
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import evaluating, hooked
from fragility_nb.probes.batchnorm.layers import norm_pairs
from fragility_nb.probes.batchnorm.residual import residual_features
from fragility_nb.probes.batchnorm.statistics import statistic_gap
from fragility_nb.probes.coverage.criteria import NC
from fragility_nb.probes.coverage.probe import activation_profile, neuron_coverage
from fragility_nb.probes.coverage.units import UnitReader, find_outputs
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.probes.retraining.probe import layer_norms
from fragility_nb.measure.sweeps import filter_sweep

QUIET = dict(progress=False, device="cpu")


def plainly(net, x, path):
    "What a submodule puts out, copied as soon as it is there; of a tuple the first."
    seen = []
    first = lambda y: y[0] if isinstance(y, tuple) else y
    handle = net.get_submodule(path).register_forward_hook(lambda m, a, y: seen.append(first(y).detach().clone()))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad(): net.eval()(x)
    torch.backends.mha.set_fastpath_enabled(fast)
    handle.remove()
    return seen[-1]


class Encoder(nn.Module):
    "Patches as tokens, an encoder of PyTorch's own, the mean of the tokens."
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64, batch_first=True), 2)
        self.head = nn.Linear(32, 10)

    def forward(self, x): return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def vit():
    return torchvision.models.VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32,
                                                mlp_dim=64, num_classes=10)


def swin(): return torchvision.models.SwinTransformer([4, 4], 32, [1, 1], [2, 2], [4, 4], num_classes=10)


@pytest.fixture(scope="module")
def coloured():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return ImageData(torch.rand(40, 3, 32, 32), torch.arange(40) % 10, tuple("0123456789"), name="noise")


# -- copies

@pytest.mark.parametrize("name, layer", [("resnet18", "bn1"), ("squeezenet1_1", "features.0"), ("vgg11", "features.0")])
def test_an_operation_in_place_does_not_overwrite_what_was_read(name, layer):
    model = create_model(name, image_size=32, in_chans=1, stem="cifar")
    x = torch.rand(5, 1, 32, 32)
    got = record_activations(model, x, layer, device="cpu")[layer]
    assert torch.allclose(got, plainly(model.network, (x - model.mean) / model.std, layer), atol=1e-5)
    assert (got < 0).float().mean() > 0.2


def test_a_linear_layer_before_an_activation_in_place_is_covered_by_its_own_output(digits):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(inplace=True), nn.Linear(24, 10))
    few = digits.take(range(30))
    got = activation_profile(net, few, layers="1", when="before", **QUIET)
    true = plainly(net, few.batch(0, 30), "1")
    np.testing.assert_allclose(got.low, true.amin(0), atol=1e-5)
    assert float(got.low.min()) < 0


def test_the_kernel_explorer_shows_the_map_before_an_activation_in_place(digits):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 10)).eval()
    few = digits.take(range(20))
    with warnings.catch_warnings(action="ignore"):
        explorer = explore_kernels(kernel_dropout(net, few, **QUIET), net, few, kernel=2, image=7)
        maps = explorer._compute(explorer.state)["maps"]
    true = plainly(net, few.batch(7, 8), "0")[0, 2].numpy()
    assert np.allclose(maps[0][2], true, atol=1e-5) and true.min() < 0


def test_what_is_shown_before_a_call_is_a_copy_and_keywords_count():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.act = nn.BatchNorm2d(3), nn.ReLU(inplace=True)
        def forward(self, x): return self.act(self.norm(input=x))
    net, seen, x = Keyword().eval(), {}, torch.randn(2, 3, 4, 4)
    def note(name, module, args): seen[name] = args[0]
    with torch.no_grad(), hooked(dict(net.named_children()), before=note): net(x)
    assert torch.equal(seen["norm"], x) and (seen["act"] < 0).any()


# -- compiled

def _whole(net): return torch.compile(net, backend="eager")


def _in_place(net):
    net.compile(backend="eager")
    return net


def _part(net):
    net.network.bn1 = torch.compile(net.network.bn1, backend="eager")
    return net


WAYS = dict(
    record_activations=lambda m, d: record_activations(m, d, device="cpu"),
    one=lambda m, d: record_activations(m, d, "bn1", device="cpu"),
    statistic_gap=lambda m, d: statistic_gap(m, d, **QUIET).mean_gap.values,
    residual=lambda m, d: residual_features(m, d, modes="running", **QUIET).emitted.values,
    coverage=lambda m, d: neuron_coverage(m, d, NC(0.25), **QUIET).first.values,
    before=lambda m, d: neuron_coverage(m, d, NC(0.25), when="before", **QUIET).first.values,
    layer_norms=lambda m, d: [n.replace("_orig_mod", "").strip(".") for n in layer_norms(m, d).values()],
    pairs=lambda m, d: [layer.name for layer in norm_pairs(m, None, d)[1].values()],
    kernels=lambda m, d: kernel_dropout(m, d, **QUIET).accuracy.values,
    filters=lambda m, d: filter_sweep(m, d, thresholds=3, layers="conv2", **QUIET).accuracy.values,
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("compiled", [_whole, _in_place, _part])
def test_a_compiled_network_gives_what_the_plain_one_gives_also_after_its_compilation(compiled, trained, digits):
    few = digits.take(range(40))
    torch._dynamo.reset()
    net = compiled(copy.deepcopy(trained)).eval()
    with torch.no_grad():
        for n in (32, 64): net(torch.rand(n, 1, 8, 8)) # compiled before the first hook
    for what, run in WAYS.items():
        plain, got = run(trained, few), run(net, few)
        if isinstance(plain, dict):
            assert plain.keys() == got.keys(), what
            assert all(torch.equal(plain[k], got[k]) for k in plain), what
        elif isinstance(plain, list): assert plain and plain == got, what
        else: np.testing.assert_allclose(got, plain, atol=1e-6, err_msg=what)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_network_runs_compiled_again_afterwards(trained, digits):
    calls = []
    def backend(graph, inputs):
        calls.append(1)
        return graph.forward
    torch._dynamo.reset()
    net = torch.compile(copy.deepcopy(trained), backend=backend).eval()
    record_activations(net, digits.take(range(4)), "conv1", device="cpu")
    assert not calls
    with torch.no_grad(): net(digits.batch(0, 4))
    assert calls


# -- attention

def test_the_fused_attention_is_off_inside_and_back_whatever_happens():
    state = torch.backends.mha.get_fastpath_enabled
    one, other = hooked({}), hooked({})
    assert state()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None) # not the order in which they began
    assert not state()
    other.__exit__(None, None, None)
    assert state()
    with pytest.raises(KeyError), hooked({}): raise KeyError
    assert state()


@pytest.mark.parametrize("make", [vit, Encoder])
def test_networks_with_attention_are_covered_by_default_without_the_parts_of_an_attention(make, coloured):
    torch.manual_seed(0)
    net = make().eval()
    with pytest.warns(UserWarning, match=r"Left out .*inside an attention.*\.q"):
        acts = record_activations(net, coloured)
    linear = [n for n, m in net.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert list(acts) == linear
    for name in linear:
        shown = name.removesuffix(".out_proj") # what the projection puts out is what the attention does
        assert torch.allclose(acts[name], plainly(net, coloured.batch(0, 40), shown), atol=1e-5), name
    with pytest.warns(UserWarning, match="inside an attention"):
        got = neuron_coverage(net, coloured, NC(0.5), when="before", **QUIET)
    assert list(got.layer_name.values) == linear
    for name in linear: # DeepXplore's reading, layer by layer
        y = acts[name].flatten(2).transpose(1, 2) if name in ("patches", "conv_proj") else acts[name]
        low, high = y.flatten(1).amin(1)[:, None, None], y.flatten(1).amax(1)[:, None, None]
        y = y.reshape(len(y), -1, y.shape[-1])
        units = ((y - low) / (high - low)).mean(1)
        share = (units > 0.5).any(0).double().mean()
        np.testing.assert_allclose(got.layer_coverage.sel(layer_name=name)[0], share, atol=1e-9)


@pytest.mark.parametrize("make, layer", [(vit, "encoder.layers.encoder_layer_0.self_attention"),
                                         (Encoder, "encoder.layers.0.self_attn")])
def test_of_an_attention_the_first_output_is_read_and_its_queries_are_refused_by_name(make, layer, coloured):
    torch.manual_seed(0)
    net, x = make().eval(), coloured.batch(0, 40)
    got = record_activations(net, coloured, layer)[layer]
    assert torch.allclose(got, plainly(net, x, layer), atol=1e-5) and got.shape[-1] == 32
    assert [(o.axis, o.units) for o in find_outputs(net, x, layer)] == [(-1, 32)]
    assert torch.allclose(record_activations(net, coloured, f"{layer}.out_proj")[f"{layer}.out_proj"], got, atol=1e-5)
    with pytest.raises(ValueError, match=f"Unknown `layers`: '{layer}.q'. Did you mean '{layer}'"):
        record_activations(net, coloured, f"{layer}.q")


SWINS = ("torchvision", "shifted", "padded", "timm", "timm shifted")


def swin_of(kind):
    "Networks with attention in windows, and a layer in them: its path, and how many windows an image has there."
    if kind.startswith("timm"):
        net = timm.models.swin_transformer.SwinTransformer(img_size=32, patch_size=4, embed_dim=16, depths=(2, 1),
                                                           num_heads=(2, 2), window_size=4, num_classes=10)
        block = int(kind == "timm shifted")
        return net, f"layers.0.blocks.{block}.attn.qkv", f"layers.0.blocks.{block}.attn.qkv", 4
    size = [3, 3] if kind == "padded" else [4, 4]
    net = torchvision.models.SwinTransformer([4, 4], 32, [2, 1], [2, 2], size, num_classes=10)
    block = f"features.1.{int(kind == 'shifted')}.attn"
    return net, f"{block}.proj", block, 1


@pytest.mark.parametrize("kind", SWINS)
def test_tokens_in_windows_are_read_image_by_image(kind, coloured):
    "Against a plain hook and a loop over the images, one at a time."
    torch.manual_seed(0)
    net, layer, module, windows = swin_of(kind)
    x, rows = coloured.batch(0, 12), []
    hook = net.eval().get_submodule(module).register_forward_hook(lambda m, a, y: rows.append(y.detach()))
    with torch.no_grad():
        for one in x: net(one[None])
    hook.remove()
    assert len(rows[0]) == windows
    channels = torch.stack([y.reshape(-1, y.shape[-1]).mean(0) for y in rows])
    with warnings.catch_warnings(action="ignore"):
        output, = find_outputs(net, x, layer, "before")
        with evaluating(net) as copy, torch.no_grad(), UnitReader(copy, [output]) as reader:
            copy(x)
            units = reader.units(torch.arange(12))
    assert output.axis == -1 and output.units == channels.shape[1]
    assert torch.allclose(units.mean, channels, atol=1e-5)
    assert torch.allclose(units.high[:, 0], torch.stack([y.amax() for y in rows]), atol=1e-5)
    got = record_activations(net, coloured.take(range(12)), layer)[layer]
    assert len(got) == 12 and torch.allclose(got.reshape(12, -1, got.shape[-1]).mean(1), channels, atol=1e-5)


@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_what_is_left_out_stands_in_the_result(kind, coloured):
    "timm's Swin is read whole; of torchvision's the layer that makes queries, keys and values is used unseen."
    net, data = swin_of(kind)[0], coloured.take(range(4))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = neuron_coverage(net, data, NC(0.5), progress=False)
    said = [str(w.message) for w in told if "Left out" in str(w.message)]
    hidden = [n for n, _ in net.named_modules() if n.endswith("qkv")] if kind == "torchvision" else []
    text = "; ".join(f"{n} (inside an attention)" for n in hidden)
    assert found.attrs.get("left_out", "") == text and bool(said) == bool(hidden)
    assert not set(hidden) & set(found.layer_name.values.tolist()) and len(found.layer_name) > 6


def test_rows_that_are_neither_images_nor_windows_are_refused(coloured):
    "Windows of all images one after another, by their place."
    class ByPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.head = nn.Linear(48, 8), nn.Linear(8, 10)

        def forward(self, x):
            x = nn.functional.unfold(x, 4, stride=4).permute(2, 0, 1)  # (place, image, values)
            x = self.inner(x.reshape(-1, 4, x.shape[-1])).reshape(len(x), -1, 8)
            return self.head(x.mean(0))

    with pytest.raises(ValueError, match="one row for each image, but got"):
        record_activations(ByPlace(), coloured.take(range(4)), "inner")


# -- channels

def convnext():
    sizes = [torchvision.models.convnext.CNBlockConfig(*size) for size in ((24, 48, 1), (48, None, 1))]
    return torchvision.models.ConvNeXt(sizes, num_classes=10)


def timm_convnext(): return timm.models.convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(24, 48, 48, 48), num_classes=10)


AXES = [(convnext, "features.0.1", 1, 24), (convnext, "features.0", 1, 24), (convnext, "features.1", 1, 24),
        (convnext, "features.1.0.block.2", -1, 24), (convnext, "features.2", 1, 48), (timm_convnext, "stem.1", 1, 24),
        (timm_convnext, "stages.0", 1, 24), (swin, "features.0", -1, 32), (swin, "features.1", -1, 32),
        (swin, "features.1.0", -1, 32), (swin, "features.2", -1, 64), (swin, "features.3.0.mlp.0", -1, 256),
        (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10), "stage2.0", 1, 48),
        (lambda: torchvision.models.resnet18(num_classes=10), "layer1.0", 1, 64)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make, layer, axis, units", AXES)
def test_a_layer_has_as_many_units_at_every_width_of_the_images(make, layer, axis, units):
    net = make().eval()
    for shape in ((64, 48), (64, 64), (64, 96), (96, 96)): # among them maps as wide as there are channels
        image = torch.rand(1, 3, *shape)
        got = find_outputs(net, image, layer, "before")[0]
        assert (got.axis, got.units) == (axis, units), shape
        true = plainly(net, image, layer)
        assert true.shape[axis] == units


def test_the_units_of_a_norm_that_turns_its_images_are_means_over_places(coloured):
    net = convnext().eval()
    got = activation_profile(net, coloured, layers="features.0.1", when="before", **QUIET)
    true = plainly(net, coloured.batch(0, 40), "features.0.1").mean((2, 3))
    np.testing.assert_allclose(got.low, true.amin(0), atol=1e-5)


def test_an_output_without_known_channels_is_refused_by_name(digits):
    class Attends(nn.Module):
        "Scores of all places for all places."
        def forward(self, x): return x.flatten(2).transpose(1, 2) @ x.flatten(2)
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.attends, self.head = nn.Conv2d(1, 4, 3, 2), Attends(), nn.LazyLinear(10)
        def forward(self, x): return self.head(self.attends(self.conv(x)).flatten(1))
    net = Net().eval()
    net(digits.batch(0, 2))
    with pytest.raises(ValueError, match="`attends` .*no channel axis that is known"):
        find_outputs(net, digits.batch(0, 1), "attends")
    assert look_at(net, digits.batch(0, 1), {"conv": "conv"})["conv"].axis == 1


# -- norms with an activation inside

class NormAct(nn.BatchNorm2d):
    "As timm's BatchNormAct2d."
    def forward(self, x): return super().forward(x).relu_()


@pytest.mark.parametrize("kind", [NormAct, timm.layers.BatchNormAct2d])
def test_what_a_norm_with_an_activation_inside_emits_is_its_formula(kind, digits):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), kind(8), nn.Conv2d(8, 8, 3, padding=1), kind(8), nn.Flatten(),
                        nn.Linear(512, 10))
    fit(net, digits, epochs=1, lr=3e-3, **QUIET)
    got = residual_features(net, digits.take(range(40)), **QUIET)
    np.testing.assert_allclose(got.emitted, got.formula, atol=1e-5)
    assert float(got.formula.sel(mode="running").min()) < 0 # a ReLU would have made it 0
    m = net[1]
    want = (m.weight * (0 - m.running_mean) / (m.running_var + m.eps).sqrt() + m.bias).detach()
    np.testing.assert_allclose(got.emitted.sel(mode="running")[:8], want, atol=1e-5)


# -- what is never called

@pytest.mark.filterwarnings("ignore")
def test_what_is_never_called_is_left_out_or_refused_by_name():
    net = torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False).eval()
    image = torch.rand(1, 3, 64, 64)
    with pytest.warns(UserWarning, match=r"Left out .*never called.*`aux1.conv.conv`"): got = find_outputs(net, image)
    assert len(got) == 58 and not any(o.layer.startswith("aux") for o in got)
    with pytest.raises(ValueError, match="`aux1.fc1` to put out one tensor, but got nothing"):
        find_outputs(net, image, "aux1.fc1")
    with pytest.raises(ValueError, match="`aux1` to put out"), hooked({"aux1": net.aux1}): net(image)


def test_nothing_is_left_behind_after_a_look(coloured):
    net = vit().eval()
    with warnings.catch_warnings(action="ignore"): record_activations(net, coloured)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_an_output_of_an_earlier_batch_never_stands_for_one_that_is_missing(digits):
    class Sometimes(nn.Sequential):
        "Uses its first layer for bright batches only."
        def forward(self, x): return self[1](self[0](x.flatten(1)) if x.mean() > 0.4 else x.flatten(1))
    net = Sometimes(nn.Linear(64, 64), nn.Linear(64, 10)).eval()
    bright, dark = torch.full((32, 1, 8, 8), 0.9), torch.zeros(32, 1, 8, 8)
    with pytest.raises(ValueError, match="`0` to put out one tensor, but got nothing"):
        record_activations(net, torch.cat([bright, dark]), batch_size=32)
    few = ImageData(torch.cat([bright, dark]), torch.arange(64) % 10, digits.classes, name="two halves")
    with pytest.raises(ValueError, match="`0` to put out one tensor, but got nothing"):
        neuron_coverage(net, few, NC(0.5), batch_size=32, **QUIET)


@pytest.mark.filterwarnings("ignore")
def test_a_part_of_a_scripted_network_is_refused(digits):
    net = torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval())
    with pytest.raises(ValueError, match="none that can be seen. Use the network from before it was scripted"):
        record_activations(net, digits.take(range(4)), "1")
