"""Finished work belongs to exactly one question: what changes the answer makes it anew, what does not is found again.

The right values come from a plain PyTorch loop.
"""
import functools
import json
import os
import threading
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fragility_nb.core import identity
from fragility_nb.core.identity import CannotDescribe, describe, file_digests, folder_digest
from fragility_nb.core.results import Near, PartStore, is_damaged, load_result, provenance, save_result
from fragility_nb.data.sets import load_data
from fragility_nb.explore import warn_of_another
from fragility_nb.measure.matrix import train_test_matrix
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.checkpoints import checkpoint_facts, read_safetensors, save_checkpoint
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.resume import answers_differ, answers_text, own_answers
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import model_hash
from fragility_nb.probes.coverage.criteria import KMNC, NC
from fragility_nb.probes.coverage.probe import activation_profile, merge_coverage, neuron_coverage
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.filters import FILTERS
from fragility_nb.stress.stressors import GaussianNoise

QUIET = dict(device="cpu", progress=False)
CONSTANT = 0.1


class Net(nn.Module):
    "One convolution and one linear layer; what else it does is not in its weights."
    def __init__(self, act=torch.relu, levels=None, stride=1, ste=False):
        super().__init__()
        self.c, self.l = nn.Conv2d(1, 8, 3, padding=1), nn.Linear(512, 10)
        self.act, self.levels, self.stride, self.ste = act, levels, stride, ste

    def forward(self, x):
        if self.levels:
            rounded = (x * self.levels).round() / self.levels
            x = x + (rounded - x).detach() if self.ste else rounded
        z = self.act(self.c(x))
        if self.stride > 1: z = z[..., ::self.stride, ::self.stride].repeat_interleave(
            self.stride, -1).repeat_interleave(self.stride, -2)
        return self.l(z.flatten(1))


def like(other, **how):
    "Another network with the same weights."
    net = Net(**how)
    net.load_state_dict(other.state_dict())
    return net.eval()


@pytest.fixture(scope="module")
def few(): return load_data("digits", n=100)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = Net()
    fit(model, load_data("digits", "train", n=500), epochs=4, lr=3e-3, batch_size=32, **QUIET)
    return model


def accuracy(model, x, y):
    "A plain loop."
    with torch.no_grad(): return float(np.mean([model(x[i:i + 1]).argmax() == y[i] for i in range(len(x))]))


def fgsm(model, x, y, epsilon):
    "A plain FGSM."
    x = x.clone().requires_grad_()
    g, = torch.autograd.grad(nn.functional.cross_entropy(model(x), y, reduction="sum"), x)
    return (x + epsilon * g.sign()).clamp(0, 1).detach()


SAME_WEIGHTS = [dict(act=torch.sigmoid), dict(act=torch.tanh), dict(levels=1), dict(levels=255), dict(stride=2),
                dict(levels=255, ste=True), dict(act=nn.LeakyReLU(0.2))]


def words(how): return " ".join(f"{k}={getattr(v, '__name__', v)}" for k, v in how.items())


@pytest.mark.parametrize("how", SAME_WEIGHTS, ids=words)
def test_another_network_with_the_same_weights_is_another_question(net, few, tmp_path, how):
    other = like(net, **how)
    assert model_hash(other) == model_hash(net)
    x, y = few.batch(0, len(few)), few.labels
    right = [accuracy(other, x, y), accuracy(other, fgsm(other, x, y, 0.1), y)]
    stress_sweep(net, few, FGSM(0.1), (0, 1), resume=tmp_path, **QUIET)
    with pytest.warns(UserWarning, match=r"not used again: .*(answers differently on|gradients differ on|changed)"):
        found = stress_sweep(other, few, FGSM(0.1), (0, 1), resume=tmp_path, **QUIET)
    assert found.correct.mean("sample").values.ravel() == pytest.approx(right, abs=0.011)
    filter_sweep(net, few, thresholds=3, resume=tmp_path/"f", **QUIET)
    with pytest.warns(UserWarning, match="not used again"):
        found = filter_sweep(other, few, thresholds=3, resume=tmp_path/"f", **QUIET)
    assert found.accuracy.equals(filter_sweep(other, few, thresholds=3, **QUIET).accuracy)


