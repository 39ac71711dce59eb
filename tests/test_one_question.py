"""Whom finished work belongs to, where that is less plain: compiled networks, batches that matter, networks without
weights or with a state of their own, scores of a retraining, folders of trainings, damaged parts."""
import copy
import json
import os
import shutil
import subprocess
import sys
import uuid
import warnings

import numpy as np
import pytest
import torch
from conftest import environment
from kills import held
from test_identity import Net, accuracy, flips, like
from torch import nn
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core import owner
from fragility_nb.core.identity import Rows
from fragility_nb.core.results import Near, PartStore
from fragility_nb.data.sets import load_data
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.checkpoints import read_safetensors, save_checkpoint
from fragility_nb.models.create import load_checkpoint
from fragility_nb.models.resume import describe_model
from fragility_nb.models.training import fit
from fragility_nb.models.wrap import Normalized, model_hash
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.probes.retraining.probe import selective_fit
from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.minimal import minimal_perturbation
from fragility_nb.stress.stressors import GaussianNoise

QUIET = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def few(): return load_data("digits", n=60)


def net_of(seed=0, **how):
    torch.manual_seed(seed)
    return Net(**how).eval()


@pytest.fixture
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# torch.compile

def compiled(net): return torch.compile(net, backend="eager")


def part_compiled(net):
    net = copy.deepcopy(net)
    net.c = torch.compile(net.c, backend="eager")
    return net


def inside(net): return Normalized(compiled(net), 0., 1.)
def in_place(net):
    net = copy.deepcopy(net)
    net.compile(backend="eager")
    return net


@pytest.mark.quick
@pytest.mark.parametrize("how", [compiled, part_compiled, in_place])
def test_a_compiled_network_is_its_original(how):
    net = net_of()
    assert describe_model(how(net)) == describe_model(net)
    assert describe_model(inside(net)) == describe_model(Normalized(net, 0., 1.)) != describe_model(net)
    scaled = Normalized(net_of(), 0., 1., resize=16)
    assert model_hash(compiled(scaled)) == model_hash(scaled) != model_hash(Normalized(net_of(), 0., 1.))


