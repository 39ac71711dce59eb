"Networks that answer by the batch, at random, or in another precision: the plain loop's numbers, or a clear sentence."
import copy
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fragility_nb.engine.engine import EditEngine
from fragility_nb.engine.job import Edits
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.activations import record_activations
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import by_batch, evaluating
from fragility_nb.models.answers import match_data, output_signs, predict
from fragility_nb.probes.batchnorm.statistics import statistic_gap
from fragility_nb.probes.coverage.probe import neuron_coverage
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.stress.attack_check import check_attack
from fragility_nb.stress.attacks import FGSM, PGD, attack_images
from fragility_nb.stress.minimal import find_epsilon, minimal_perturbation
from fragility_nb.stress.stressors import GaussianNoise


def of_the_batch(net):
    "What test-time adaptation does to every BatchNorm."
    net = copy.deepcopy(net)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.track_running_stats, m.running_mean, m.running_var = False, None, None
    return net.eval()


class Functional(nn.Module):
    "Batch statistics that no module shows."
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x): return self.net(F.batch_norm(x, None, None, training=True))


class Centred(Functional):
    "The mean logits of the batch are subtracted."
    def forward(self, x):
        out = self.net(x)
        return out - out.mean(0)


KINDS = {"no statistics": of_the_batch, "functional": Functional, "centred": Centred}


class Dropping(Functional):
    def forward(self, x): return self.net(F.dropout(x, 0.3, training=True))


class Noisy(Functional):
    def forward(self, x): return self.net(x) + 0.1*torch.randn(len(x), 1, device=x.device)*torch.arange(10)


@pytest.fixture(scope="module")
def sorted_digits(digits): return digits.take(digits.labels.argsort(stable=True)[:331])


@pytest.fixture(params=KINDS)
def net(request, trained): return KINDS[request.param](trained).cpu().eval()


def plain_right(net, data, batch_size):
    "Right or wrong, batch by batch, as anybody would write it."
    with torch.no_grad():
        parts = [net(data.batch(i, i + batch_size)).argmax(1) for i in range(0, len(data), batch_size)]
    return (torch.cat(parts) == data.labels).numpy()


def warned(f):
    "A result, and the warnings."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        return f(), [str(w.message) for w in caught]


@pytest.mark.filterwarnings("ignore:The answers of `model` depend", "ignore:This network cannot be cut")
@pytest.mark.parametrize("batch_size", [10, 33, 100, 256])
def test_a_batch_is_what_was_asked_for(net, sorted_digits, batch_size):
    want = plain_right(net, sorted_digits, batch_size)
    got = predict(net, sorted_digits, batch_size=batch_size, device="cpu").argmax(1) == sorted_digits.labels
    np.testing.assert_array_equal(got, want)
    swept = stress_sweep(net, sorted_digits, GaussianNoise(), (0,), batch_size=batch_size, device="cpu", progress=False)
    np.testing.assert_array_equal(swept.correct.values.ravel(), want)


