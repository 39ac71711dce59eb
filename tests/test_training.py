"Training against a bare PyTorch loop; killed, interrupted, diverged and without room on the disk."
import contextlib
import copy
import os
import resource
import subprocess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import python
from kills import survived
from torch import nn

from fragility_nb.core.results import load_result
from fragility_nb.data.images import LazyImages
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.wrap import model_hash
from fragility_nb.models.answers import predict
from fragility_nb.measure.sweeps import filter_landscape
from fragility_nb.models.augment import AUGMENTS, HorizontalFlip, RandomCrop, epoch_order, image_uniform
from fragility_nb.models.steps import OPTIMIZERS
from fragility_nb.models.training import fit, fit_inits, init_snapshots
from fragility_nb.models.resume import list_snapshots, snapshot_path
from fragility_nb.models.training import train_model

QUIET = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", n=300)


def bare(model, data, make, *, epochs, lr, batch_size, cosine=False, average=None):
    "The loop that everyone writes, with the same order of images."
    model.train()
    opt = make(model.parameters())
    steps = epochs * -(-len(data) // batch_size)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps) if cosine else None
    mean, t = {k: v.clone() for k, v in model.state_dict().items()}, 0
    for epoch in range(1, epochs + 1):
        for rows in epoch_order(len(data), 0, epoch).split(batch_size):
            loss = F.cross_entropy(model(data.images[rows].float() / 255), data.labels[rows])
            opt.zero_grad()
            loss.backward()
            opt.step()
            if plan: plan.step()
            t += 1
            d = min(average or 0, (1 + t) / (10 + t))
            mean = {k: d*m + (1 - d)*model.state_dict()[k] if m.is_floating_point() else model.state_dict()[k].clone()
                    for k, m in mean.items()}
    return {k: v.clone() for k, v in model.state_dict().items()}, mean


RECIPES = {
    "adam": (dict(lr=1e-3), lambda p: torch.optim.Adam(p, 1e-3)),
    "adamw": (dict(optimizer="adamw", lr=1e-3, weight_decay=0.1),
              lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.1)),
    "sgd, cosine, decay": (dict(optimizer="sgd", lr=0.05, schedule="cosine", weight_decay=1e-2),
                           lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-2)),
}


@pytest.mark.parametrize("options,make", RECIPES.values(), ids=RECIPES)
def test_a_bare_loop_gives_the_same_weights(train, options, make):
    model = create_model("cnn3")
    theirs, _ = bare(copy.deepcopy(model), train, make, epochs=2, lr=options["lr"], batch_size=64,
                     cosine="schedule" in options)
    log = fit(model, train, epochs=2, batch_size=64, **options, **QUIET)
    for k, v in model.state_dict().items(): torch.testing.assert_close(v, theirs[k], rtol=1e-5, atol=1e-6)
    assert not model.training and log.attrs["precision"] == "float32"


def test_the_moving_average_is_what_is_tested_and_left(train, digits, tmp_path):
    model, make = create_model("cnn3"), lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)
    raw, mean = bare(copy.deepcopy(model), train, make, epochs=2, lr=0.05, batch_size=64, average=0.8)
    log = fit(model, train, epochs=2, optimizer="sgd", lr=0.05, batch_size=64, ema=0.8, test=digits, snapshots=[2],
              folder=tmp_path, **QUIET)
    for k, v in model.state_dict().items(): torch.testing.assert_close(v, mean[k], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model.state_dict()["network.conv1.weight"], raw["network.conv1.weight"], atol=1e-4)
    assert float(log.test_accuracy[-1]) == float((predict(model, digits).argmax(1) == digits.labels).double().mean())
    assert model_hash(load_checkpoint(snapshot_path(tmp_path, 2))) == model_hash(model)


def test_mixed_precision_changes_nothing_on_a_cpu(train):
    a, b = create_model("cnn3"), create_model("cnn3")
    fit(a, train, epochs=1, **QUIET)
    fit(b, train, epochs=1, amp=True, **QUIET)
    assert model_hash(a) == model_hash(b)


def test_the_log_is_labelled_and_kept(train, digits, tmp_path):
    log = fit(create_model("cnn3"), train, epochs=3, test=digits, folder=tmp_path, **QUIET)
    assert set(log.data_vars) == {"loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate"}
    assert dict(log.sizes) == {"epoch": 3}
    assert load_result(tmp_path / "log.nc", "training").equals(log)


# Augmentation

