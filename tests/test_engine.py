"""The engine against the plain loop: the same images right, whatever the network, the attack and the BatchNorm mode."""
import copy
import json
import resource
import threading
import time
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fragility_nb.models.activations import find_layers
from fragility_nb.stress.attacks import FGSM, PGD
from fragility_nb.engine.engine import EditEngine
from fragility_nb.engine.job import Edits
from fragility_nb.engine import tuning
from fragility_nb.engine.tuning import LayerCall
from fragility_nb.engine.ways import LayerOp, back_ways, pointwise
from fragility_nb.models.wrap import Normalized, model_hash
from fragility_nb.models.create import create_model

torchvision = pytest.importorskip("torchvision")
zoo = torchvision.models


class CifarBlock(nn.Module):
    "A basic block of He et al. 2016 (§4.2), option A: the shortcut takes every second pixel, pads channels with zeros."
    def __init__(self, w_in, w_out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(w_in, w_out, 3, stride, 1, bias=False), nn.BatchNorm2d(w_out)
        self.conv2, self.bn2 = nn.Conv2d(w_out, w_out, 3, 1, 1, bias=False), nn.BatchNorm2d(w_out)
        self.stride, self.more = stride, w_out - w_in
    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.more: x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.more//2, self.more//2))
        return F.relu(y + x)

def cifar_resnet20(weights=None, num_classes=10):
    shapes = [(16, 16, 1)]*3 + [(16, 32, 2)] + [(32, 32, 1)]*2 + [(32, 64, 2)] + [(64, 64, 1)]*2
    blocks = [CifarBlock(w_in, w_out, stride) for w_in, w_out, stride in shapes]
    return nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes))

def vgg11_bn(weights=None, num_classes=10):
    "torchvision's, with 64 instead of 4,096 units in its linear layers, to be quick."
    net = zoo.vgg11_bn(weights=None, num_classes=num_classes)
    a, b, c = nn.Linear(512*7*7, 64), nn.Linear(64, 64), nn.Linear(64, num_classes)
    net.classifier = nn.Sequential(a, nn.ReLU(True), nn.Dropout(), b, nn.ReLU(True), nn.Dropout(), c)
    return net

def inception_v4(weights=None, num_classes=10):
    return pytest.importorskip("timm").create_model("inception_v4", pretrained=False, num_classes=num_classes)

NETWORKS = {"resnet18": zoo.resnet18, "resnet50": zoo.resnet50, "squeezenet1_1": zoo.squeezenet1_1,
            "shufflenet_v2_x1_0": zoo.shufflenet_v2_x1_0, "vgg11_bn": vgg11_bn, "densenet121": zoo.densenet121,
            "googlenet": partial(zoo.googlenet, aux_logits=False, init_weights=False), "cifar_resnet20": cifar_resnet20,
            "inception_v3": partial(zoo.inception_v3, init_weights=False), "inception_v4": inception_v4}
LARGE = {"inception_v3": 75, "inception_v4": 75} # smallest images that they take, in pixels
N = 32
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU")


