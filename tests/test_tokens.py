"""Networks of tokens: attention, LayerNorm and GroupNorm in every sweep and probe, against plain PyTorch."""
import copy
import warnings

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn.utils import prune

from fragility_nb.data.images import ImageData
from fragility_nb.engine.engine import EditEngine
from fragility_nb.engine.job import Edits
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.activations import find_layers, layer_table, record_activations
from fragility_nb.models.norms import swap_norm
from fragility_nb.models.steps import TrainingSteps
from fragility_nb.models.training import fit
from fragility_nb.probes.batchnorm.probe import bn_probe
from fragility_nb.probes.coverage.criteria import NC
from fragility_nb.probes.coverage.probe import neuron_coverage
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.probes.kernels.targeting import adversarial_targeting
from fragility_nb.probes.retraining.probe import selective_fit
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.filters import plan_filter

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:The unfiltered accuracy")
quick = pytest.mark.quick
N = 16


class Encoder(nn.Module):
    "Patches as tokens, an encoder of PyTorch's own, the mean of the tokens."
    def __init__(self, batch_first=True):
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, 16, 8, 8), batch_first
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=batch_first), 2)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.head(self.encoder(x).mean(1) if self.first else self.encoder(x.transpose(0, 1)).mean(0))


class Looking(nn.Module):
    "Attention in a network that cannot be traced; queries, keys and values of different widths."
    def __init__(self):
        super().__init__()
        self.patches, self.narrow = nn.Conv2d(3, 16, 8, 8), nn.Linear(16, 6)
        self.attention = nn.MultiheadAttention(16, 2, kdim=6, vdim=16, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if bool(x.sum() > -1e9): x = x + self.attention(x, self.narrow(x), x)[0]
        return self.head(x.mean(1))


class GroupNormed(nn.Module):
    "GroupNorm, and a depthwise convolution."
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, 2), nn.GroupNorm(2, 8)
        self.depthwise, self.head = nn.Conv2d(8, 8, 3, groups=8), nn.Linear(8, 10)

    def forward(self, x): return self.head(self.depthwise(self.norm(self.stem(x)).relu()).mean((2, 3)))


def vit():
    return torchvision.models.VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32,
                                                mlp_dim=64, num_classes=10)

def swin(): return torchvision.models.SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], num_classes=10)

def convnext():
    sizes = [torchvision.models.convnext.CNBlockConfig(*size) for size in ((16, 24, 1), (24, None, 1))]
    return torchvision.models.convnext.ConvNeXt(sizes, layer_scale=0.5, num_classes=10)

def timm_vit():
    timm = pytest.importorskip("timm")
    return timm.models.vision_transformer.VisionTransformer(img_size=32, patch_size=8, embed_dim=24, depth=2,
                                                            num_heads=2, num_classes=10)

def timm_swin():
    timm = pytest.importorskip("timm")
    return timm.models.swin_transformer.SwinTransformer(img_size=32, patch_size=4, embed_dim=16, depths=(1, 1),
                                                        num_heads=(2, 2), window_size=4, num_classes=10)

def timm_convnext():
    timm = pytest.importorskip("timm")
    return timm.models.convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 16, 16, 16), ls_init_value=0.5, num_classes=10)


NETWORKS = dict(encoder=Encoder, sequence_first=lambda: Encoder(False), looking=Looking, group_norm=GroupNormed,
                vit=vit, swin=swin, convnext=convnext, timm_vit=timm_vit, timm_swin=timm_swin,
                timm_convnext=timm_convnext)


def few(): return torch.rand(N, 3, 32, 32, generator=torch.Generator().manual_seed(3))

@pytest.fixture(scope="module")
def images(): return few()


def built(name):
    "A network whose weights all matter (no zeros, no norm that does nothing), and that answers several classes."
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore") # PyTorch on its own fast paths
        torch.manual_seed(1)
        net = NETWORKS[name]().eval()
        with torch.no_grad():
            for p in net.parameters(): p.add_(0.1 * torch.randn_like(p))
            find_layers(net)[-1].module.bias -= net(few()).mean(0)
    return net


def labelled(net, x):
    "The images with the network's own answers."
    with torch.no_grad(): return ImageData(x, net(x).argmax(1), tuple("0123456789"), name="own")