def test_crop_and_flip_against_numpy():
    x, index = torch.rand(40, 3, 16, 16), torch.arange(100, 140)
    cropped, _ = RandomCrop(padding=3)(None, x, None, 5, index)
    flipped, _ = HorizontalFlip()(None, x, None, 5, index)
    padded, shifts, flips = np.pad(x.numpy(), ((0, 0), (0, 0), (3, 3), (3, 3))), set(), 0
    for i in range(40):
        found = [(a, b) for a in range(7) for b in range(7)
                 if np.array_equal(padded[i, :, a:a + 16, b:b + 16], cropped[i].numpy())]
        assert len(found) == 1
        shifts.add(found[0])
        flips += np.array_equal(flipped[i].numpy(), x[i].numpy()[:, :, ::-1])
        mirrored = x[i].numpy()[:, :, ::-1]
        assert any(np.array_equal(flipped[i].numpy(), image) for image in (x[i].numpy(), mirrored))
    assert len(shifts) > 20 and 8 < flips < 32


def test_draws_do_not_depend_on_the_batch():
    x, index = torch.rand(20, 1, 8, 8), torch.randperm(1000, generator=torch.Generator().manual_seed(1))[:20]
    for name in ("crop", "flip"): # mixing needs the others of its batch
        f, some = AUGMENTS[name](), [3, 11, 17]
        assert torch.equal(f(None, x, None, 9, index)[0][some], f(None, x[some], None, 9, index[some])[0])
    u = image_uniform("a", 3, index=torch.arange(50_000), draws=2)
    low, high = np.histogram(u[:, 0].numpy(), 20, (0, 1))[0].min(), np.histogram(u[:, 0].numpy(), 20, (0, 1))[0].max()
    assert 2300 < low and high < 2700 and abs(np.corrcoef(u.T.numpy())[0, 1]) < 0.02


def test_an_augmentation_sees_what_it_is_promised_and_harms_nothing(train):
    seen = []
    def spy(model, x, y, seed, index):
        seen.append((seed, index))
        model.eval()
        assert x.dtype == torch.float32 and 0 <= x.min() and x.max() <= 1 and y.dtype == torch.int64
        assert torch.equal(train.labels[index_of[index]], y)
        return x, F.one_hot(y, 10).float() * 0.9 + 0.01 # smoothed labels
    index_of = torch.full((int(train.index.max()) + 1,), -1)
    index_of[train.index] = torch.arange(len(train))
    model = create_model("cnn3")
    before = model.network.bn1.running_mean.clone()
    log = fit(model, train, epochs=2, augment=spy, **QUIET)
    assert not torch.equal(model.network.bn1.running_mean, before), "BatchNorm was not in training mode"
    assert len({s for s, _ in seen}) == 2
    first_epoch = torch.cat([index for _, index in seen[:3]])
    assert first_epoch.sort().values.tolist() == sorted(train.index.tolist())
    assert "spy" in log.attrs["augment"] and " at 0x" not in log.attrs["augment"]
    with pytest.raises(ValueError, match="Expected `augment` to give images and as many labels"):
        fit(create_model("cnn3"), train, epochs=1, augment=lambda model, x, y, seed, index: (x, y[:3]), **QUIET)


def test_a_last_image_alone_joins_the_batch_before():
    data = load_data("digits", "train", n=101)
    model = create_model("cnn4", image_size=8)  # its last BatchNorm sees 2×2 maps
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))
    for net in (model, wide): assert np.isfinite(fit(net, data, epochs=1, batch_size=50, **QUIET).loss).all()


# Whatever happens

KILLED = """
import os, sys, torch
from pathlib import Path
torch.set_num_threads(1)
from kills import Steps, check, die, replaced
from fragility_nb.models import checkpoints, resume, training
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import model_hash
data = load_data("digits", "train", n=300)
out = Path(sys.argv[1])
def train(folder, at=0):
    model = create_model("cnn3")
    training.fit(model, data, epochs=4, optimizer="sgd", lr=0.02, schedule="cosine", ema=0.9,
                 augment=["crop", Steps(at, 0.01)], snapshots=2, folder=folder, device="cpu", progress=False)
    return model_hash(model)
def half_written(nth):
    "The nth file is written by half, then the process is killed."
    real, calls = checkpoints.save_file, [0]
    def save(tensors, path, metadata=None):
        calls[0] += 1
        real(tensors, path, metadata=metadata)
        if calls[0] == nth:
            os.truncate(path, os.path.getsize(path) // 2)
            die()
    checkpoints.save_file = save
whole = train(out/"whole") # here, so that the children find everything imported
Steps.count = 0
FILES = {"hash", "log.nc", "state.safetensors", "epoch-002.safetensors", "epoch-004.safetensors"}
for name, prepare, at in (
    ("first epoch", lambda: None, 2), ("third epoch", lambda: None, 8),
    ("half a state", lambda: half_written(1), 0), ("half a later state", lambda: half_written(4), 0),
    ("half a snapshot", lambda: half_written(2), 0),
    ("after a snapshot", lambda: replaced(2), 0), ("after a state", lambda: replaced(3), 0)):
    check(out/name, prepare, train, whole, at)
    names = {p.name for p in (out/name).iterdir()}
    assert names == FILES, names
"""


