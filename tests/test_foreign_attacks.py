"Attacks of torchattacks, foolbox, ART and captum, and functions: the same as a direct call, wherever one is taken."
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from fragility_nb.core.identity import describe
from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.measure.runner import SweepOptions
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.create import create_model
from fragility_nb.models.training import fit
from fragility_nb.probes.batchnorm.statistics import statistic_stress
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.probes.kernels.targeting import adversarial_targeting
from fragility_nb.stress.attack_check import AttackWarning, check_attack
from fragility_nb.stress.attacks import FGSM, PGD, AutoAttack, Attack, as_attack, attack_images, find_attack
from fragility_nb.stress.minimal import find_epsilon

torchattacks = pytest.importorskip("torchattacks")
foolbox = pytest.importorskip("foolbox")
evasion = pytest.importorskip("art.attacks.evasion")
captum = pytest.importorskip("captum.robust")

N, EPS = 40, 0.06


@pytest.fixture(scope="module")
def data(): return load_data("digits").take(range(0, 400, 10))


@pytest.fixture(scope="module", params=["cnn3", "with BatchNorm"])
def model(request):
    "Two small networks: one without, one with BatchNorm."
    if request.param == "cnn3": net = create_model("cnn3")
    else: net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
                              nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
                              nn.Linear(144, 10))
    fit(net, load_data("digits", "train"), epochs=3, seed=0, progress=False)
    return net


@pytest.fixture(scope="module")
def trained():
    net = create_model("cnn3")
    fit(net, load_data("digits", "train"), epochs=3, progress=False)
    return net


@pytest.fixture
def net(trained): return trained.eval()


def by_torchattacks(model, x, y, name="PGD", **options):
    torch.manual_seed(0)
    return getattr(torchattacks, name)(model, eps=EPS, **options)(x, y)


def by_foolbox(model, x, y):
    torch.manual_seed(0)
    attack = foolbox.attacks.LinfPGD(steps=5, rel_stepsize=0.25)
    return attack(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilons=EPS)[1]


def by_art(model, x, y, eps=EPS):
    from art.estimators.classification import PyTorchClassifier
    np.random.seed(0)
    torch.manual_seed(0)
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0., 1.),
                                   device_type="cpu")
    attack = evasion.ProjectedGradientDescent(classifier, eps=eps, eps_step=eps/4, max_iter=5, num_random_init=1,
                                              verbose=False)
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def by_captum(model, x, y):
    attack = captum.PGD(model, nn.CrossEntropyLoss(reduction="none"), 0., 1.)
    return attack.perturb(x, EPS, EPS/4, 5, y)


DIRECT = {  # ours -> a direct call
    "torchattacks": (lambda: as_attack(torchattacks.PGD, eps=EPS, alpha=EPS/4, steps=5),
                     lambda m, x, y: by_torchattacks(m, x, y, alpha=EPS/4, steps=5)),
    "torchattacks by name": (lambda: find_attack("torchattacks:MIFGSM", eps=EPS, steps=5),
                             lambda m, x, y: by_torchattacks(m, x, y, "MIFGSM", steps=5)),
    "torchattacks, L2": (lambda: as_attack(torchattacks.APGD, eps=EPS, norm="l2", steps=5),
                         lambda m, x, y: by_torchattacks(m, x, y, "APGD", norm="L2", steps=5)),
    "torchattacks, by its own steps": (lambda: as_attack(torchattacks.FAB, eps=EPS, multi_targeted=True, steps=3),
                                       lambda m, x, y: by_torchattacks(m, x, y, "FAB", multi_targeted=True, steps=3)),
    "foolbox": (lambda: as_attack(foolbox.attacks.LinfPGD, epsilon=EPS, steps=5, rel_stepsize=0.25), by_foolbox),
    "art": (lambda: as_attack(evasion.ProjectedGradientDescent, eps=EPS, eps_step=EPS/4, max_iter=5,
                              num_random_init=1), by_art),
    "captum": (lambda: as_attack(captum.PGD, epsilon=EPS, step_size=EPS/4, step_num=5), by_captum),
    "function": (lambda: as_attack(lambda m, x, y, eps: FGSM(eps).perturb(m, x, y), epsilon=EPS, norm="inf"),
                 lambda m, x, y: FGSM(EPS).perturb(m, x, y)),
}