def settled(net, x):
    "The network with BatchNorm statistics of real activations."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norms = [m.train() for m in net.eval().modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        with torch.no_grad(): net(x)
        for m in norms:
            with torch.no_grad():
                m.weight.uniform_(0.5, 1.5)
                m.bias.uniform_(-0.2, 0.2)
    return net.eval()


def images(size=32, n=N, seed=1):
    "Smooth random images (n, 3, size, size) in [0, 1]."
    small = torch.rand(n, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(small, (size, size), mode="bilinear").contiguous()


def named(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Normalized(NETWORKS[name](weights=None, num_classes=10), [0.5]*3, [0.25]*3)


def own_labels(net, x):
    "The network's own predictions, every fifth one wrong."
    with torch.no_grad(): y = net(x).argmax(1)
    y[::5] = (y[::5] + 1) % 10
    return y


def masks(layer, n=3):
    "A high-pass filter of one layer."
    w, path = layer.weight, f"{layer.path}.weight"
    alphas = torch.linspace(w.min(), w.max(), n + 2)[1:-1]
    return Edits((path,), n, lambda i: {path: w * (w > alphas[i])})


def global_masks(net, n=3):
    "One threshold for all layers."
    layers = find_layers(net)
    low = min(la.weight.min() for la in layers).item()
    alphas = np.linspace(low, 0, n + 2)[1:-1]
    return Edits(tuple(f"{la.path}.weight" for la in layers), n,
                 lambda i: {f"{la.path}.weight": la.weight * (la.weight > alphas[i]) for la in layers})


def own_place(net, path):
    "The parameter of this name; of an attention's projection its rows."
    own = dict(net.named_parameters(remove_duplicate=False))
    if path in own: return own[path]
    outer, part, kind = path.rsplit(".", 2)
    return own[f"{outer}.in_proj_{kind}"].chunk(3)["qkv".index(part)]


def copy_with(net, new, bn_mode="running"):
    "What the plain loop does: a deep copy with other weights."
    copied = copy.deepcopy(net).eval()
    with torch.no_grad():
        for path, value in new.items(): own_place(copied, path).copy_(value)
    for m in copied.modules():
        if bn_mode == "batch" and isinstance(m, nn.modules.batchnorm._BatchNorm): m.train()
    return copied


def plain_logits(net, edits, stresses, bn_mode="running", batch_size=100):
    "Logits (E, S, N, K) by the plain loop."
    out = []
    for i in range(len(edits)):
        copied = copy_with(net, edits[i], bn_mode)
        with torch.no_grad():
            out.append(torch.stack([torch.cat([copied(b) for b in x.split(batch_size)]) for x in stresses]))
    return torch.stack(out)


def agree(got, logits, y, ties=1e-5):
    "Equal, except where the two largest logits are as good as equal; what is not finite is wrong."
    want = ((logits.argmax(-1) == y) & torch.isfinite(logits).all(-1)).numpy()
    top = logits.topk(2, -1).values
    tie = ((top[..., 0] - top[..., 1]) <= ties * logits.abs().amax(-1)).numpy()
    assert got.shape == want.shape and got.dtype == bool
    assert not ((got != want) & ~tie).any(), f"{((got != want) & ~tie).sum()} of {want.size} images differ"


def spread(net, n):
    layers = find_layers(net)
    return [layers[i] for i in np.unique(np.linspace(0, len(layers) - 1, n).round().astype(int))]


@pytest.fixture(scope="module", params=NETWORKS)
def case(request):
    "A network, its images under two stresses, its labels, layers to edit; of the large ones fewer."
    size = LARGE.get(request.param, 32)
    x = images(size, N if size == 32 else 8)
    net = settled(named(request.param), x)
    both = torch.stack([x, (x + 0.05*torch.randn(x.shape, generator=torch.Generator().manual_seed(3))).clamp(0, 1)])
    return net, both, own_labels(net, x), spread(net, 3)[:3 if size == 32 else 2]


def at_once(y):
    "Images of a batch: two batches, or one where there are few."
    return len(y) // 2 if len(y) == N else len(y)


def loose(bn_mode, y):
    """How near two logits make a tie: statistics of 8 images on 1×1 maps move Inception v4's logits by 1 % from one
    memory layout to the other."""
    return 1e-5 if bn_mode == "running" else 1e-3 if len(y) == N else 5e-2


@pytest.mark.parametrize("bn_mode", ["running", "batch"])
def test_zoo_fixed(case, bn_mode):
    net, x, y, layers = case
    before, half = model_hash(net), at_once(y)
    engine = EditEngine(net, bn_mode=bn_mode, device="cpu")
    assert engine.traced
    for layer in layers[1:]:
        agree(engine.evaluate(masks(layer, 2), x, y, batch_size=half),
              plain_logits(net, masks(layer, 2), x, bn_mode, half), y, loose(bn_mode, y))
    if bn_mode == "running":
        edits = global_masks(net, 1)
        agree(engine.evaluate(edits, x, y), plain_logits(net, edits, x), y, 1e-4)
    assert engine.traced and model_hash(net) == before and not any(m.training for m in net.modules())


@pytest.mark.parametrize("bn_mode", ["running", "batch"])
def test_zoo_adaptive(case, bn_mode):
    net, x, y, layers = case
    attack, half = FGSM(2/255), at_once(y)
    engine, wrong, unsure, judged = EditEngine(net, bn_mode=bn_mode, device="cpu"), 0, 0, 0
    for layer in layers[:1] if bn_mode == "running" else layers[1:2]:
        edits = masks(layer, 1)
        got = engine.evaluate(edits, x[:1], y, attack=attack, batch_size=half)
        assert got.shape == (1, 2, len(y))
        copied = copy_with(net, edits[0], bn_mode)
        want, again = (attacked(copied, attack, x[0], y, layout)
                       for layout in (torch.contiguous_format, torch.channels_last))
        agree(got[:, :1], want[0][None, None], y, loose(bn_mode, y))
        wrong += int((got[0, 1] != want[1]).sum())
        unsure += int((again[1] != want[1]).sum())
        judged += len(y)
    # the sign of a gradient that is nearly 0 hangs on its last bit: the plain loop disagrees with itself in another
    # memory layout
    assert wrong <= 2*unsure + 0.02*judged, f"{wrong} of {judged}; the plain loop with itself {unsure}"


def attacked(net, attack, x, y, layout):
    """Logits of the clean images, and which are right after FGSM on this network, in a memory layout; batches of half
    the images."""
    clean, right, net = [], [], net.to(memory_format=layout)
    for bx, by in zip(x.split(at_once(y)), y.split(at_once(y))):
        leaf = bx.clone().requires_grad_()
        logits = net(leaf)
        gradient, = torch.autograd.grad(F.cross_entropy(logits, by, reduction="sum"), leaf)
        with torch.no_grad(): right.append(net(attack.step(bx, gradient)).argmax(1) == by)
        clean.append(logits.detach())
    return torch.cat(clean), torch.cat(right).numpy()


# Networks with a shape of their own

class Branches(nn.Module):
    "Two branches of different depth, one through a layer that both stages share, joined by cat and by addition."
    def __init__(self):
        super().__init__()
        self.stem, self.bn, self.left = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.shared, self.out = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(16, 10)
    def forward(self, x):
        x = F.relu(self.bn(self.stem(x)), inplace=True)
        a, b = self.left(x), self.shared(F.relu(self.shared(x)))
        b += x
        return self.out(torch.cat([a, b], 1).mean((2, 3)))

class Tied(nn.Module):
    "One weight in two layers."
    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3*12*12, 10)
        self.b.weight = self.a.weight
    def forward(self, x): return self.out(self.b(F.relu(self.a(x))).flatten(1))

class Functional(nn.Module):
    "Weights used by functions, one of them standardised first; a view of a size."
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, padding="same")
        self.scale, self.out, self.drop = nn.Parameter(torch.rand(8, 1, 1) + 0.5), nn.Linear(8*25, 10), nn.Dropout(0.5)
    def forward(self, x):
        w = self.second.weight
        x = F.relu(F.conv2d(x, self.first.weight, self.first.bias, 2)) * self.scale
        x = F.conv2d(x, w - w.mean((1, 2, 3), keepdim=True), self.second.bias, padding=1)
        x = F.dropout(self.drop(x), training=self.training)
        return F.linear(x.view(x.size(0), -1), self.out.weight, self.out.bias)

class InPlace(nn.Module):
    "What follows an activation in place reads the activated values, by whatever name."
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.out, self.act = nn.Linear(6, 10), nn.ReLU(inplace=True)
    def forward(self, x):
        x = self.a(x)
        y = self.b(self.act(x))
        x += y
        return self.out(x.mul_(0.5).mean((2, 3)))

class Attention(nn.Module):
    "A weight that its own module never uses: `attention.out_proj`."
    def __init__(self, batch_first=True):
        super().__init__()
        self.patch, self.attention = nn.Conv2d(3, 8, 4, stride=4), nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.out = nn.Linear(8, 10)
        self.norm, self.first = nn.LayerNorm(8), batch_first
    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        if not self.first: x = x.transpose(0, 1)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        return self.out(x.mean(1 if self.first else 0))

class Looping(nn.Module):
    "A loop that depends on the images: cannot be traced."
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 10)
        self.bn = nn.BatchNorm2d(3)
    def forward(self, x):
        for _ in range(1 + int(x.shape[-1] > 4 and bool(x.sum() > -1))): x = F.relu(self.bn(self.conv(x)))
        return self.out(x.mean((2, 3)))