def write(net, layer, value):
    "Puts a weight in its place: for q, k and v the rows of `in_proj_weight`."
    with torch.no_grad():
        if not layer.part: net.get_submodule(layer.path).weight.copy_(value)
        else:
            m, i = net.get_submodule(layer.path.rpartition(".")[0]), "qkv".index(layer.part)
            if m._qkv_same_embed_dim: m.in_proj_weight[i*m.embed_dim:(i + 1)*m.embed_dim] = value
            else: getattr(m, f"{layer.part}_proj_weight").copy_(value)


def plain_accuracies(net, data, changes, attack):
    "(clean, adversarial) of a deep copy with other weights; the attack is made on the copy."
    copied = copy.deepcopy(net)
    for layer, value in changes: write(copied, layer, value)
    x, y = data.batch(0, len(data)), data.labels
    bad = attack.perturb(copied, x, y)
    with torch.no_grad(): return [float((copied(z).argmax(1) == y).double().mean()) for z in (x, bad)]


def some_layers(net):
    "The first, the last, one between, and the projections of one attention."
    layers = find_layers(net)
    return [layers[0], layers[-1], layers[len(layers)//2], *[la for la in layers if la.part][:3]]


# -- layers

@quick
def test_projections_of_an_attention_are_layers():
    table = layer_table(vit())
    names = [f"encoder.layers.encoder_layer_0.self_attention.{part}" for part in ("q", "k", "v", "out_proj")]
    assert [name for name in table.index if "layer_0.self" in name] == names
    assert set(table.loc[names, "shape"]) == {"32×32"} and set(table.loc[names, "kind"]) == {"linear"}
    whole = sum(p.numel() for name, p in vit().named_parameters() if "in_proj_weight" in name)
    assert table.weights[[name[-1] in "qkv" and name[-2] == "." for name in table.index]].sum() == whole


@quick
def test_tied_and_hooked_attentions():
    tied = nn.Sequential(nn.MultiheadAttention(4, 2), nn.MultiheadAttention(4, 2))
    tied[1].in_proj_weight = tied[0].in_proj_weight
    assert [la.name for la in find_layers(tied)] == ["0.q", "0.k", "0.v", "0.out_proj", "1.out_proj"]
    tied[0].register_forward_hook(lambda *a: None) # may do anything
    assert [la.name for la in find_layers(tied)] == ["0.out_proj", "1.q", "1.k", "1.v", "1.out_proj"]


# -- sweeps

@pytest.mark.parametrize("name", NETWORKS)
def test_filter_sweep_is_the_plain_loop(name, images):
    net, attack = built(name), FGSM(0.02)
    data, layers = labelled(net, images), {la.name: la for la in some_layers(net)}
    before = copy.deepcopy(net.state_dict())
    assert len(data.labels.unique()) > 2
    with warnings.catch_warnings():
        if name == "looking": warnings.filterwarnings("ignore", "This network cannot be cut")
        else: warnings.filterwarnings("error", "This network cannot be cut")
        result = filter_sweep(net, data, layers=list(layers), filters=["high_pass", "pulse"], thresholds=3,
                              attack=attack, device="cpu", progress=False)
    for key in layers:
        for one in ("high_pass", "pulse"):
            plan = plan_filter(layers[key].weight, one, 3)
            want = [plain_accuracies(net, data, [(layers[key], plan.filtered(i)[0])], attack) for i in range(3)]
            got = result.accuracy.sel(layer=key, filter=one).transpose("threshold", "stress").values
            assert got.tolist() == want, (key, one)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_all_layers_together(images):
    net, attack = built("vit"), FGSM(0.02)
    data, layers = labelled(net, images), find_layers(net)
    result = filter_sweep(net, data, scope="global", filters=["high_pass"], thresholds=4, attack=attack, device="cpu",
                          progress=False)
    plan = plan_filter([la.weight for la in layers], "high_pass", 4)
    want = [plain_accuracies(net, data, list(zip(layers, plan.filtered(i))), attack) for i in range(4)]
    assert result.accuracy.squeeze(drop=True).transpose("threshold", "stress").values.tolist() == want


@pytest.mark.parametrize("name", ["encoder", "vit", "looking"])
def test_whole_parameters_of_an_attention_can_be_edited(name, images):
    net = built(name)
    data, layer = labelled(net, images), next(la for la in find_layers(net) if la.part)
    outer, m = layer.path.rpartition(".")[0], layer.module
    own = ["in_proj_weight" if m._qkv_same_embed_dim else "k_proj_weight", "in_proj_bias"]
    new = [{f"{outer}.{k}": getattr(m, k).detach() * s for k in own} for s in (-1, 0.3)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This network cannot be cut")
        engine = EditEngine(net, device="cpu")
    got = engine.evaluate(Edits(tuple(new[0]), 2, lambda i: new[i]), images[None], data.labels)
    for i in range(2):
        copied = copy.deepcopy(net)
        copied.load_state_dict(new[i], strict=False)
        with torch.no_grad(): want = copied(images).argmax(1) == data.labels
        assert np.array_equal(got[i, 0], want.numpy()) and not want.all()


def test_the_cut_is_at_the_projection(images):
    net = built("vit")
    engine, data = EditEngine(net, device="cpu"), labelled(net, images)
    last = [la for la in find_layers(net) if la.part == "v"][-1]
    edits = Edits((f"{last.path}.weight",), 1, lambda i: {f"{last.path}.weight": last.weight * 0})
    engine.evaluate(edits, images[None], data.labels)
    place = next(iter(engine._cuts.values()))
    assert len(place.after) < len(engine.network.steps) / 3 # of two blocks the end of the second
    assert not any("conv" in s.name or "_0_" in s.name for s in place.after)


@quick
def test_pruned_projections_are_seen_and_cut(images):
    net = built("encoder")
    m = net.encoder.layers[0].self_attn
    prune.l1_unstructured(m, "in_proj_weight", 0.5)
    q = next(la for la in find_layers(net) if la.part == "q")
    assert torch.equal(q.weight, m.in_proj_weight[:16].detach()) and (q.weight == 0).any()
    engine = EditEngine(net, device="cpu")
    assert engine.traced and torch.equal(engine.net.get_parameter(f"{q.path}.weight"), q.weight)


@quick
def test_a_layer_without_a_range_is_left_out(images):
    net = built("group_norm")
    nn.init.zeros_(net.head.weight)
    data = ImageData(images, torch.arange(N) % 10, tuple("0123456789"), name="any")
    with pytest.warns(UserWarning, match="weights are equal.*head"):
        result = filter_sweep(net, data, thresholds=2, filters=["pulse"], device="cpu", progress=False)
    assert result.layer.values.tolist() == ["stem", "depthwise"]
    with pytest.raises(ValueError, match="no range to sweep"):
        filter_sweep(net, data, layers="head", thresholds=2, device="cpu", progress=False)


# -- activations and coverage

@quick
def test_tokens_first_and_images_first_are_read_alike(images):
    first, second = built("encoder"), built("sequence_first")
    second.load_state_dict(first.state_dict())
    with pytest.warns(UserWarning, match="inside an attention"): got = record_activations(first, images, device="cpu")
    with pytest.warns(UserWarning, match="inside an attention"):
        turned = record_activations(second, images, device="cpu")
    assert got.keys() == turned.keys() and "encoder.layers.1.self_attn.out_proj" in got
    for k in got: assert got[k].shape == turned[k].shape and torch.allclose(got[k], turned[k], atol=1e-5), k
    covered = [neuron_coverage(net, labelled(net, images), [NC(0.25)], device="cpu", progress=False)
               for net in (first, second)]
    assert np.array_equal(*(c.first.values for c in covered))
    axes, units = covered[0].channel_axis.to_series(), covered[0].layer_units.to_series()
    out = "encoder.layers.0.self_attn.out_proj"
    assert axes["patches"] == 1 and axes["encoder.layers.0.linear1"] == axes[out] == -1 and units[out] == 16


@quick
def test_out_proj_is_what_the_attention_puts_out(images):
    net, seen = built("vit"), []
    name = "encoder.layers.encoder_layer_1.self_attention"
    handle = net.get_submodule(name).register_forward_hook(lambda m, a, y: seen.append(y[0].clone()))
    with torch.no_grad(): net(images)
    handle.remove()
    got = record_activations(net, images, f"{name}.out_proj", device="cpu")[f"{name}.out_proj"]
    assert torch.allclose(got, seen[0], atol=1e-6)


# -- kernels

PATCHES = dict(vit="conv_proj", swin="features.0.0", convnext="features.0.0", timm_vit="patch_embed.proj",
               timm_convnext="stem.0")

@pytest.mark.parametrize("name", PATCHES)
def test_kernels_of_a_patch_embedding(name, images):
    net = built(name)
    data = labelled(net, images)
    result = kernel_dropout(net, data, remove="weights", device="cpu", progress=False)
    assert result.attrs["layer"] == PATCHES[name]
    layer = find_layers(net, PATCHES[name])[0]
    for k in range(0, result.sizes["kernel"], 5): # "weights": kernel and bias
        copied = copy.deepcopy(net)
        conv = copied.get_submodule(layer.path)
        with torch.no_grad():
            conv.weight[k], conv.bias[k] = 0, 0
            want = float((copied(images).argmax(1) == data.labels).double().mean())
        assert float(result.accuracy.sel(kernel=k, stress="clean")) == want, k
    moved = adversarial_targeting(net, data, FGSM(0.05), [0, 1], n_perm=99, device="cpu", progress=False)
    bad = FGSM(0.05).perturb(net, images, data.labels)
    with torch.no_grad(): maps = [net.get_submodule(layer.path)(x) for x in (images, bad)]
    want = (maps[1] - maps[0]).abs().mean((2, 3)).T
    got = moved.distance.sel(source="attack").squeeze(drop=True).values
    assert np.allclose(got, want.numpy(), atol=1e-5)


# -- training

@quick
def test_held_rows_stay_whatever_the_optimiser_does(images):
    net = built("encoder").train()
    m, names = net.encoder.layers[0].self_attn, ["encoder.layers.0.self_attn.k"]
    steps = TrainingSteps(net, "adamw", 0.1, weight_decay=0.1, total=2, device=torch.device("cpu"))
    steps.step(images, torch.arange(N) % 10) # momentum of all rows
    weight, bias = (p.detach().clone() for p in (m.in_proj_weight, m.in_proj_bias))
    steps.held.hold(names)
    steps.step(images, torch.arange(N) % 10)
    still = [(now == was).flatten(1).all(1) if now.ndim > 1 else now == was
             for now, was in ((m.in_proj_weight, weight), (m.in_proj_bias, bias))]
    assert [row.tolist() for row in still] == [[False]*16 + [True]*16 + [False]*16]*2
    steps.held.hold()
    steps.step(images, torch.arange(N) % 10)
    assert not (m.in_proj_weight == weight).flatten(1).all(1).any()


def test_selective_training_of_a_vision_transformer(images):
    net, how = built("vit"), dict(batch_size=8, device="cpu", progress=False)
    data, twin = labelled(net, images), copy.deepcopy(net)
    kept = "encoder.layers.encoder_layer_0.self_attention.v"
    log = selective_fit(net, data, epochs=2, every=1, rule=lambda scores, threshold, seed: [kept], held_out=data,
                        layers=[kept, "conv_proj"], thresholds=2, attack=FGSM(0.02),
                        sweep=dict(filters=["high_pass"], control=1), **how)
    assert log.frozen.sel(layer=kept).values.tolist() == [False, True]
    fit(twin, data, epochs=1, **how) # the first epoch, in which nothing rests
    now, then = (m.get_submodule(kept[:-2]).in_proj_weight.detach() for m in (net, twin))
    assert torch.equal(now[64:], then[64:]) and not (now[:64] == then[:64]).all(1).any()


# -- sentences

@quick
@pytest.mark.parametrize("name", ["vit", "convnext", "timm_swin"])
def test_networks_without_batchnorm_say_so(name, images):
    net = built(name)
    with pytest.raises(ValueError, match="BatchNorm with running statistics, but .* has LayerNorm"):
        bn_probe(net, labelled(net, images), device="cpu", progress=False)
    with pytest.raises(ValueError, match="has LayerNorm, over the features"): swap_norm(net, "batch")


@quick
def test_group_norm_is_swapped_and_probed(images):
    net = built("group_norm")
    swapped = swap_norm(net, "none")
    with torch.no_grad():
        x = net.stem(images) * net.norm.weight.view(-1, 1, 1) + net.norm.bias.view(-1, 1, 1)
        want = net.head(net.depthwise(x.relu()).mean((2, 3)))
        assert torch.allclose(swapped(images), want, atol=1e-5)
    with pytest.warns(UserWarning, match="Left out: statistic_gap"):
        assert "residual_features" in bn_probe(net, labelled(net, images), device="cpu", progress=False)