def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path):
    assert len(survived(python, tmp_path, KILLED)) == 7


def test_an_interruption_keeps_what_is_finished(train, tmp_path):
    def stopping(at, calls):
        def stop(model, x, y, seed, index):
            calls.append(1)
            if len(calls) == at: raise KeyboardInterrupt
            return x, y
        stop.identity_facts = lambda: "changes nothing" # at whatever step it stops
        return stop
    two, model = create_model("cnn3"), create_model("cnn3")
    fit(two, train, epochs=2, **QUIET)
    with pytest.warns(UserWarning, match="stands at epoch 2 of 5"):
        log = fit(model, train, epochs=5, augment=stopping(8, []), **QUIET)
    assert model_hash(model) == model_hash(two) and not model.training
    assert log.attrs["incomplete"] == 1 and len(log.epoch) == 2
    with pytest.raises(KeyboardInterrupt): fit(create_model("cnn3"), train, epochs=5, augment=stopping(2, []), **QUIET)
    again = create_model("cnn3")
    with pytest.raises(KeyboardInterrupt):
        fit(again, train, epochs=3, augment=stopping(8, []), folder=tmp_path, **QUIET)
    # the same call, with the network as it was left
    fit(again, train, epochs=3, augment=stopping(0, []), folder=tmp_path, **QUIET)
    whole = create_model("cnn3")
    fit(whole, train, epochs=3, **QUIET)
    assert model_hash(again) == model_hash(whole)


class Explodes:
    "Ends the world in one step of one epoch."
    def __init__(self, step): self.step, self.calls = step, 0
    def __repr__(self): return "explodes"
    def identity_facts(self): return "changes nothing, but for that" # for a training that goes on after it
    def __call__(self, model, x, y, seed, index):
        self.calls += 1
        return (x * float("nan") if self.calls == self.step else x), y


class Poison(torch.optim.SGD):
    def step(self, closure=None):
        with torch.no_grad(): self.param_groups[0]["params"][-1].fill_(float("inf"))


def test_nan_ends_early_with_the_last_good_weights(train, tmp_path, monkeypatch):
    two, model = create_model("cnn3"), create_model("cnn3")
    fit(two, train, epochs=2, **QUIET)
    with pytest.raises(FloatingPointError,
                       match="The loss is nan in epoch 3, step 2: lower `lr`. `model` has the weights of epoch 2, and"):
        fit(model, train, epochs=5, augment=Explodes(8), folder=tmp_path, snapshots=1, **QUIET)
    assert model_hash(model) == model_hash(two) and list(list_snapshots(tmp_path)) == [1, 2] and not model.training
    # the state before is there to go on from
    fit(model, train, epochs=5, augment=Explodes(0), folder=tmp_path, **QUIET)
    monkeypatch.setitem(OPTIMIZERS, "poison", lambda parameters, lr, weight_decay: Poison(parameters, lr))
    with pytest.raises(FloatingPointError, match="not finite after the last step of epoch 1"):
        fit(create_model("cnn3"), train, epochs=1, optimizer="poison", batch_size=300, **QUIET)