class Partial(nn.Module):
    "Writes into a part of a tensor: cannot be cut."
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 6, 3), nn.Linear(6, 10)
    def forward(self, x):
        x = self.conv(x)
        x[:, :3] = x[:, :3].relu()
        return self.out(x.mean((2, 3)))

class Keywords(nn.Module):
    "Pooling and activation called by keyword."
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.out = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6*4, 10)
    def forward(self, x):
        x = F.max_pool2d(input=F.relu(input=self.bn(self.conv(x))), kernel_size=2, stride=2)
        return self.out(F.adaptive_avg_pool2d(input=x, output_size=2).flatten(start_dim=1))

class TwoNorms(nn.Module):
    "Two BatchNorms in a row, after a convolution and before one."
    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.BatchNorm2d(6)
        self.last, self.out = nn.Conv2d(6, 6, 3), nn.Linear(6, 10)
    def forward(self, x): return self.out(self.last(F.relu(self.second(self.first(self.conv(x))))).mean((2, 3)))

class ComputedNorm(nn.Module):
    "A BatchNorm by a function, whose statistics are computed as the network runs."
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.out = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Linear(6, 10)
    def forward(self, x):
        mean, var = self.bn.running_mean + 0.1, self.bn.running_var * 2
        x = F.batch_norm(self.conv(x), mean, var, self.bn.weight, self.bn.bias, training=False, eps=1e-3)
        return self.out(F.relu(x).mean((2, 3)))