@pytest.mark.parametrize("kind", DIRECT)
def test_a_sweep_gives_exactly_the_answers_of_a_direct_call(kind, model, data):
    ours, direct = DIRECT[kind]
    attack = ours()
    result = stress_sweep(model, data, attack, (0, 1), progress=False)
    x, y = data.batch(0, N), data.labels
    was = model.training
    model.eval()
    z = direct(model, x, y).detach()
    with torch.no_grad(): clean, right = (model(v).argmax(1) for v in (x, z))
    model.train(was)
    assert (result.pred.values[0, 0, 0] == clean.numpy()).all()
    assert (result.pred.values[0, 1, 0] == right.numpy()).all()
    assert torch.equal(attack_images(model, data, attack), z)
    assert 0 < float(result.correct.values[0, 1].mean()) < float(result.correct.values[0, 0].mean())


def short_autoattack(model, eps):
    "torchattacks' AutoAttack with fewer queries of Square."
    attack = torchattacks.AutoAttack(model, eps=eps, seed=0)
    attack._autoattack.attacks[-1].n_queries = 50
    return attack


@pytest.mark.parametrize("made", ["class", "object"])
def test_autoattack_of_torchattacks_is_a_direct_call(made, model, data):
    model.eval()
    few, eps = data.take(range(12)), 0.3 if made == "class" else EPS  # at 0.3 nothing is left for Square
    call = torchattacks.AutoAttack(model, eps=eps, seed=0) if made == "class" else short_autoattack(model, eps)
    z = call(few.batch(0, 12), few.labels)
    thing = torchattacks.AutoAttack if made == "class" else short_autoattack(create_model("cnn3", seed=1), 0.9)
    attack = as_attack(thing, epsilon=eps, **(dict(seed=0) if made == "class" else {}))
    result = stress_sweep(model, few, attack, (0, 1), progress=False)
    with torch.no_grad(): assert (result.pred.values[0, 1, 0] == model(z).argmax(1).numpy()).all()


OBJECTS = {
    "torchattacks": lambda m: torchattacks.PGD(m, eps=0.9, alpha=EPS/4, steps=5),
    "foolbox": lambda m: foolbox.attacks.LinfPGD(steps=5, rel_stepsize=0.25),
    "art": lambda m: evasion.ProjectedGradientDescent(art_classifier(m), eps=0.9, eps_step=EPS/4, max_iter=5,
                                                      num_random_init=1, verbose=False),
    "captum": lambda m: captum.PGD(m, nn.CrossEntropyLoss(reduction="none"), 0., 1.),
}


def art_classifier(model):
    from art.estimators.classification import PyTorchClassifier
    return PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 8, 8), 10, clip_values=(0., 1.), device_type="cpu")


@pytest.mark.parametrize("library", OBJECTS)
def test_an_object_is_attacked_with_the_swept_network_and_epsilon(library, net, data):
    "The network inside an object is another one, and so is its ε."
    options = dict(step_size=EPS/4, step_num=5) if library == "captum" else {}
    other = create_model("cnn3", seed=1).eval()
    before = {k: v.clone() for k, v in other.state_dict().items()}
    given = OBJECTS[library](other)
    z = attack_images(net, data, as_attack(given, epsilon=EPS, **options))
    want = attack_images(net, data, DIRECT[library][0]())
    assert torch.equal(z, want)
    assert all(torch.equal(v, before[k]) for k, v in other.state_dict().items())
    assert getattr(given, "model", other) is other or library == "art"


@pytest.mark.parametrize("kind", DIRECT)
def test_generators_modes_and_weights_are_left_as_they_were(kind, net, data):
    net.train()
    next(net.children()).eval()
    modes = [m.training for m in net.modules()]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for seed in (torch.manual_seed, np.random.seed, random.seed): seed(7)
    attack_images(net, data.take(range(8)), DIRECT[kind][0]())
    drawn = torch.rand(1).item(), np.random.rand(), random.random()
    for seed in (torch.manual_seed, np.random.seed, random.seed): seed(7)
    assert drawn == (torch.rand(1).item(), np.random.rand(), random.random())
    assert modes == [m.training for m in net.modules()]
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_results_do_not_depend_on_batch_size_or_memory(net):
    data, attack = load_data("digits").take(range(300)), as_attack(torchattacks.PGD, eps=EPS, alpha=EPS/4, steps=2)
    a, b = (stress_sweep(net, data, attack, (0, 1), batch_size=size, progress=False) for size in (32, 256))
    assert (a.pred == b.pred).all()
    for drawn in (attack, PGD(EPS, steps=2, random_start=True)):
        for mode in ("fixed", "adaptive"):
            one, two = (filter_sweep(net, data, layers=["linear"], filters=["high_pass"], thresholds=3, attack=drawn,
                                     attack_mode=mode, memory=memory, progress=False) for memory in ("2GiB", "1MB"))
            assert (one.correct == two.correct).all(), (drawn, mode)
            made = attack_images(net, data, drawn)
            right = (net(made).argmax(1) == data.labels).numpy()
            assert (one.reference_correct.sel(stress="adversarial") == right).all(), (drawn, mode)