@pytest.mark.parametrize("how", [compiled, part_compiled, in_place])
def test_finished_work_of_the_original_is_that_of_the_compiled_network(few, tmp_path, no_warnings, how):
    net = net_of()
    noise = stress_sweep(net, few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    before = sorted(tmp_path.rglob("*"))
    again = stress_sweep(how(net), few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    assert again.equals(noise) and sorted(tmp_path.rglob("*")) == before and again.attrs["model"] == "Net"


def test_a_compiled_network_that_answers_otherwise_is_another(few, tmp_path):
    net, other = net_of(), compiled(like(net_of(), act=torch.tanh))
    stress_sweep(net, few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    with pytest.warns(UserWarning, match="answers differently"):
        found = stress_sweep(other, few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    assert found.equals(stress_sweep(other, few, GaussianNoise(), (0, 1), **QUIET))


# Answers that depend on the batch

class Centred(Net):
    def forward(self, x):
        out = super().forward(x)
        return out - out.mean(0)


SWEEPS = dict(
    stress=lambda net, few, **how: stress_sweep(net, few, GaussianNoise(), (0, 1), **how, **QUIET).margin,
    filters=lambda net, few, **how: filter_sweep(net, few, thresholds=3, attack=FGSM(0.1), layers=["c"], **how,
                                                 **QUIET).correct,
    kernels=lambda net, few, **how: kernel_dropout(net, few, attack=FGSM(0.1), **how, **QUIET).correct)


@pytest.mark.parametrize("kind", SWEEPS)
@pytest.mark.filterwarnings("ignore:The answers of", "ignore:The unfiltered accuracy")
def test_where_the_batch_matters_it_is_part_of_the_question(few, tmp_path, kind):
    torch.manual_seed(0)
    net, plain = Centred().eval(), net_of()
    sweep = lambda m=net, **how: SWEEPS[kind](m, few, **how)
    sweep(batch_size=20, resume=tmp_path)
    with pytest.warns(UserWarning, match="not used again: batch: 20 → 7"): other = sweep(batch_size=7, resume=tmp_path)
    assert other.equals(sweep(batch_size=7))
    sweep(plain, batch_size=20, resume=tmp_path/"plain")
    with warnings.catch_warnings(record=True) as told: sweep(plain, batch_size=7, resume=tmp_path/"plain")
    assert not any("not used again" in str(w.message) for w in told)


def test_a_smallest_change_says_that_it_holds_for_its_batch(few):
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="which images share a batch"):
        found = minimal_perturbation(Centred().eval(), few, batch_size=20, **QUIET)
    assert found.attrs["signs"] == "batch_dependent" and found.attrs["batch_size"] == 20
    plain = minimal_perturbation(net_of(), few, **QUIET)
    assert plain.attrs["signs"] == "" and "batch_size" not in plain.attrs


# Networks without weights

class Rows10(nn.Module):
    "Ten sums of brightness; nothing to be learned."
    def __init__(self, power=1):
        super().__init__()
        self.power = power

    def forward(self, x): return nn.functional.adaptive_avg_pool2d(x**self.power, (5, 2)).flatten(1)


def test_a_network_without_weights(few, tmp_path):
    net, other = Rows10(), Rows10(2)
    x, y = few.batch(0, len(few)), few.labels
    found = stress_sweep(net, few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    assert float(found.correct[0, 0].mean()) == pytest.approx(accuracy(net, x, y))
    assert model_hash(net) == model_hash(other)
    with pytest.warns(UserWarning, match="answers differently"):
        found = stress_sweep(other, few, GaussianNoise(), (0, 1), resume=tmp_path, **QUIET)
    assert float(found.correct[0, 0].mean()) == pytest.approx(accuracy(other, x, y))
    assert minimal_perturbation(net, few, **QUIET).sizes["sample"] == len(few)
    path = save_checkpoint(net, tmp_path/"none.safetensors")
    assert load_checkpoint(path, Rows10()) is not None and read_safetensors(path)[0] == {}
    for sweep in (filter_sweep, kernel_dropout):
        with pytest.raises(ValueError, match="layer"): sweep(net, few, **QUIET)
    with pytest.raises(ValueError, match="`Rows10` has no parameters"): fit(net, few, epochs=1, **QUIET)


# A state of one's own

class Keeps(Net):
    "Counts its training passes outside of its tensors."
    def __init__(self, state=None):
        super().__init__()
        self.state = state or dict(passes=0, names=["a", "é"])

    def forward(self, x):
        if self.training and isinstance(self.state, dict) and "passes" in self.state: self.state["passes"] += 1
        return super().forward(x)

    def get_extra_state(self): return copy.deepcopy(self.state)
    def set_extra_state(self, state): self.state = state


def test_a_state_of_ones_own_is_kept_and_comes_back(few, tmp_path):
    torch.manual_seed(0)
    start = Keeps()
    whole, net = copy.deepcopy(start), copy.deepcopy(start)
    fit(whole, few, epochs=3, batch_size=20, **QUIET)
    fit(net, few, epochs=1, batch_size=20, folder=tmp_path/"t", snapshots=1, ema=None, **QUIET)
    again = copy.deepcopy(start)
    fit(again, few, epochs=3, batch_size=20, folder=tmp_path/"t", snapshots=[], **QUIET)
    assert model_hash(again) == model_hash(whole) and again.state == whole.state == dict(passes=9, names=["a", "é"])
    loaded = load_checkpoint(tmp_path/"t"/"epoch-001.safetensors", Keeps())
    assert loaded.state["passes"] == 3 and model_hash(loaded) == model_hash(net)
    torch.save(net.state_dict(), tmp_path/"theirs.pt")
    assert load_checkpoint(tmp_path/"theirs.pt", Keeps()).state == net.state


@pytest.mark.parametrize("state", [(1, 2), {1: 2}, object(), {"t": torch.ones(2)}], ids=["tuple", "numbers", "object",
                                                                                     "tensor"])
def test_a_state_that_no_file_can_hold_is_told_before_training(few, tmp_path, state):
    class Odd(Net):
        def get_extra_state(self): return state
        def set_extra_state(self, state): pass
        def forward(self, x): return super().forward(x) if not self.training else pytest.fail("it was trained")
    net = Odd()
    with pytest.raises(ValueError, match="Expected `model` to be made of tensors.*_extra_state` holds"):
        fit(net, few, epochs=1, folder=tmp_path/"t", **QUIET)
    with pytest.raises(ValueError, match="_extra_state` holds"): save_checkpoint(net, tmp_path/"a.safetensors")
    assert not list(tmp_path.iterdir())


# Scores of a retraining

@pytest.mark.filterwarnings("ignore:The unfiltered accuracy")
def test_scores_of_another_network_with_the_same_weights_are_not_used(tmp_path):
    "A rate at which no weight moves; the scores of one network lie where those of the other would."
    train = load_data("digits", "train", n=80)
    start = net_of()
    fit(start, train, epochs=2, lr=3e-3, batch_size=20, **QUIET)
    how = dict(epochs=2, every=1, held_out=20, thresholds=2, attack=FGSM(0.02), sweep=dict(control=0), lr=1e-30,
               optimizer="sgd", batch_size=40, **QUIET)
    run = lambda net, folder: selective_fit(net, train, folder=folder and tmp_path/folder, **how)
    first = run(like(start), "a")
    (tmp_path/"b").mkdir()
    shutil.copy(tmp_path/"a"/"scores-001.nc", tmp_path/"b")
    other = like(start, act=nn.LeakyReLU(0.5))
    with pytest.warns(UserWarning, match="scores-001.nc` are not used again: .*answers differently"):
        found = run(other, "b")
    assert found.score.equals(run(like(start, act=nn.LeakyReLU(0.5)), None).score)
    assert not found.score.equals(first.score)
    (tmp_path/"c").mkdir()
    shutil.copy(tmp_path/"a"/"scores-001.nc", tmp_path/"c")
    made = (tmp_path/"c"/"scores-001.nc").stat().st_mtime_ns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(like(start), "c").score.equals(first.score)
    assert (tmp_path/"c"/"scores-001.nc").stat().st_mtime_ns == made


# One training in a folder at a time

def test_a_training_folder_in_use_is_refused_with_who_has_it(few, tmp_path):
    "By `fit` and by `fragility train`; what is there stays. When that process is killed, it is free at once."
    fit(net_of(), few, epochs=1, folder=tmp_path, **QUIET)
    before = (tmp_path/"state.safetensors").read_bytes()
    (tmp_path/".state.safetensors.x.part").write_bytes(b"of the other one")
    p = held(tmp_path)
    try:
        with pytest.raises(BlockingIOError, match=f"Another training works in .*process {p.pid} on "):
            fit(net_of(), few, epochs=2, folder=tmp_path, **QUIET)
        done = CliRunner().invoke(app, ["train", "--model", "cnn3", "--n", "40", "--epochs", "1", "--out",
                                        str(tmp_path)])
        assert done.exit_code == 2 and f"process {p.pid}" in done.stderr and done.stderr.count("\n") == 1
        assert (tmp_path/".state.safetensors.x.part").exists()
    finally:
        p.kill()
        p.wait()
    assert (tmp_path/"state.safetensors").read_bytes() == before
    assert fit(net_of(), few, epochs=2, folder=tmp_path, **QUIET).sizes["epoch"] == 2


def claimed(folder):
    "A claim of a process on another machine."
    facts = dict(host="node7", machine="node7 x y", pid=1, began="1", token=uuid.uuid4().hex, beat=f"{0:09}")
    (folder/".owner").write_text(json.dumps(facts))
    return facts


def test_a_training_goes_on_on_another_machine(few, tmp_path, monkeypatch):
    "A claim of a dead process of this machine, and of one elsewhere that is not heard of any more."
    monkeypatch.setattr(owner, "PATIENCE", 0.5)
    whole = net_of()
    fit(whole, few, epochs=3, **QUIET)
    fit(net_of(), few, epochs=1, folder=tmp_path, **QUIET)
    claimed(tmp_path)
    fit(net_of(), few, epochs=2, folder=tmp_path, **QUIET)
    p = held(tmp_path)
    p.kill()
    p.wait()
    last = net_of()
    fit(last, few, epochs=3, folder=tmp_path, **QUIET)
    assert model_hash(last) == model_hash(whole) and not (tmp_path/".owner").exists()


def test_a_training_whose_folder_was_taken_over_writes_nothing_more(few, tmp_path):
    class Taken:
        "In the second epoch the folder becomes another's."
        seen = 0
        def identity_facts(self): return {}
        def __call__(self, model, x, y, seed, index):
            self.seen += 1
            if self.seen == 2:
                self.facts = claimed(tmp_path)
                self.before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
            return x, y
    taken = Taken()
    with pytest.raises(BlockingIOError, match="taken over"):
        fit(net_of(), few, epochs=3, batch_size=60, augment=[taken], folder=tmp_path, **QUIET)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == taken.before


# Progress in a file

LOG = """
import os
for name in ("MININTERVAL", "MAXINTERVAL", "DELAY"): os.environ[f"TQDM_{name}"] = "60" # as the command line does
from fragility_nb.data.sets import load_data
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.create import create_model
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.stress.attacks import FGSM
data = load_data("digits", n=20)
model = create_model("cnn5")
filter_sweep(model, data, thresholds=2, attack=FGSM(0.1), epsilons=[0.1, 0.2], device="cpu")
kernel_dropout(model, data, device="cpu")
"""


def test_a_sweep_into_a_log_file_draws_no_bar_a_layer(tmp_path):
    with open(tmp_path/"log", "wb") as log:
        env = {k: v for k, v in environment().items() if k != "TQDM_DISABLE"}
        subprocess.run([sys.executable, "-c", LOG], stdout=log, stderr=log, check=True, env=env, timeout=120)
    text = (tmp_path/"log").read_text()
    assert text.count("copies [") <= 2, text # at most the end of each


# Bits, and parts of the version before

def test_no_flipped_bit_of_a_part_goes_unnoticed(tmp_path):
    "A damaged part is computed again; a damaged word on what parts belong to makes them anew."
    store = lambda: PartStore(tmp_path, about=["x"], thresholds=3, images=Rows(np.arange(9, dtype=np.uint64)),
                              answers=Near(np.linspace(-1, 1, 16).reshape(8, 2)))
    made, called = dict(correct=np.arange(40) % 3 == 0, margin=np.linspace(0, 1, 40)), []
    store().get(lambda: made, "part")
    part, = (p for p in tmp_path.rglob("*.npz"))
    for copied in flips(part, 150):
        whole = part.read_bytes()
        os.replace(copied, part)
        found = store().get(lambda: called.append(1) or made, "part")
        assert found.keys() == made.keys() and all(np.array_equal(found[k], v) for k, v in made.items())
        part.write_bytes(whole)
    assert len(called) >= 120
    identity = part.with_name("identity.json")
    text = identity.read_bytes()
    with warnings.catch_warnings(action="ignore"):
        for copied in flips(identity, 100):
            os.replace(copied, identity)
            found = store().get(lambda: made, "part")
            assert np.array_equal(found["margin"], made["margin"])
            for other in tmp_path.iterdir():
                if other != part.parent: shutil.rmtree(other)
    identity.write_bytes(text)
    assert store().get(lambda: pytest.fail("it is there"), "part")["margin"][-1] == 1


def test_parts_whose_question_stands_in_two_files_are_found(tmp_path, no_warnings):
    "As the version before wrote them."
    things = dict(thresholds=3, images=Rows(np.arange(9, dtype=np.uint64)), answers=Near(np.ones((8, 2))))
    PartStore(tmp_path, about=["x"], **things).get(lambda: dict(a=np.ones(2)), "part")
    path, = tmp_path.rglob("identity.json")
    told = json.loads(path.read_text())
    del told["arrays"]
    path.write_text(json.dumps(told))
    np.savez_compressed(path.with_suffix(".npz"), images=things["images"].digests, answers=things["answers"].values)
    part, = (p for p in tmp_path.rglob("*.npz") if p.stem != "identity")
    np.savez_compressed(part, a=np.zeros(2)) # without a digest
    found = PartStore(tmp_path, about=["x"], **things)
    assert found.get(lambda: pytest.fail("it is there"), "part")["a"].tolist() == [0, 0]