def small(net, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settled(net(), images(12))

def transposed():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
                         nn.ConvTranspose2d(4, 6, 3, stride=2), nn.BatchNorm2d(6),
                         nn.ELU(inplace=True), nn.Conv2d(6, 6, 3, padding=1, padding_mode="circular", groups=2),
                         nn.Flatten(), nn.LazyLinear(10))

def normed():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3)), nn.BatchNorm2d(6), nn.ReLU(),
                        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 10))
    return net

SMALL = dict(branches=Branches, tied=Tied, functional=Functional, in_place=InPlace, attention=Attention,
             sequence_first=lambda: Attention(False), transposed=transposed, keywords=Keywords, two_norms=TwoNorms,
             computed_norm=ComputedNorm)


@pytest.mark.parametrize("stack", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_shapes_of_networks(name, stack):
    x = images(12)
    net = small(SMALL[name])
    y = own_labels(net, x)
    engine = EditEngine(net, device="cpu", stack=stack)
    for layer in find_layers(net):
        agree(engine.evaluate(masks(layer), torch.stack([x, 1 - x]), y), plain_logits(net, masks(layer), [x, 1 - x]), y)
    edits = global_masks(net)
    agree(engine.evaluate(edits, x[None], y), plain_logits(net, edits, [x]), y)
    assert engine.traced


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"in_place"})) # that one has no gradient itself
def test_adaptive_on_shapes_of_networks(name):
    x = images(12)
    net = small(SMALL[name])
    y, attack = own_labels(net, x), FGSM(0.03)
    engine = EditEngine(net, device="cpu")
    for layer in find_layers(net):
        edits = masks(layer, 2)
        got = engine.evaluate(edits, x[None], y, attack=attack)
        for i in range(2):
            copied = copy_with(net, edits[i])
            logits = torch.stack([copied(x), copied(attack.perturb(copied, x, y))]).detach()
            agree(got[i], logits, y, 1e-3)


@pytest.mark.parametrize("net, attack", [(Looping, None), (Partial, None), (Looping, FGSM(0.03)),
                                         (Branches, PGD(0.03, steps=2))])
def test_slow_path_and_iterated_attack(net, attack):
    x, net = images(12), small(net)
    y, edits = own_labels(net, x), masks(find_layers(net)[0])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        engine = EditEngine(net, device="cpu")
        got = engine.evaluate(edits, x[None], y, attack=attack)
        again = engine.evaluate(edits, x[None], y, attack=attack)
    assert (got == again).all()
    slow = not isinstance(net, Branches)
    assert engine.traced == (not slow) and sum("cannot be cut" in str(w.message) for w in told) == slow
    for i in range(len(edits)):
        copied = copy_with(net, edits[i])
        stresses = [copied(x)] + ([copied(attack.perturb(copied, x, y))] if attack else [])
        agree(got[i], torch.stack(stresses).detach(), y, 1e-4)