def test_seeds_differ_and_repeat(net, data):
    attack = as_attack(torchattacks.PGD, eps=EPS, alpha=EPS/4, steps=1)
    first, again, other = (attack_images(net, data, attack, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(attack_images(net, data, attack, severity=0), data.batch(0, N))


WRONG = {
    "shape": (lambda m, x, y, e: x[:, :, 1:], "to return"),
    "dtype": (lambda m, x, y, e: x.double(), "to return"),
    "no tensor": (lambda m, x, y, e: x.numpy(), "to return"),
    "range": (lambda m, x, y, e: x + 2, "to stay in"),
    "not finite": (lambda m, x, y, e: x * torch.nan, "to stay in"),
    "ball": (lambda m, x, y, e: (x * 0 + (x < 0.5).float()), "at most ε = 0.06"),
    "an error of its own": (lambda m, x, y, e: x @ x[:, :, 1:], "failed: RuntimeError"),
}


@pytest.mark.quick
@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("use", ["images", "fixed", "adaptive"])
def test_what_comes_back_is_checked(what, use, data):
    made, words = WRONG[what]
    def strange(model, images, labels, epsilon): return made(model, images, labels, epsilon)
    attack, model = as_attack(strange, epsilon=EPS, norm="inf"), create_model("cnn3").eval()
    with pytest.raises((ValueError, RuntimeError), match=f"attack `.*strange.*{words}"):
        if use == "images": attack_images(model, data, attack)
        else: filter_sweep(model, data, layers=["linear"], thresholds=2, attack=attack, attack_mode=use, progress=False)


def test_wherever_an_attack_is_taken(net, data):
    "A library's class, and a name, in every function that takes an attack."
    kind, name = torchattacks.FGSM, "pgd"
    assert isinstance(SweepOptions(attack=kind).attack, Attack)
    same = stress_sweep(net, data, [kind, name, "gaussian_blur"], (0, 1), progress=False)
    assert list(same.stress.values) == ["torchattacks:FGSM", "pgd", "gaussian_blur"]
    for attack in (kind, name):
        assert 0 < float(find_epsilon(net, data, attack=attack, progress=False).epsilon) < 1
        dropped = kernel_dropout(net, data, attack=attack, kernels=[0, 1], progress=False)
        assert dropped.sizes["stress"] == 2
        assert adversarial_targeting(net, data, attack, [0], progress=False, n_perm=99).sizes["attack"] == 1
        assert check_attack(net, data, attack).attrs["attack"]
    norms = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    assert statistic_stress(norms, data, (1, 2), (0,), attack=kind, progress=False).sizes["stress"] == 2


def test_own_layers_and_parameters_are_seen_by_a_function(net, data):
    "A function asks for the device and the mode of the network, also of an edited copy."
    seen = []
    def asks(model, images, labels, epsilon):
        seen.append((next(model.parameters()).device.type, model.eval().training, model.train().training))
        return FGSM(epsilon).perturb(model, images, labels)
    own = filter_sweep(net, data, layers=["linear"], thresholds=3, attack=FGSM(EPS), progress=False)
    asking = as_attack(asks, epsilon=EPS)
    theirs = filter_sweep(net, data, layers=["linear"], thresholds=3, attack=asking, progress=False)
    assert set(seen) == {("cpu", False, False)}
    assert float((own.correct != theirs.correct).mean()) < 0.01  # ties only


@pytest.mark.quick
def test_label_identity_and_refusals(tmp_path):
    assert repr(as_attack(torchattacks.PGD, steps=3)) == \
        "torchattacks.PGD(epsilon=0.0313725, steps=3) [torchattacks 3.3.0]"
    def one(model, images, labels, epsilon): return images
    def other(model, images, labels, epsilon): return images + 0
    assert describe(as_attack(one)) != describe(as_attack(other))
    assert describe(as_attack(torchattacks.PGD)) != describe(as_attack(torchattacks.PGD, steps=3))
    held = [as_attack(torchattacks.PGD(create_model("cnn3", seed=s))) for s in (0, 1)]
    assert describe(held[0]) == describe(held[1])  # the network inside is not used
    file = tmp_path / "mine.py"
    file.write_text("import torch\ndef twice(model, images, labels, epsilon, factor=2):\n    return images * factor\n")
    assert find_attack(f"{file}:twice", factor=3).options == dict(factor=3)
    for wrong, words in ((f"{file}:thrice", "twice"), ("pdg", "Did you mean 'pgd'"),
                         ("foolbox:Nothing", "foolbox:LinfPGD"), (f"{file}.no:f", "`attack`"), ("art:PGD", "Known")):
        with pytest.raises(ValueError, match=words): find_attack(wrong)
    with pytest.raises(ValueError, match="attack_options.*'stepz'.*Did you mean 'steps'"):
        find_attack("torchattacks:PGD", stepz=3)
    for thing in (3, FGSM, lambda x: x, create_model("cnn3"), [1]):
        with pytest.raises(TypeError, match="Expected `attack`"): as_attack(thing)
    with pytest.raises(RuntimeError, match="art.ProjectedGradientDescent.*`targeted`"):
        as_attack(evasion.ProjectedGradientDescent, targeted=True).perturb(create_model("cnn3"), torch.rand(2, 1, 8, 8),
                                                                           torch.tensor([1, 2]))


def test_a_missing_library_is_one_sentence(monkeypatch, net, data):
    import sys
    monkeypatch.setitem(sys.modules, "torchattacks", None)
    for attack in (lambda: find_attack("torchattacks:PGD"), lambda: attack_images(net, data, AutoAttack(0.1))):
        with pytest.raises(ImportError, match=r"pip install 'fragility_nb\[attacks\]'"): attack()


@pytest.mark.parametrize("norm, eps", [("inf", 0.05), ("l2", 0.6)])
def test_autoattack_is_the_worst_of_its_parts(norm, eps, net, data):
    "An image counts as right only if each of the four attacks, run alone, leaves it right."
    x, y = data.batch(0, N), data.labels
    z = attack_images(net, data, AutoAttack(eps, norm=norm, steps=20, queries=200))
    right = net(z).argmax(1) == y
    how, kept = dict(eps=eps, norm=dict(inf="Linf", l2="L2")[norm], seed=0), net(x).argmax(1) == y
    for attack in (torchattacks.APGD(net, steps=20, **how), torchattacks.APGDT(net, steps=20, n_classes=10, **how),
                   torchattacks.FAB(net, steps=20, multi_targeted=True, n_classes=10, **how),
                   torchattacks.Square(net, n_queries=200, **how)):
        own = x.clone()
        if kept.any(): own[kept] = attack(x[kept], y[kept]).detach()
        kept &= net(own).argmax(1) == y
    assert torch.equal(right, kept)
    weaker = attack_images(net, data, PGD(eps, norm=norm))
    assert right.float().mean() <= (net(weaker).argmax(1) == y).float().mean()


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_autoattack_of_few_classes(classes):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    x, y = torch.rand(12, 1, 8, 8), torch.arange(12) % classes
    z = AutoAttack(0.05, steps=5, queries=20).perturb(model, x, y)
    left = (model(z).argmax(1) == y).sum()
    assert left <= (model(x).argmax(1) == y).sum()
    assert (z - x).abs().max() <= 0.05 + 1e-5


def test_autoattack_beside_an_attack_that_overstates(net, data):
    class Loud(nn.Module):
        "Logits a thousand times too large: most gradients vanish."
        def __init__(self):
            super().__init__()
            self.net = net
        def forward(self, x): return 1000*self.net(x)
    strong = AutoAttack(0.15, steps=20, queries=50)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = stress_sweep(Loud().eval(), data, [FGSM(0.15), strong], (0, 1), progress=False)
        signs = check_attack(Loud().eval(), data, FGSM(0.15), beside=strong)
    assert "fgsm: " in result.attrs["signs"]
    assert "overstated" in result.attrs["signs"]
    assert bool(signs.found.sel(sign="overstated"))
    assert any(issubclass(w.category, AttackWarning) and "AutoAttack of the same size" in str(w.message) for w in told)


def test_a_gradient_of_large_images_has_room():
    "At 224 pixels a network of someone else's: few images at once, and no result depends on how many are asked for."
    lite = pytest.importorskip("efficientnet_lite_pytorch")
    net = lite.EfficientNet.from_name("efficientnet-lite0").eval()
    images = torch.rand(9, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    taped, plain = [], []
    def note(module, args): (taped if torch.is_grad_enabled() and args[0].requires_grad else plain).append(len(args[0]))
    handle = net.register_forward_pre_hook(note)
    data = ImageData(images, torch.arange(9), tuple(map(str, range(1000))))
    made = [attack_images(net, data, FGSM(0.01), batch_size=size) for size in (9, 256)]
    handle.remove()
    assert max(taped) <= 8  # 64 MB of tape for an image: 512 MB
    assert max(plain, default=0) <= 32
    assert torch.equal(*made)