@contextlib.contextmanager
def no_room(folder, size):
    "A file system of `size` bytes at `folder` where that can be had, else a limit on the size of files."
    folder.mkdir()
    mounted = hasattr(os, "geteuid") and os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 4, hard))
    try: yield mounted
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        if mounted: subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_leaves_the_old_state(train, tmp_path):
    # 90 kB, and as much again for each snapshot
    net = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 300), nn.Linear(300, 10))
    torch.manual_seed(0)
    start = net()
    model, folder = copy.deepcopy(start), tmp_path / "small"
    how = dict(optimizer="sgd", lr=0.01, folder=folder, **QUIET)
    with no_room(folder, 512 * 1024) as mounted:
        fit(model, train, epochs=1, snapshots=[0] if mounted else [], **how)
        held = model_hash(model)
        if not mounted:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with pytest.raises(OSError, match="Cannot write.*What was there before is still there"):
            fit(copy.deepcopy(start), train, epochs=9, snapshots=range(2, 10), **how)
        assert not [p for p in folder.iterdir() if p.suffix == ".part"]
        if not mounted: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        for p in folder.glob("epoch-*"): p.unlink()
        again = copy.deepcopy(start)
        log = fit(again, train, epochs=5, **how)
        assert len(log.epoch) == 5 and held
        whole = copy.deepcopy(start)
        fit(whole, train, epochs=5, **(how | dict(folder=None)))
        assert model_hash(again) == model_hash(whole)


# Several initialisations, by name, in files

def test_several_initialisations(train, digits, tmp_path):
    build = lambda seed: create_model("cnn3", seed=seed)
    log = fit_inits(build, train, inits=[3, 5], epochs=2, snapshots=1, folder=tmp_path, test=digits, **QUIET)
    assert log.test_accuracy.dims == ("init", "epoch") and log.init.values.tolist() == [3, 5]
    alone = build(5)
    single = fit(alone, train, epochs=2, seed=5, test=digits, **QUIET)
    np.testing.assert_array_equal(single.loss, log.loss.sel(init=5))
    again = fit_inits(build, train, inits=[3, 5], epochs=2, snapshots=1, folder=tmp_path, test=digits, **QUIET)
    assert again.equals(log)
    few = digits.take(range(60))
    result = filter_landscape(build(0), init_snapshots(tmp_path), few, thresholds=3, layers=["conv1"], device="cpu",
                              progress=False)
    assert result.sizes["init"] == 2 and result.epoch.values.tolist() == [1, 2]
    assert float(result.reference_accuracy.sel(epoch=2, init=1, stress="clean")) == pytest.approx(
        float((predict(alone, few).argmax(1) == few.labels).double().mean()))
    with pytest.raises(FileNotFoundError, match="init-0"): init_snapshots(tmp_path / "init-3")


def test_lazy_images_train_to_the_same_weights(train, tmp_path):
    from PIL import Image
    files = []
    for i, x in enumerate(train.images):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(x[0].numpy()).save(files[-1])
    from dataclasses import replace
    lazy = replace(train, images=LazyImages(files, (1, 8, 8)))
    a, b = (nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(64, 10)) for _ in range(2))
    b.load_state_dict(a.state_dict())
    fit(a, train, epochs=1, augment="crop", **QUIET)
    fit(b, lazy, epochs=1, augment="crop", **QUIET)
    assert model_hash(a) == model_hash(b)


def test_train_model_writes_a_model_for_a_report(tmp_path, digits):
    log = train_model("cnn3", tmp_path, n=200, epochs=2, seed=4, snapshots=[0, 1], **QUIET)
    model = load_checkpoint(tmp_path / "model.safetensors")
    assert list(list_snapshots(tmp_path)) == [0, 1, 2]
    assert float(log.test_accuracy[-1]) == float((predict(model, digits).argmax(1) == digits.labels).double().mean())
    with pytest.raises(ValueError, match="Did you mean 'resnet18'"): train_model("resnet81", tmp_path / "none", **QUIET)
    assert not (tmp_path / "none").exists()
    few, net = load_data("digits", "train", n=100), lambda: create_model("cnn3", mean=[0], std=[1])
    with pytest.warns(UserWarning, match="no snapshot of epochs"):
        fit(net(), few, epochs=1, folder=tmp_path / "b", **QUIET)
        fit(net(), few, epochs=2, snapshots=[1, 2], folder=tmp_path / "b", **QUIET)


@pytest.mark.parametrize("form", ["pair", "dataset"])
def test_images_in_any_form(train, form):
    "What `as_data` takes is trained and tested on as the same `ImageData` are."
    few = train.take(range(60))
    pair = few.images.float() / 255, few.labels
    given = pair if form == "pair" else torch.utils.data.TensorDataset(*pair)
    one, other = (fit(create_model("cnn2", 10, 1, 8), data, test=data, epochs=1, **QUIET) for data in (few, given))
    assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)
    assert one.test_accuracy.item() == other.test_accuracy.item()