def test_slow_path_by_batch():
    x, net = images(12), small(Looping)
    y, edits = own_labels(net, x), masks(find_layers(net)[0])
    with pytest.warns(UserWarning, match="cannot be cut"): engine = EditEngine(net, bn_mode="batch", device="cpu")
    agree(engine.evaluate(edits, x[None], y, batch_size=16), plain_logits(net, edits, [x], "batch", 16), y, 1e-4)


def test_biases_norms_and_computed_weights():
    x = images(12)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(600, 10))
    net = settled(net, x)
    y = own_labels(net, x)
    for path in ("0.bias", "1.weight", "1.bias", "4.bias"):
        p = net.get_parameter(path).detach()
        edits = Edits((path,), 2, lambda i, p=p, path=path: {path: p * (i - 0.5) + i})
        agree(EditEngine(net, device="cpu").evaluate(edits, x[None], y), plain_logits(net, edits, [x]), y)
    net = small(normed)
    w = net[0].weight.detach()
    twin = copy.deepcopy(net)
    twin[0] = nn.Conv2d(3, 6, 3)
    twin[0].load_state_dict(dict(weight=w, bias=net[0].bias.detach()))
    edits = Edits(("0.weight",), 2, lambda i: {"0.weight": w * (w > 0.1*i)})
    agree(EditEngine(net, device="cpu").evaluate(edits, x[None], own_labels(net, x)), plain_logits(twin, edits, [x]),
          own_labels(net, x))
    assert nn.utils.parametrize.is_parametrized(net[0]) and torch.equal(net[0].weight, w)


def test_batchnorm_without_statistics():
    x = images(12)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.ReLU(), nn.Flatten(),
                        nn.Linear(600, 10)).eval()
    y, edits = own_labels(net, x), masks(find_layers(net)[0])
    engine = EditEngine(net, device="cpu")
    agree(engine.evaluate(edits, torch.stack([x, 1 - x]), y, batch_size=20),
          plain_logits(net, edits, [x, 1 - x], batch_size=20), y)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_wrong(value):
    model = create_model("cnn3")
    x, y = torch.rand(1, 40, 1, 8, 8), torch.zeros(40, dtype=torch.long)
    path = "network.linear.bias"
    edits = Edits((path,), 1, lambda i: {path: torch.tensor([value] + [0.]*9)})
    engine = EditEngine(model, device="cpu")
    assert not engine.evaluate(edits, x, y).any()
    assert not engine.evaluate(edits, x, y, attack=FGSM(0.01)).any()


def test_results_do_not_depend_on_batches_memory_or_history():
    x = images(32, 70)
    net = settled(named("shufflenet_v2_x1_0"), x)
    y, both = own_labels(net, x), torch.stack([x, 1 - x])
    layers = spread(net, 4)
    fresh = [EditEngine(net, device="cpu").evaluate(masks(la), both, y) for la in layers]
    engine = EditEngine(net, device="cpu")
    for kwargs in ({}, dict(batch_size=7), dict(batch_size=64)):
        for la, want in zip(layers, fresh): assert (engine.evaluate(masks(la), both, y, **kwargs) != want).sum() <= 1
    tight = EditEngine(net, device="cpu", memory="4MB")
    for la, want in zip(reversed(layers), reversed(fresh)):
        assert (tight.evaluate(masks(la), both, y) != want).sum() <= 1
    assert (engine.evaluate(masks(layers[1]), 1 - both, y)
            == EditEngine(net, device="cpu").evaluate(masks(layers[1]), 1 - both, y)).all()
    both[0] = 0.5 # the same tensor with other values must not meet stored activations
    assert (engine.evaluate(masks(layers[1]), both, y)
            == EditEngine(net, device="cpu").evaluate(masks(layers[1]), both, y)).all()


@pytest.mark.parametrize("memory", ["2GiB", "100kB"])
def test_statistics_of_the_batch_see_only_the_batch(memory):
    x = images(12, 45) # neither the images nor the stresses nor the last batch fill a multiple of 32
    net = small(transposed)
    y, both = own_labels(net, x), torch.stack([x, 1 - x])
    for layer in find_layers(net)[1:]:
        got = EditEngine(net, bn_mode="batch", device="cpu", memory=memory).evaluate(masks(layer), both, y,
            batch_size=20)
        agree(got, plain_logits(net, masks(layer), both, "batch", 20), y, 1e-4)