def test_kernels_of_another_network_are_another_question(net, few, tmp_path):
    other = like(net, act=torch.tanh)
    kernel_dropout(net, few, resume=tmp_path, **QUIET)
    with pytest.warns(UserWarning, match="answers differently on 8 of 8 images"):
        found = kernel_dropout(other, few, resume=tmp_path, **QUIET)
    assert found.accuracy.equals(kernel_dropout(other, few, **QUIET).accuracy)


def test_the_same_question_is_found_again_without_a_word(net, few, tmp_path):
    "Another object with the same weights, other last bits, the same images read anew."
    first = filter_sweep(net, few, thresholds=3, attack=FGSM(0.1), resume=tmp_path, **QUIET)
    made = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = filter_sweep(like(net), load_data("digits", n=100), thresholds=3, attack=FGSM(0.1), resume=tmp_path,
                             **QUIET)
    assert again.accuracy.equals(first.accuracy) and made == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npz")}
    kept = own_answers(net, few)
    for k, v in kept.items(): assert not Near(v.values * (1 + 1e-6), v.rtol).changes(v.values), k


def test_a_random_network_is_known_by_its_code_and_fields(few, tmp_path):
    class Drops(Net):
        def forward(self, x): return super().forward(nn.functional.dropout(x, 0.5, training=True))
    state = torch.random.get_rng_state()
    with pytest.warns(UserWarning, match="draws at random, so its own answers cannot tell"):
        stress_sweep(Drops(), few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    assert own_answers(Drops(), few) == {} and not torch.equal(state, torch.random.get_rng_state()) # Drops() drew
    state = torch.random.get_rng_state()
    net = Drops()
    torch.random.set_rng_state(state)
    own_answers(net, few)
    assert torch.equal(state, torch.random.get_rng_state())


def make(k):
    def dim(x, severity, streams): return (x * (1 - k*severity)).clamp(0, 1)
    return dim


def dim(x, severity, streams, k=.1): return (x * (1 - k*severity)).clamp(0, 1)


def by_global(x, severity, streams): return (x * (1 - CONSTANT*severity)).clamp(0, 1)


class Mine:
    "An attack of the user's own whose repr hides what it does."
    epsilon, norm, name = 1, "inf", "mine"
    def __init__(self, k): self.k = k
    def __repr__(self): return "Mine()"
    def strength(self, severity): return severity * self.epsilon
    def perturb(self, model, x, y, severity=1.): return (x * (1 - self.k)).clamp(0, 1)


class Table:
    "A stressor that looks numbers up."
    name = "table"
    def __init__(self, k): self.table = torch.tensor([0, k])
    def __repr__(self): return "Table()"
    def __call__(self, x, severity, streams): return (x * (1 - self.table[int(severity)])).clamp(0, 1)


PAIRS = dict(closure=(make(.1), make(.95)), partial=(functools.partial(dim, k=.1), functools.partial(dim, k=.95)),
             attack=(Mine(.1), Mine(.95)), table=(Table(.1), Table(.95)),
             method=(Table(.1).__call__, Table(.95).__call__))


@pytest.mark.parametrize("kind", PAIRS)
def test_a_stressor_with_another_constant_is_another_question(net, few, tmp_path, kind):
    one, two = PAIRS[kind]
    x, y = few.batch(0, len(few)), few.labels
    sweep = lambda s: float(stress_sweep(net, few, [s], (0, 1), resume=tmp_path, **QUIET).correct[0, 1].mean())
    with warnings.catch_warnings(action="ignore"): found = [sweep(one), sweep(two), sweep(one)]
    right = [accuracy(net, (x * (1 - k)).clamp(0, 1), y) for k in (.1, .95)]
    assert found == pytest.approx([*right, right[0]], abs=1e-6) and right[0] > right[1]


def test_a_constant_outside_the_function_counts(monkeypatch):
    before = describe(by_global)
    monkeypatch.setitem(globals(), "CONSTANT", 0.9)
    assert describe(by_global) != before and describe(by_global)["globals"] == {"CONSTANT": 0.9}


def test_the_line_says_what_changed(net, few, tmp_path):
    "Attack, number of thresholds, images, order, labels."
    sweep = lambda folder, data=few, **how: filter_sweep(net, data, **dict(
        thresholds=3, attack=FGSM(0.02), layers=["c"], resume=tmp_path/folder, **QUIET) | how)
    images, labels = few.images.clone(), few.labels.clone()
    images[:3] = 255 - images[:3]
    labels[:5] = (labels[:5] + 1) % 10
    other = lambda **k: type(few)(**dict(images=few.images, labels=few.labels, classes=few.classes, name=few.name,
                                         index=few.index) | k)
    turned = torch.arange(len(few)).flip(0)
    for how, words in ((dict(attack=FGSM(0.03)), "attack.epsilon: 0.02 → 0.03"),
                       (dict(thresholds=4), "thresholds: 3 → 4"),
                       (dict(data=other(images=images)), "3 of 100 images changed"),
                       (dict(data=other(labels=labels)), "5 of 100 labels changed"),
                       (dict(data=few.take(turned)), "the images stand in another order"),
                       (dict(data=few.take(range(50))), "50 images, not 100")):
        sweep(words)
        with pytest.warns(UserWarning, match=words): sweep(words, **how)


def test_a_filter_of_the_users_own_counts_by_its_code(net, few, tmp_path, monkeypatch):
    sweep = lambda **how: filter_sweep(net, few, thresholds=4, filters=["mine"], layers=["c"], **how, **QUIET).accuracy
    monkeypatch.setitem(FILTERS, "mine", lambda theta, alpha, step: theta > alpha)
    one = sweep(resume=tmp_path)
    monkeypatch.setitem(FILTERS, "mine", lambda theta, alpha, step: theta < alpha)
    with pytest.warns(UserWarning, match="filters.mine.code changed"): two = sweep(resume=tmp_path)
    assert two.equals(sweep()) and not two.equals(one)


def write_folder(folder, images, labels):
    for i, (a, y) in enumerate(zip(images, labels)):
        (folder/str(y)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(a).save(folder/str(y)/f"{i:03}.bmp")


def test_images_in_files_count_by_content(net, few, tmp_path):
    "Other content under the same names, sizes in bytes, and times of the last change."
    images, labels = few.images[:, 0].numpy(), few.labels.tolist()
    write_folder(tmp_path/"set", images, labels)
    for path in (tmp_path/"set").rglob("*.bmp"): os.utime(path, ns=(10**18, 10**18))
    load = lambda: load_data(str(tmp_path/"set"), lazy=True, progress=False)
    sweep = lambda **how: filter_sweep(net, load(), thresholds=2, layers=["c"], **how, **QUIET).reference_accuracy
    one, clean = load().hash, sweep(resume=tmp_path/"parts")
    noisy = np.clip(images + np.random.default_rng(0).normal(0, 120, images.shape), 0, 255).astype(np.uint8)
    write_folder(tmp_path/"set", noisy, labels)
    for path in (tmp_path/"set").rglob("*.bmp"): os.utime(path, ns=(10**18, 10**18))
    with pytest.warns(UserWarning, match="100 of 100 images changed"): again = sweep(resume=tmp_path/"parts")
    assert load().hash != one and again.equals(sweep()) and float(again[0]) < float(clean[0])


def test_a_file_that_did_not_change_is_not_read_again(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAGILITY_CACHE", str(tmp_path/"cache"))
    monkeypatch.setattr(identity, "_SETTLED", -1e12) # so that a file of this moment is kept
    path, read = tmp_path/"a.bin", []
    path.write_bytes(b"one")
    real = identity._read_digest
    monkeypatch.setattr(identity, "_read_digest", lambda p: (read.append(p), real(p))[1])
    first = file_digests([path, path])
    assert file_digests([path]) == first[:1] and len(read) == 1
    os.utime(path, ns=(1, 1))
    assert file_digests([path]) == first[:1] and len(read) == 2
    time.sleep(0.02)
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1)) # its size and times are as they were; the inode's own time is not
    assert file_digests([path]) != first[:1]


@pytest.mark.parametrize("cache", ["file", "damaged"])
def test_without_a_cache_it_is_slower_not_wrong(tmp_path, monkeypatch, cache):
    (tmp_path/"cache").mkdir()
    if cache == "file": monkeypatch.setenv("FRAGILITY_CACHE", str(tmp_path/"a.bin"))
    else:
        monkeypatch.setenv("FRAGILITY_CACHE", str(tmp_path/"cache"))
        (tmp_path/"cache"/"digests.sqlite").write_bytes(b"no table" * 1000)
    (tmp_path/"a.bin").write_bytes(b"one")
    assert file_digests([tmp_path/"a.bin"]) == [identity._read_digest(str(tmp_path/"a.bin"))]


def test_a_link_into_itself_ends(tmp_path):
    (tmp_path/"a").mkdir()
    (tmp_path/"a"/"x").write_text("1")
    (tmp_path/"a"/"loop").symlink_to(tmp_path)
    assert folder_digest(tmp_path) == folder_digest(tmp_path)


# What cannot be named

HELD = [threading.Lock(), (i for i in range(3)), open(os.devnull)] # noqa: SIM115


@pytest.mark.parametrize("held", HELD, ids=lambda held: type(held).__name__)
def test_what_cannot_be_named_is_refused_only_where_it_is_kept(net, few, tmp_path, held):
    class Holds(Mine):
        def __init__(self, k): self.k, self.held = k, held
    with pytest.raises(CannotDescribe, match="Expected `stressor` .* two cannot be told apart"):
        stress_sweep(net, few, [Holds(.1)], (0, 1), resume=tmp_path, **QUIET)
    stress_sweep(net, few, [Holds(.1)], (0, 1), **QUIET)


def test_descriptions_are_the_same_in_another_process():
    from conftest import python
    code = """
import functools, json, re, numpy as np, torch
from fragility_nb.core.identity import describe
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.stressors import GaussianNoise, GaussianBlur
def make(k):
    names = {"a", "b", "c"}
    def f(x, kind="a"): return x*k if kind in {"a", "b", "c", "d"} and kind in names else x
    return f
things = [make(.1), functools.partial(make(.2), kind="b"), FGSM(.1), GaussianNoise() >> GaussianBlur(), np.arange(3),
          torch.arange(3).bfloat16(), torch.device("cpu"), re.compile("a"), {"b", "a"}, make, torch.relu]
print(json.dumps(describe(things)))"""
    one, two = (python(code, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert one == two and len(json.loads(one)) == 11


# Parts of earlier versions

def test_parts_that_do_not_say_what_they_belong_to_are_computed_anew(tmp_path):
    (tmp_path/"0123456789abcdef").mkdir()
    np.savez(tmp_path/"0123456789abcdef"/"x.npz", a=1)
    with pytest.warns(UserWarning, match="does not say what it belongs to"): PartStore(tmp_path, thresholds=3)


def test_another_results_version_computes_anew(tmp_path, monkeypatch):
    from fragility_nb.core import RESULTS_VERSION, results
    PartStore(tmp_path, thresholds=3).get(lambda: dict(a=np.arange(2)), "x")
    monkeypatch.setattr(results, "result_versions", lambda: dict(results=99, torch="2.9"))
    with pytest.warns(UserWarning, match=f"versions.results: {RESULTS_VERSION} → 99"):
        store = PartStore(tmp_path, thresholds=3)
    assert store.get(lambda: dict(a=np.arange(5)), "x")["a"].size == 5


# Trainings, profiles, explorers

def test_a_training_belongs_to_its_distortion_and_its_network(tmp_path):
    data = load_data("digits", "train", n=60)
    def make(k):
        def distort(x, seed, index): return x * k
        return distort
    start = create_model("cnn3").state_dict()
    def train(k=1., act=None):
        net = create_model("cnn3")
        net.load_state_dict(start)
        if act is not None:
            for name, m in list(net.named_modules()):
                if isinstance(m, nn.ReLU): net.get_submodule(name.rpartition(".")[0]).add_module(
                    name.rpartition(".")[2], act())
        fit(net, data, epochs=2, distort=make(k), folder=tmp_path, **QUIET)
        return model_hash(net)
    first = train()
    assert train() == first
    with pytest.raises(ValueError, match=r"holds another training \(distort.closure.k: 1.0 → 0.5\)"): train(0.5)


def test_a_training_belongs_to_what_its_network_answers(net, tmp_path):
    data = load_data("digits", "train", n=60)
    fit(like(net), data, epochs=1, folder=tmp_path, **QUIET)
    with pytest.raises(ValueError, match="another training .*(answers differently on 8 of 8|gradients)"):
        fit(like(net, act=torch.tanh), data, epochs=2, folder=tmp_path, **QUIET)
    fit(like(net), data, epochs=2, folder=tmp_path, **QUIET)


def test_a_row_of_a_matrix_belongs_to_its_policy(tmp_path):
    data = load_data("digits", "train", n=60), load_data("digits", n=40)
    def rows(k):
        def darker(model, x, y, seed, index): return x * k, y
        return dict(darker=darker)
    run = lambda k, **how: train_test_matrix("cnn3", data, GaussianNoise(), [0, 1], rows=rows(k), epochs=1, searches=(),
                                             progress=False, device="cpu", **how).accuracy
    run(1., folder=tmp_path)
    with pytest.warns(UserWarning, match="policy.*k: 1.0 → 0.0"): again = run(0., folder=tmp_path)
    assert np.array_equal(again, run(0.)) # the coordinate `policy` holds an address


def test_a_profile_of_another_network_is_refused(net, few):
    other = like(net, levels=2)
    profile = activation_profile(net, few, **QUIET)
    neuron_coverage(net, few, [KMNC(10)], profile=profile, **QUIET)
    with pytest.raises(ValueError, match="same weights: the network answers differently"):
        neuron_coverage(other, few, [KMNC(10)], profile=profile, **QUIET)
    one, two = (neuron_coverage(m, few, [NC(0)], **QUIET) for m in (net, other))
    with pytest.raises(ValueError, match="same weights: the network answers differently"): merge_coverage(one, two)


def test_an_explorer_says_that_another_network_answers(net, few):
    result = filter_sweep(net, few, thresholds=2, layers=["c"], **QUIET)
    assert warn_of_another(like(net), result)
    with pytest.warns(UserWarning, match="with the same weights the network answers differently"):
        assert not warn_of_another(like(net, act=torch.tanh), result)
    text = answers_text(net, (1, 8, 8))
    assert not answers_differ(text, text) and not answers_differ(None, text)


# Bits

def flips(path, n, seed=0):
    "Copies of a file with one bit flipped each, at random places."
    raw, rng = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(n):
        flipped = bytearray(raw)
        flipped[rng.integers(len(raw))] ^= 1 << rng.integers(8)
        copy = path.with_name(f"flipped{path.suffix}")
        copy.write_bytes(flipped)
        yield copy


def test_no_flipped_bit_of_a_checkpoint_goes_unnoticed(tmp_path):
    model = create_model("cnn3")
    path = save_checkpoint(model, tmp_path/"a.safetensors", epoch=3, accuracy=0.5)
    refused, wrong, whole = 0, 0, model_hash(load_checkpoint(path))
    for copy in flips(path, 250):
        try: loaded, facts = load_checkpoint(copy), checkpoint_facts(copy)
        except ValueError as e:
            assert "flipped.safetensors" in str(e)
            refused += 1
            continue
        wrong += (model_hash(loaded), loaded.spec, facts) != (whole, model.spec, dict(epoch=3, accuracy=0.5))
    assert wrong == 0 and refused >= 240


def test_no_flipped_bit_of_a_result_goes_unnoticed(stress_result, tmp_path):
    tree = dict(sweep=stress_result, few=stress_result.isel(sample=0).assign(one=((), 0.5), text=((), "words")))
    path = save_result(tree, tmp_path/"a.nc")
    whole, refused, wrong = load_result(path), 0, 0
    for copy in flips(path, 250):
        try: loaded = load_result(copy)
        except ValueError as e:
            assert "flipped.nc" in str(e)
            refused += 1
            continue
        wrong += not loaded.identical(whole)
    assert wrong == 0 and refused >= 240


def test_files_of_earlier_versions_and_others_load(stress_result, tmp_path):
    from safetensors.torch import save_file
    stress_result.to_netcdf(tmp_path/"old.nc", engine="h5netcdf")
    assert load_result(tmp_path/"old.nc").identical(stress_result) and not is_damaged(tmp_path/"old.nc")
    save_file({"a": torch.arange(3.)}, tmp_path/"old.safetensors", metadata=dict(facts="{}"))
    assert read_safetensors(tmp_path/"old.safetensors")[0]["a"].tolist() == [0, 1, 2]
    import h5py
    path = save_result(stress_result, tmp_path/"new.nc")
    with h5py.File(path, "r+") as f: f.attrs["note"] = "written by another program"
    assert load_result(path).attrs["note"] == "written by another program"


def test_a_checkpoint_says_that_it_is_damaged(tmp_path):
    path = save_checkpoint(create_model("cnn3"), tmp_path/"a.safetensors")
    raw = bytearray(path.read_bytes())
    raw[-7] ^= 4
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="a.safetensors` is damaged"): load_checkpoint(path)
    assert provenance("x")["kind"] == "x"
