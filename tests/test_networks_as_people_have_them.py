"Pruned, normed, quantised, scripted, exported, with caches and counters: the plain loop's number or one sentence."
import copy

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.activations import find_layers, record_activations
from fragility_nb.models.norms import swap_norm
from fragility_nb.models.steps import split_logits
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import copy_model, evaluating, model_hash
from fragility_nb.models.answers import match_data, predict
from fragility_nb.probes.batchnorm.residual import residual_features
from fragility_nb.probes.batchnorm.statistics import statistic_gap, statistic_stress
from fragility_nb.probes.coverage.probe import neuron_coverage
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.stress.attack_check import loss_gradient
from fragility_nb.stress.attacks import FGSM, attack_images
from fragility_nb.stress.stressors import GaussianNoise

QUIET = dict(progress=False, device="cpu")
old_weight_norm, old_spectral_norm = nn.utils.weight_norm, nn.utils.spectral_norm
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("FutureWarning", "DeprecationWarning")]


def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(),
                             nn.Linear(512, 10))


@pytest.fixture(scope="module")
def base(digits):
    net = small()
    fit(net, digits, epochs=2, lr=3e-3, batch_size=32, **QUIET)
    return net


# what was done to the network, and how torch itself undoes it with equal weights
def _pruned(net): prune.l1_unstructured(net[4], "weight", 0.5)
def _filters_pruned(net): prune.ln_structured(net[0], "weight", 0.5, n=2, dim=0)
def _twice_pruned(net):
    prune.random_unstructured(net[4], "weight", 0.3)
    prune.l1_unstructured(net[4], "weight", 0.3)
def _normed(net): old_weight_norm(net[4])
def _spectral(net): old_spectral_norm(net[4])
def _normed_anew(net): parametrizations.weight_norm(net[0])
def _all_parametrized(net):
    for i in (0, 4): parametrizations.spectral_norm(net[i])


def _unpruned(net, *at): [prune.remove(net[i], "weight") for i in at]
def _unparametrized(net, *at): [parametrize.remove_parametrizations(net[i], "weight") for i in at]


COMPUTED = {
    "pruned": (_pruned, lambda net: _unpruned(net, 4)),
    "filters pruned": (_filters_pruned, lambda net: _unpruned(net, 0)),
    "pruned twice": (_twice_pruned, lambda net: _unpruned(net, 4)),
    "weight_norm": (_normed, lambda net: nn.utils.remove_weight_norm(net[4])),
    "spectral_norm": (_spectral, lambda net: nn.utils.remove_spectral_norm(net[4])),
    "weight_norm anew": (_normed_anew, lambda net: _unparametrized(net, 0)),
    "all parametrized": (_all_parametrized, lambda net: _unparametrized(net, 0, 4)),
}


@pytest.fixture(params=COMPUTED)
def pair(request, base):
    "A network that computes weights, and a twin with the same weights as plain parameters."
    change, undo = COMPUTED[request.param]
    net, twin = copy.deepcopy(base).eval(), copy.deepcopy(base).eval()
    for one in (net, twin):
        torch.manual_seed(1)
        change(one)
    undo(twin)
    return net, twin


def plain_answers(net, data):
    with torch.no_grad(): return net.eval()(data.batch(0, len(data))).argmax(1)


@pytest.mark.filterwarnings("ignore:The unfiltered accuracy") # spectral_norm begins with weights that mean nothing
def test_sweeps_of_a_network_that_computes_its_weights_are_those_of_its_plain_twin(pair, digits):
    net, twin = pair
    few, before = digits.take(range(100)), {k: v.clone() for k, v in net.state_dict().items()}
    assert [layer.name for layer in find_layers(net)] == ["0", "4"]
    for mine, its in zip(find_layers(net), find_layers(twin)):
        assert torch.allclose(mine.weight, its.module.weight, atol=1e-6) and mine.weights == its.weights
    got, want = (filter_sweep(m, few, thresholds=5, **QUIET) for m in (net, twin))
    assert (got.correct == want.correct).all() and np.allclose(got.alpha, want.alpha)
    assert float(got.reference_accuracy[0]) == (plain_answers(net, few) == few.labels).double().mean()
    for probe in (lambda m: residual_features(m, few, **QUIET).emitted,
                  lambda m: kernel_dropout(m, few, **QUIET).correct,
                  lambda m: neuron_coverage(m, few, **QUIET).first,
                  lambda m: statistic_stress(m, few, **QUIET).correct):
        assert np.allclose(probe(net), probe(twin), atol=1e-5)
    assert torch.allclose(predict(swap_norm(net, "none"), few), predict(swap_norm(twin, "none"), few), atol=1e-4)
    after = net.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)
    assert len(model_hash(net)) == 16