class Preactivated(nn.Module):
    "BatchNorm that nothing can take in, with and without a ReLU of its own, and one whose ReLU is added to in place."
    def __init__(self):
        super().__init__()
        self.conv, self.mix, self.out = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Linear(6, 10)
        self.a, self.b, self.c = (nn.BatchNorm2d(6) for _ in range(3))
    def forward(self, x):
        x = F.max_pool2d(self.conv(x), 2)
        y = F.relu(self.a(x)) + self.mix(x)
        z = self.b(y)
        return self.out((F.relu(self.c(z)) + z).mean((2, 3)))


@pytest.mark.parametrize("attack", [None, FGSM(0.03)])
def test_batchnorm_with_its_relu(attack):
    x, net = images(12), small(Preactivated)
    y, engine = own_labels(net, x), EditEngine(net, device="cpu")
    for layer in find_layers(net):
        edits = masks(layer)
        got = engine.evaluate(edits, x[None], y, attack=attack)
        for i in range(len(edits)):
            copied = copy_with(net, edits[i])
            stresses = [copied(x)] + ([copied(attack.perturb(copied, x, y))] if attack else [])
            agree(got[i], torch.stack(stresses).detach(), y, 1e-4)
    assert engine.traced


class Products(TorchDispatchMode):
    "Counts products made image by image."
    def __init__(self):
        super().__init__()
        self.by_image = 0
    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.by_image += op.overloadpacket in (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
        return op(*args, **(kwargs or {}))

@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("layout", ["channels_last", "contiguous", "slice"])
def test_pointwise_is_one_product(layout, stride):
    x, w, b = torch.randn(32, 24, 4, 4), torch.randn(10, 12), torch.randn(10)
    x = x[:, :12].contiguous() if layout == "contiguous" else x.contiguous(memory_format=torch.channels_last)[:, 12:]
    if layout == "channels_last": x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), Products() as products: got = pointwise(x, w, b, stride)
    assert torch.allclose(got, F.conv2d(x, w[:, :, None, None], b, stride), atol=1e-5)
    assert products.by_image == 0

def test_equal_edits_once_and_progress():
    model, made, done = create_model("cnn3"), [], []
    w, path = model.network.conv2.weight.detach(), "network.conv2.weight"
    def make(i):
        made.append(i)
        return {path: w * (i % 2)}
    engine = EditEngine(model, device="cpu")
    x, y = torch.rand(2, 40, 1, 8, 8), torch.zeros(40, dtype=torch.long)
    got = engine.evaluate(Edits((path,), 6, make, keys=[i % 2 for i in range(6)]), x, y, progress=done.append)
    assert made == [0, 1] and got.shape == (6, 2, 40) and (got[::2] == got[0]).all() and (got[1::2] == got[1]).all()
    assert sum(done) == pytest.approx(6)
    nothing = engine.evaluate(Edits((), 1, lambda i: {}), x, y)
    assert (nothing[0] == got[1]).all()


def test_interrupted_then_used_again():
    model = create_model("cnn4")
    layer, x, y = find_layers(model)[1], torch.rand(1, 64, 1, 8, 8), torch.zeros(64, dtype=torch.long)
    engine, want = EditEngine(model, device="cpu"), EditEngine(model, device="cpu").evaluate(masks(layer), x, y)
    def stop(share): raise KeyboardInterrupt
    for attack in (None, FGSM(0.02)):
        with pytest.raises(KeyboardInterrupt): engine.evaluate(masks(layer), x, y, progress=stop, attack=attack)
    assert (engine.evaluate(masks(layer), x, y) == want).all()