@pytest.mark.filterwarnings("ignore:The answers of `model` depend", "ignore:This network cannot be cut")
@pytest.mark.parametrize("batch_size", [None, 33])
def test_a_filter_sweep_and_its_attack_see_the_batches(net, sorted_digits, batch_size):
    size, attack = batch_size or 100, FGSM(0.05)
    got = filter_sweep(net, sorted_digits, thresholds=2, layers=["conv1"] if by_batch_module(net) else None,
                       attack=attack, batch_size=batch_size, device="cpu", progress=False)
    assert (got.reference_correct[0].values == plain_right(net, sorted_digits, size)).mean() > 0.99
    moved = [attack.perturb(net, sorted_digits.batch(i, i + size), sorted_digits.labels[i:i + size])
             for i in range(0, 331, size)]
    with torch.no_grad(): want = torch.cat([net(z).argmax(1) for z in moved]) == sorted_digits.labels
    assert (got.reference_correct[1].values == want.numpy()).mean() > 0.99
    np.testing.assert_allclose(attack_images(net, sorted_digits, attack, batch_size=size, device="cpu"),
                               torch.cat(moved), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The answers of `model` depend", "ignore:This network cannot be cut")
def test_kernels_are_removed_batch_by_batch(net, sorted_digits):
    got = kernel_dropout(net, sorted_digits, kernels=[0, 1], batch_size=40, device="cpu", progress=False)
    assert (got.reference_correct.values.ravel() == plain_right(net, sorted_digits, 40)).mean() > 0.99


def by_batch_module(net): return any(isinstance(m, nn.BatchNorm2d) and m.running_mean is None for m in net.modules())


LOOKS = {
    "predict": lambda m, d: predict(m, d),
    "stress_sweep": lambda m, d: stress_sweep(m, d, GaussianNoise(), (0, 1), progress=False),
    "under attack": lambda m, d: stress_sweep(m, d, FGSM(0.02), (0, 1), progress=False),
    "filter_sweep": lambda m, d: filter_sweep(m, d, thresholds=2, filters=["high_pass"], progress=False),
    "minimal_perturbation": lambda m, d: minimal_perturbation(m, d, progress=False),
    "find_epsilon": lambda m, d: find_epsilon(m, d, progress=False),
    "check_attack": check_attack,
    "kernel_dropout": lambda m, d: kernel_dropout(m, d, kernels=[0, 1], progress=False),
    "coverage": lambda m, d: neuron_coverage(m, d, progress=False),
}


@pytest.mark.parametrize("call", LOOKS)
def test_everything_says_once_that_answers_depend_on_the_batch(net, digits, call):
    said = warned(lambda: LOOKS[call](net, digits.take(range(96))))[1]
    assert Counter("depend on which images share a batch" in text for text in said)[True] == 1


@pytest.mark.parametrize("random", [Dropping, Noisy])
@pytest.mark.parametrize("call", LOOKS)
def test_everything_says_once_that_answers_are_random(trained, digits, call, random):
    said = warned(lambda: LOOKS[call](random(trained).cpu(), digits.take(range(96))))[1]
    assert Counter("Two passes of the same images differ" in text for text in said)[True] == 1
    assert not any("depend on which" in text or "same results" in text for text in said)


def test_signs_are_kept(trained, digits):
    few = digits.take(range(96))
    for make, sign in ((of_the_batch, "batch_dependent"), (Dropping, "random_outputs")):
        result = warned(lambda make=make: stress_sweep(make(trained).cpu(), few, FGSM(0.05), (0, 1), progress=False))[0]
        assert sign in result.attrs["signs"]
        assert bool(warned(lambda make=make: check_attack(make(trained).cpu(), few))[0].found.sel(sign=sign))
    assert stress_sweep(trained, few, FGSM(0.05), (0, 1), progress=False).attrs["signs"] == ""


SOUND = [lambda: create_model("cnn5"), lambda: create_model("cifar_resnet20"),
         lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Flatten(), nn.Linear(288, 10)),
         lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.InstanceNorm2d(8), nn.Flatten(), nn.Linear(288, 10)),
         lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, momentum=None), nn.Flatten(), nn.Dropout(),
                               nn.Linear(288, 10))]


@pytest.mark.parametrize("k", range(len(SOUND)))
def test_sound_networks_are_not_blamed(k, digits):
    net = SOUND[k]().train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        match_data(net, digits)
        predict(net, digits.take(range(9)))
    assert net.training and not by_batch(net)


def test_what_a_look_found_is_forgotten_with_it(trained, digits):
    class Switched(Centred):
        on = True
        def forward(self, x): return super().forward(x) if self.on else self.net(x)
    net = Switched(trained)
    with pytest.warns(UserWarning, match="share a batch"): match_data(net, digits)
    assert by_batch(net)
    net.on = False
    match_data(net, digits)
    assert not by_batch(net)


def test_one_or_two_images_are_too_few_to_tell(trained, digits):
    net = of_the_batch(trained)
    for n in (1, 2): assert not output_signs(net, digits.batch(0, n))["batch_dependent"][1]
    assert output_signs(net, digits.batch(0, 3))["batch_dependent"][1]


# precision

AMP = lambda: torch.autocast("cpu", torch.bfloat16)
EDITS = {"filter_sweep": lambda m, d: filter_sweep(m, d, thresholds=3, attack=FGSM(0.05), device="cpu",
                                                   progress=False).correct.values,
         "adaptive": lambda m, d: filter_sweep(m, d, thresholds=3, attack=FGSM(0.05), attack_mode="adaptive",
                                               device="cpu", progress=False).correct.values,
         "stress_sweep": lambda m, d: stress_sweep(m, d, [GaussianNoise(), FGSM(0.05)], (0, 1), device="cpu",
                                                   progress=False).margin.values,
         "predict": lambda m, d: predict(m, d, device="cpu").numpy(),
         "attack": lambda m, d: attack_images(m, d, PGD(0.1, 3), device="cpu").numpy(),
         "minimal": lambda m, d: minimal_perturbation(m, d, device="cpu", progress=False).epsilon.values,
         "activations": lambda m, d: record_activations(m, d, ["conv2"], device="cpu")["conv2"].numpy()}


@pytest.mark.parametrize("call", EDITS)
def test_the_callers_autocast_changes_nothing(trained, digits, call):
    few = digits.take(range(64))
    want = EDITS[call](trained, few)
    with AMP():
        np.testing.assert_array_equal(EDITS[call](trained, few), want)
        assert torch.is_autocast_enabled("cpu")
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype is torch.bfloat16