def test_a_filter_of_a_pruned_layer_by_hand(base, digits):
    net, few = copy.deepcopy(base).eval(), digits.take(range(100))
    prune.l1_unstructured(net[4], "weight", 0.5)
    got = filter_sweep(net, few, thresholds=5, layers="4", filters="high_pass", **QUIET)
    theta = (net[4].weight_orig * net[4].weight_mask).detach()
    for i, alpha in enumerate(got.alpha.values.ravel()):
        twin = copy.deepcopy(base).eval()
        twin[4].weight.data = torch.where(theta.double() > alpha, theta, 0.)
        assert got.correct.values[0, 0, 0, i].tolist() == (plain_answers(twin, few) == few.labels).tolist()


def test_weights_that_were_trained_since_the_last_call_count(base):
    net = copy.deepcopy(base)
    prune.l1_unstructured(net[4], "weight", 0.5)
    with torch.no_grad(): net[4].weight_orig.mul_(3)
    assert torch.equal(find_layers(net, "4")[0].weight, (net[4].weight_orig * net[4].weight_mask).detach())


def test_a_network_with_a_computed_weight_can_be_copied_before_it_ever_ran(base):
    net = copy.deepcopy(base)
    old_weight_norm(net[4])
    prune.l1_unstructured(net[0], "weight", 0.5)
    twin, x = copy_model(net), torch.rand(4, 1, 8, 8)
    assert torch.equal(twin.eval()(x), net.eval()(x)) and twin[4].weight_g is not net[4].weight_g
    with torch.no_grad(): net[4].weight_g.mul_(2)
    assert not torch.equal(twin(x), net(x))


# -- other kinds of networks

class Extra(nn.Linear):
    "Keeps more than tensors."
    def get_extra_state(self): return {"calls": 1}
    def set_extra_state(self, state): pass


class Wrapped(nn.Module):
    "Gives more than logits, or gives them by name."
    def __init__(self, net, hand_on):
        super().__init__()
        self.net, self.hand_on = net, hand_on
    def forward(self, x): return self.hand_on(self.net(x))


def _with_extra_state(net):
    new = Extra(512, 10)
    new.load_state_dict(net[4].state_dict(), strict=False)
    return nn.Sequential(*net[:4], new)


def _quantised(net): return torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
def _exported(net): return torch.export.export(net, (torch.rand(4, 1, 8, 8),))
def _exported_for_any(net):
    sizes = ({0: torch.export.Dim("images", min=1, max=4096)},)
    return torch.export.export(net, (torch.rand(4, 1, 8, 8),), dynamic_shapes=sizes).module()


KINDS = {
    "extra state": _with_extra_state, "quantised": _quantised, "scripted": torch.jit.script,
    "traced": lambda net: torch.jit.trace(net, torch.rand(4, 1, 8, 8)),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(net)), "an exported program": _exported,
    "exported for 4 images": lambda net: _exported(net).module(), "exported": _exported_for_any,
    "a tuple": lambda net: Wrapped(net, lambda y: (y, y)), "a dict": lambda net: Wrapped(net, lambda y: {"logits": y}),
}
CALLS = dict(
    predict=lambda m, d: predict(m, d).argmax(1), match=lambda m, d: match_data(m, d),
    stress=lambda m, d: stress_sweep(m, d, GaussianNoise(), (0, 1), **QUIET).pred.values[0, 0, 0],
    filters=lambda m, d: filter_sweep(m, d, thresholds=3, **QUIET), acts=lambda m, d: record_activations(m, d),
    coverage=lambda m, d: neuron_coverage(m, d, **QUIET), kernels=lambda m, d: kernel_dropout(m, d, **QUIET),
    gap=lambda m, d: statistic_gap(m, d, **QUIET),
    residual=lambda m, d: residual_features(m, d, modes="running", **QUIET),
    fit=lambda m, d: fit(m, d, epochs=1, **QUIET))