def test_errors():
    model = create_model("cnn3")
    x, y, edits = torch.rand(1, 4, 1, 8, 8), torch.zeros(4, dtype=torch.long), masks(find_layers(model)[0])
    for wrong, match in ((dict(bn_mode="eval"), "bn_mode"), (dict(precision="int8"), "precision"),
                         (dict(memory="lots"), "memory")):
        with pytest.raises(ValueError, match=match): EditEngine(model, device="cpu", **wrong)
    engine = EditEngine(model, device="cpu")
    with pytest.raises(ValueError, match="S, N, C, H, W"): engine.evaluate(edits, x[0], y)
    with pytest.raises(ValueError, match="one per image"): engine.evaluate(edits, x, y[:2])
    with pytest.raises(ValueError, match="one stress"): engine.evaluate(edits, torch.cat([x, x]), y, attack=FGSM())
    with pytest.raises(ValueError, match="Unknown `paths`"):
        engine.evaluate(Edits(("network.conv9.weight",), 1, lambda i: {}), x, y)
    with pytest.raises(ValueError, match="of shape"):
        engine.evaluate(Edits(edits.paths, 1, lambda i: {edits.paths[0]: torch.ones(3)}), x, y)


class Peak:
    "The most memory that the process holds inside the block, sampled, in bytes."
    def __enter__(self):
        self.start, self.most, self.going = self.now(), 0, True
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()
        return self
    def now(self):
        with open("/proc/self/statm") as f: return int(f.read().split()[1]) * resource.getpagesize()
    def watch(self):
        while self.going:
            self.most = max(self.most, self.now() - self.start)
            time.sleep(0.002)
    def __exit__(self, *_):
        self.going = False
        self.thread.join()