def test_a_slow_engine_is_out_of_autocast_too(trained, digits):
    class Loops(Functional):
        def forward(self, x): return self.net(x) if x.sum() > -1 else x
    net, few = Loops(trained).eval(), digits.take(range(64))
    edits = Edits((), 1, lambda i: {})
    def run():
        with pytest.warns(UserWarning, match="cannot be cut"): engine = EditEngine(net, device="cpu")
        seen = []
        class Look(FGSM):
            step = None
            def perturb(self, net, x, y, severity=1., streams=None):
                seen.append(net(x).dtype)
                return x
        engine.evaluate(edits, few.batch(0, 64)[None], few.labels, attack=Look(0.1))
        return seen
    with AMP(): assert set(run()) == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("call", ["predict", "stress_sweep", "filter_sweep", "minimal_perturbation", "coverage"])
def test_weights_of_another_dtype_are_named(digits, dtype, call):
    net = create_model("cnn3").to(dtype)
    net.mean, net.std = net.mean.float(), net.std.float()
    with pytest.raises(ValueError, match=f"its weights are .*{str(dtype).removeprefix('torch.')}"):
        LOOKS[call](net, digits.take(range(40)))


class Casting(nn.Module):
    "Takes and gives float32, and computes in its own dtype."
    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net.to(dtype), dtype

    def forward(self, x): return self.net(x.to(self.dtype)).float()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_that_casts_runs_and_its_precision_is_recorded(trained, digits, dtype):
    few, net = digits.take(range(64)), Casting(copy.deepcopy(trained), dtype).eval()
    name = str(dtype).removeprefix("torch.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = stress_sweep(net, few, FGSM(0.05), (0, 1), device="cpu", progress=False)
    assert result.attrs["precision"] == name
    assert (result.correct.sel(severity=0).values.ravel() == plain_right(net, few, 64)).all()
    with pytest.raises(ValueError, match=f"float32 weights, but they are {name}"):
        filter_sweep(net, few, thresholds=2, progress=False)


# batches below 32

class Counting(nn.Module):
    "Counts the images that come."
    def __init__(self, net):
        super().__init__()
        self.net, self.seen = net, []

    def forward(self, x):
        self.seen.append(len(x))
        return self.net(x)


SENT = {"predict": lambda m, d, b: predict(m, d, batch_size=b, device="cpu"),
        "attack_images": lambda m, d, b: attack_images(m, d, FGSM(0.1), batch_size=b, device="cpu"),
        "stress_sweep": lambda m, d, b: torch.tensor(stress_sweep(m, d, GaussianNoise(), (0,), batch_size=b,
                                                                  device="cpu", progress=False).margin.values),
        "coverage": lambda m, d, b: torch.tensor(neuron_coverage(m, d, batch_size=b, device="cpu",
                                                                 progress=False).coverage.values),
        "statistic_gap": lambda m, d, b: torch.tensor(statistic_gap(m, d, batch_size=b, device="cpu",
                                                                    progress=False).mean_gap.values)}


@pytest.mark.parametrize("call", SENT)
def test_small_batches_send_no_more_images_and_give_the_same_bits(trained, digits, call):
    few, sent = digits.take(range(20)), {}
    for b in (1, 7, 32, 256):
        net = Counting(trained).eval()
        sent[b] = SENT[call](net, few, b), sum(net.seen)
    # a block, looks at the first images, and 4 whose answers the result keeps
    assert len({n for _, n in sent.values()}) == 1 and sent[1][1] <= 32 + 88
    assert all(torch.equal(z, sent[256][0]) for z, _ in sent.values())


def test_a_large_batch_of_an_attack_is_cut_to_the_room_for_its_tapes(digits, monkeypatch):
    import fragility_nb.models.gradients as gradients
    wide = nn.Sequential(nn.Conv2d(1, 64, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(64*64, 10)).eval()
    net, few = Counting(wide), digits.take(range(200))
    whole = attack_images(net, few, PGD(0.1, 2), device="cpu")
    assert max(net.seen) == 224  # 200, filled up
    monkeypatch.setattr(gradients, "_TAPE", 70 * gradients._tape_bytes(wide, few.batch(0, 1)))
    net.seen.clear()
    assert torch.equal(attack_images(net, few, PGD(0.1, 2), device="cpu"), whole) and max(net.seen) == 64


def test_a_model_on_another_device_keeps_what_is_known_of_it(trained, digits):
    net = Centred(trained)
    with pytest.warns(UserWarning, match="share a batch"): match_data(net, digits)
    with evaluating(net, "meta" if not torch.cuda.is_available() else "cuda") as moved: assert by_batch(moved)