WORKS = { # what gives a number
    "extra state": set(CALLS), "quantised": set(CALLS) - {"fit"}, "scripted": {"predict", "match", "stress", "fit"},
    "traced": {"predict", "match", "stress", "fit"}, "frozen": {"predict", "match", "stress"},
    "exported": {"predict", "match", "stress"}, "a tuple": {"acts"}, "a dict": {"acts"}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_network_gives_the_plain_number_or_one_sentence(kind, base, digits):
    few = digits.take(range(40))
    for name, call in CALLS.items():
        net = KINDS[kind](copy.deepcopy(base).eval())
        if name not in WORKS.get(kind, ()):
            with pytest.raises((ValueError, TypeError), match="^Expected `model` to .* but "): call(net, few)
            continue
        got = call(net, few)
        if name in ("predict", "stress"):
            with torch.no_grad(): want = net(few.batch(0, len(few))).argmax(1)
            assert np.array_equal(got, want), name


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_are_left_out_by_name(base):
    with pytest.warns(UserWarning, match="Quantised layers are left out.*`4`"):
        found = find_layers(_quantised(copy.deepcopy(base).eval()))
    assert [layer.name for layer in found] == ["0"]
    with pytest.raises(ValueError, match="has none that can be seen. Use the network from before it was quantised"):
        find_layers(_quantised(nn.Sequential(nn.Linear(4, 4)).eval()))


def test_extra_state_is_part_of_the_hash(base):
    class More(Extra):
        def get_extra_state(self): return {"calls": 2}
    one, other = _with_extra_state(base), _with_extra_state(base)
    assert model_hash(one) == model_hash(other)
    other[4].__class__ = More
    assert model_hash(one) != model_hash(other)


# -- networks that remember

class Caching(nn.Module):
    "Keeps a tensor that it made at its first call, as position embeddings and window masks are kept."
    def __init__(self):
        super().__init__()
        self.net, self.cache = small(), {}
    def forward(self, x):
        size = tuple(x.shape[2:])
        if size not in self.cache: self.cache[size] = torch.linspace(0.5, 1, size[1]).expand(size[0], -1) * 1.
        return self.net(x * self.cache[size])


FIRST = dict(
    predict=lambda m, d: predict(m, d), acts=lambda m, d: record_activations(m, d),
    stress=lambda m, d: stress_sweep(m, d, GaussianNoise(), (0, 1), **QUIET),
    adaptive=lambda m, d: filter_sweep(m, d, thresholds=3, attack=FGSM(0.05), attack_mode="adaptive", **QUIET),
    coverage=lambda m, d: neuron_coverage(m, d, **QUIET), kernels=lambda m, d: kernel_dropout(m, d, **QUIET),
    residual=lambda m, d: residual_features(m, d, **QUIET))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", FIRST)
def test_what_a_network_cached_while_it_was_measured_serves_gradients_afterwards(first, digits):
    net, few = Caching().eval(), digits.take(range(40))
    FIRST[first](net, few)
    assert not any(v.is_inference() for v in net.cache.values())
    x = few.batch(0, 40).requires_grad_()
    grad, = torch.autograd.grad(F.cross_entropy(net(x), few.labels, reduction="sum"), x)
    want = (few.batch(0, 40) + 0.1 * grad.sign()).clamp(0, 1)
    assert torch.allclose(attack_images(net, few, FGSM(0.1)), want, atol=1e-6)
    fit(net, few, epochs=1, **QUIET)


class Counting(nn.Module):
    "Writes into its buffers in eval mode too: in place, anew, and one that is not saved."
    def __init__(self):
        super().__init__()
        self.net = small()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("last", torch.full((1,), torch.nan), persistent=False)
    def forward(self, x):
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean().reshape(1)
        self.last.copy_(x.detach().mean())
        return self.net(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", [*FIRST.values(), lambda m, d: attack_images(m, d, FGSM(0.1)), match_data,
                                  lambda m, d: loss_gradient(m, d), lambda m, d: statistic_gap(m, d, **QUIET)])
def test_buffers_that_are_written_in_eval_mode_come_back(call, digits):
    net = Counting()
    net.calls += 3
    kept = dict(net.named_buffers())
    before = {k: v.clone() for k, v in kept.items()}
    call(net, digits.take(range(40)))
    after = dict(net.named_buffers())
    assert all(after[k] is kept[k] for k in kept)
    for k in kept: np.testing.assert_array_equal(after[k], before[k], err_msg=k)


def test_buffers_come_back_after_an_error_too():
    net = Counting()
    with pytest.raises(ZeroDivisionError), evaluating(net) as inside:
        inside(torch.rand(2, 1, 8, 8))
        raise ZeroDivisionError
    assert float(net.calls) == 0 and net.training


# -- auxiliary classifiers

def test_googlenet_is_trained_with_its_auxiliary_classifiers():
    "One step of plain SGD against the same in plain PyTorch, the auxiliary losses at 0.3 (Szegedy et al. 2015)."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torchvision.models.googlenet(num_classes=10, aux_logits=True, init_weights=False, dropout=0.,
                                           dropout_aux=0.)
        x, y = torch.rand(16, 3, 64, 64), torch.arange(16) % 10
    twin, start = copy.deepcopy(net).train(), {k: p.detach().clone() for k, p in net.named_parameters()}
    log = fit(net, (x, y), epochs=1, batch_size=16, optimizer="sgd", lr=1e-3, **QUIET)
    main, second, first = twin(x)
    loss = F.cross_entropy(main, y) + 0.3 * (F.cross_entropy(second, y) + F.cross_entropy(first, y))
    loss.backward()
    assert float(log.loss[0]) == pytest.approx(loss.item(), rel=1e-4)
    gradients = {k: p.grad for k, p in twin.named_parameters()}
    for k in ("fc.weight", "aux1.fc2.weight", "aux2.fc1.weight", "inception4a.branch1.conv.weight"):
        moved = start[k] - net.get_parameter(k).detach()
        assert F.cosine_similarity(moved.flatten(), gradients[k].flatten(), dim=0) > 0.99, k


def test_a_tuple_without_names_is_no_training_output():
    with pytest.raises(ValueError, match="logits in training, or a named tuple with `logits`.*got tuple"):
        split_logits((torch.zeros(2, 2), torch.zeros(2, 2)))