@pytest.mark.skipif(not __import__("os").path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_bound():
    x = images(32, 512)
    net = settled(named("squeezenet1_1"), x[:64])
    y, both = own_labels(net, x), torch.stack([x, 1 - x])
    layer = find_layers(net)[5]
    engine = EditEngine(net, device="cpu", memory="64MiB")
    want = engine.evaluate(masks(layer), both[:, :64], y[:64])
    with Peak() as peak: got = engine.evaluate(masks(layer), both, y)
    assert peak.most <= 64 * 2**20, f"{peak.most / 2**20:.0f} MiB"
    assert (got[:, :, :64] != want).sum() <= 1


def test_bfloat16_is_close():
    x = images()
    net = settled(named("resnet18"), x)
    y, layer = own_labels(net, x), find_layers(net)[10]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rough = EditEngine(net, precision="bfloat16", device="cpu").evaluate(masks(layer), x[None], y)
    exact = EditEngine(net, device="cpu").evaluate(masks(layer), x[None], y)
    assert (rough == exact).mean() > 0.8


@cuda
@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x1_0"])
def test_cuda(name):
    x = images()
    net = settled(named(name), x)
    y = own_labels(net, x)
    engine = EditEngine(net, device="cuda")
    for layer in spread(net, 4):
        agree(engine.evaluate(masks(layer), x[None], y), plain_logits(net, masks(layer), [x]), y, 1e-4)
        assert engine.evaluate(masks(layer), x[None], y, attack=FGSM(0.02)).shape == (3, 2, N)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    "A folder for choices, and none remembered."
    monkeypatch.setenv("FRAGILITY_CACHE", str(tmp_path))
    monkeypatch.setattr(tuning, "_KNOWN", {})
    return tmp_path

STEM = LayerOp((32, 3, 7, 7), (3, 32, 32), (2, 2), (3, 3))
BLOCK = LayerOp((64, 32, 1, 1), (32, 8, 8))

@pytest.mark.quick
@pytest.mark.parametrize("layer", [STEM, BLOCK, LayerOp((64, 64), (6, 64)),
                                   LayerOp((64, 64, 3, 3), (64, 1, 1), padding=(1, 1))],
                         ids=["stem", "pointwise", "linear", "tiny"])
def test_choices_are_kept(own_cache, monkeypatch, layer):
    ways = tuning.chosen_way(layer), tuning.chosen_way(layer, back=True)
    kept, = json.loads((own_cache/"ways.json").read_text()).values()
    assert list(kept.values()) == list(ways[-len(kept):]) and not list(own_cache.glob(".ways*"))
    def never(*_): raise AssertionError("measured again")
    monkeypatch.setattr(tuning, "_timed", never)
    assert (tuning.chosen_way(layer), tuning.chosen_way(layer, back=True)) == ways
    monkeypatch.setattr(tuning, "_KNOWN", {}) # as another process of this machine
    assert (tuning.chosen_way(layer), tuning.chosen_way(layer, back=True)) == ways

@pytest.mark.quick
@pytest.mark.parametrize("text", ["{", "[]", '{"a": 3}', None, "folder"],
                         ids=["half", "list", "number", "bytes", "folder"])
def test_a_broken_cache_is_no_error(own_cache, text):
    path = own_cache/"ways.json"
    if text == "folder": path.mkdir()
    else: path.write_bytes(b"\xff\xfe\x00") if text is None else path.write_text(text)
    assert tuning.chosen_way(STEM, back=True) in back_ways(STEM)
    assert tuning.chosen_way(STEM, back=True) in back_ways(STEM)

@pytest.mark.quick
def test_an_unwritable_cache_is_no_error(own_cache, monkeypatch):
    (own_cache/"file").write_text("")
    monkeypatch.setenv("FRAGILITY_CACHE", str(own_cache/"file"/"below"))
    assert tuning.chosen_way(STEM, back=True) in back_ways(STEM)

@pytest.mark.quick
def test_an_unknown_way_is_measured_anew(own_cache):
    tuning.chosen_way(STEM, back=True)
    path = own_cache/"ways.json"
    path.write_text(path.read_text().replace(tuning._KNOWN.popitem()[1], "of a later version"))
    assert tuning.chosen_way(STEM, back=True) in back_ways(STEM)
    assert "of a later version" not in path.read_text()

@pytest.mark.quick
@pytest.mark.parametrize("name, layer", [("stem", STEM), ("pointwise", BLOCK)])
def test_a_wrong_way_is_never_taken(own_cache, monkeypatch, name, layer):
    "However fast it is."
    right = tuning.forward_call
    def quick_and_wrong(layer, way, w, b, rows=0):
        if way == tuning.usual_way(layer): return right(layer, way, w, b, rows)
        return lambda x: x.new_ones(len(x), layer.weight[0], *layer.after)
    monkeypatch.setattr(tuning, "forward_call", quick_and_wrong)
    monkeypatch.setattr(tuning, "forward_ways", lambda layer: [tuning.usual_way(layer), "wrong"])
    assert tuning.chosen_way(layer) == tuning.usual_way(layer)

def test_tuned_and_not_give_the_same_answers(own_cache):
    x, attack = images(), FGSM(2/255)
    for name in ("squeezenet1_1", "resnet18"):
        net = settled(named(name), x)
        y, layer = own_labels(net, x), find_layers(net)[3]
        tuned, fixed = (EditEngine(net, device="cpu", tune=t) for t in (True, False))
        assert (tuned.evaluate(masks(layer), x[None], y) == fixed.evaluate(masks(layer), x[None], y)).all()
        some, others = (e.evaluate(masks(layer), x[None], y, attack=attack) for e in (tuned, fixed))
        assert (some != others).sum() <= 2 # a gradient that is nearly 0

@pytest.mark.quick
def test_a_gradient_of_the_gradient():
    layer, w = LayerOp((16, 3, 3, 3), (3, 8, 8), padding=(1, 1)), torch.randn(16, 3, 3, 3, dtype=torch.float32)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    def twice(f):
        g, = torch.autograd.grad(f(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), x)[0]
    got, want = twice(LayerCall(layer, w, None, tune=True)), twice(lambda z: F.conv2d(z, w, padding=1))
    assert torch.allclose(got, want, rtol=1e-3, atol=1e-2 * float(want.abs().max()))


@pytest.mark.skipif(not __import__("os").path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_bound_of_large_images_under_attack():
    "The tape of 32 photographs would take four times the memory that is allowed."
    x = images(224, 32)
    net = settled(named("squeezenet1_1"), x[:8])
    y, edits = own_labels(net, x), masks(find_layers(net)[5], 1)
    engine = EditEngine(net, device="cpu", memory="128MiB")
    want = engine.evaluate(edits, x[None, :4], y[:4], attack=FGSM(2/255))
    with Peak() as peak: got = engine.evaluate(edits, x[None], y, attack=FGSM(2/255))
    assert peak.most <= 128 * 2**20, f"{peak.most / 2**20:.0f} MiB"
    assert (got[:, :, :4] != want).sum() <= 1
