"Data sets in the layouts they are published in, made small; user's own data; damage; caches."
import hashlib
import json
import os
import pickle
import re
import shutil
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from test_training import no_room
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fragility_nb.data.images import ImageData, LazyImages, channel_moments
from fragility_nb.data.convert import as_data
from fragility_nb.data.folders import cache_folder, list_corruptions
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import predict
from fragility_nb.stress.stressors import GaussianNoise
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.models.training import fit

QUIET = dict(progress=False)
PARTIAL = pytest.mark.filterwarnings("ignore:.*of 500 images a class")
rng = np.random.default_rng(0)


def write(path, size=(8, 8), mode="RGB", **options):
    "A random image file; its pixels."
    path.parent.mkdir(parents=True, exist_ok=True)
    a = rng.integers(0, 256, (size[1], size[0], 3) if mode == "RGB" else size[::-1], dtype=np.uint8)
    Image.fromarray(a).save(path, **options)
    return a


# Tiny ImageNet, its split and its cache

IDS = ["n02", "n01", "n03"]


@pytest.fixture
def tiny(tmp_path):
    "Tiny ImageNet with 10 training images a class; some are grey."
    base = tmp_path / "tiny-imagenet-200"
    for c in IDS:
        for i in rng.permutation(10):
            write(base / "train" / c / "images" / f"{c}_{i}.JPEG", (64, 64), "L" if i == 3 else "RGB")
    lines = []
    for i in range(6):
        write(base / "val" / "images" / f"val_{i}.JPEG", (64, 64))
        lines.append(f"val_{i}.JPEG\t{IDS[i % 3]}\t0\t0\t9\t9\n")
    (base / "val" / "val_annotations.txt").write_text("".join(lines))
    (base / "wnids.txt").write_text("\n".join(IDS))
    return tmp_path


@PARTIAL
def test_tiny_imagenet(tiny):
    train, test, val = (load_data("tiny_imagenet", s, tiny, **QUIET) for s in ("train", "test", "val"))
    assert train.shape == (24, 3, 64, 64) and test.shape == (6, 3, 64, 64) and val.shape == (6, 3, 64, 64)
    assert train.classes == ("n01", "n02", "n03")
    assert train.labels.bincount().tolist() == [8] * 3 and test.labels.bincount().tolist() == [2] * 3
    assert val.labels.tolist() == [1, 0, 2, 1, 0, 2]
    held = lambda c, i: torch.from_numpy(np.array(Image.open(tiny / "tiny-imagenet-200" / "train" / c / "images"
        / f"{c}_{i}.JPEG").convert("RGB"))).permute(2, 0, 1)
    assert all(torch.equal(test.images[k], held(c, i)) for k,
               (c, i) in enumerate((c, i) for c in sorted(IDS) for i in (4, 9)))
    # grey, as colour
    assert torch.equal(train.images[3], held("n01", 3)) and torch.equal(train.images[3, 0], train.images[3, 2])
    with pytest.warns(UserWarning, match="holds 10 of 500 images a class"):
        load_data("tiny_imagenet", "train", tiny, **QUIET)
    assert load_data(str(tiny / "tiny-imagenet-200"), "val", **QUIET).hash == val.hash


def test_the_whole_of_tiny_imagenet_splits_400_to_100(tmp_path):
    folder = tmp_path / "tiny-imagenet-200" / "train" / "n01" / "images"
    write(folder / "n01_0.JPEG", (64, 64))
    for i in range(1, 500): os.link(folder / "n01_0.JPEG", folder / f"n01_{i}.JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sizes = [len(load_data("tiny_imagenet", s, tmp_path, lazy=True)) for s in ("train", "test")]
    assert sizes == [400, 100]


@PARTIAL
def test_the_cache_is_used_and_noticed_to_be_stale(tiny, monkeypatch):
    load = lambda **how: load_data("tiny_imagenet", "train", tiny, **QUIET, **how)
    first, folder = load(), cache_folder(tiny)
    files = list(folder.iterdir())
    assert len(files) == 1
    monkeypatch.setattr(LazyImages, "_read", lambda self, file: pytest.fail("read again"))
    again = load()
    assert again.hash == first.hash and torch.equal(load(n=6).images, first.images[load(n=6).index])
    again.images[0] = 0  # a copy of its own
    assert load().hash == first.hash and load(image_size=32).shape == (24, 3, 32, 32)
    monkeypatch.undo()
    changed = tiny / "tiny-imagenet-200" / "train" / "n01" / "images" / "n01_0.JPEG"
    write(changed, (64, 64))
    os.utime(changed, (1, 1))
    second = load()
    assert second.hash != first.hash and len(list(folder.iterdir())) == 1 and list(folder.iterdir()) != files
    next(folder.iterdir()).write_bytes(b"\x93NUMPY damaged")
    assert load().hash == second.hash and load().hash == load(cache=False).hash


@PARTIAL
def test_a_full_disk_costs_the_cache_only(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "small"
    with no_room(folder, 100_000):
        monkeypatch.setenv("FRAGILITY_CACHE", str(folder))
        (folder / "tiny_imagenet-train-0123456789abcdef.npy").write_bytes(b"old")
        with pytest.warns(UserWarning, match="No cache of tiny_imagenet-train.*cannot be written"):
            data = load_data("tiny_imagenet", "train", tiny, **QUIET)
        assert [p.name for p in folder.iterdir()] == ["tiny_imagenet-train-0123456789abcdef.npy"]
    assert len(data) == 24
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAGILITY_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="No cache of"): load_data("tiny_imagenet", "train", tiny, **QUIET)


# Other sets by name

def idx(path, a):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([0, 0, 8, a.ndim]) + np.array(a.shape, ">u4").tobytes() + a.tobytes())


def test_fashion_mnist_is_torchvisions(tmp_path):
    from torchvision.datasets import FashionMNIST
    raw = tmp_path / "FashionMNIST" / "raw"
    for part in ("train", "t10k"):
        idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (12, 28, 28), dtype=np.uint8))
        idx(raw / f"{part}-labels-idx1-ubyte", rng.integers(0, 10, 12, dtype=np.uint8))
    for split in ("train", "test"):
        theirs, data = FashionMNIST(tmp_path, train=split == "train"), load_data("fashion_mnist", split, tmp_path)
        assert torch.equal(data.images[:, 0], theirs.data) and torch.equal(data.labels,
            theirs.targets) and list(data.classes) == theirs.classes
    with open(raw / "t10k-images-idx3-ubyte", "r+b") as f: f.truncate(500)
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte` is damaged"):
        load_data("fashion_mnist", "test", tmp_path)


@pytest.mark.parametrize("name,kind,key", [("cifar10", "CIFAR10", "labels"), ("cifar100", "CIFAR100", "fine_labels")])
def test_cifar_in_torchvisions_layout(tmp_path, monkeypatch, name, kind, key):
    import torchvision.datasets
    cls = getattr(torchvision.datasets, kind)
    base, sums = tmp_path / cls.base_folder, {}
    base.mkdir()
    classes, meta = [f"c{i}" for i in range(10)], cls.meta["key"]
    for file in [f for f, _ in cls.train_list + cls.test_list] + [cls.meta["filename"]]:
        content = {meta: classes} if file == cls.meta["filename"] else {"data": rng.integers(0, 256, (4, 3072),
            dtype=np.uint8), key: [3, 1, 2, 0]}
        (base / file).write_bytes(pickle.dumps(content))
        sums[file] = hashlib.md5((base / file).read_bytes()).hexdigest()
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(cls, part, [[f, sums[f]] for f, _ in getattr(cls, part)])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": sums[cls.meta["filename"]]})
    data, raw = load_data(name, "test", tmp_path), pickle.loads((base / cls.test_list[0][0]).read_bytes())
    np.testing.assert_array_equal(data.images.numpy(), raw["data"].reshape(-1, 3, 32, 32))
    assert data.labels.tolist() == [3, 1, 2, 0] and data.classes == tuple(classes)
    (base / cls.test_list[0][0]).write_bytes(b"other")  # a pickle that is not the published one is not opened
    with pytest.raises(FileNotFoundError, match="download=True"): load_data(name, "test", tmp_path)


def test_imagenet_is_scaled_as_by_torchvision_and_stays_in_its_files(tmp_path):
    from torchvision import transforms as T
    for i, (c, size) in enumerate([("n02", (300, 260)), ("n01", (500, 375)), ("n01", (250, 400)), ("n02", (256, 256))]):
        write(tmp_path / "imagenet" / "val" / c / f"{i}.JPEG", size)
    write(tmp_path / "imagenet" / "train" / "n03" / "0.JPEG")
    write(tmp_path / "imagenet" / "train" / "n01" / "0.JPEG")
    data = load_data("imagenet", root=tmp_path, lazy=True)
    assert isinstance(data.images, LazyImages) and data.shape == (4, 3, 224, 224) and data.labels.tolist() == [0, 0, 1,
        1]
    assert data.classes == ("n01", "n02", "n03")  # of both splits
    published = T.Compose([T.Resize(256), T.CenterCrop(224), T.PILToTensor()])
    for i, f in enumerate(data.images.files):
        assert torch.equal(data.images[i], published(Image.open(f).convert("RGB")))
    assert load_data("imagenet", root=tmp_path, **QUIET).images.dtype == torch.uint8  # few enough for memory
    assert torch.equal(torch.cat(list(data.images.stream([torch.tensor([2, 0]), torch.tensor([3])], workers=1))),
                       data.images[[2, 0, 3]])


def test_lazy_data_are_data(tmp_path):
    for i in range(40): write(tmp_path / "ab"[i % 2] / f"{i}.png")
    data, lazy = load_data(str(tmp_path), **QUIET), load_data(str(tmp_path), lazy=True)
    assert lazy.hash != data.hash and lazy.hash == load_data(str(tmp_path),
        lazy=True).hash and len(lazy) == 40 and lazy.shape == data.shape
    assert torch.equal(lazy.batch(3, 20), data.batch(3, 20)) and torch.equal(lazy.take([5, 1]).batch(0, 2),
        data.take([5, 1]).batch(0, 2))
    assert torch.equal(lazy[7][0], data[7][0]) and lazy.take([5]).hash != lazy.take([1]).hash
    model, how = create_model("cnn3", 2, 3), dict(device="cpu", **QUIET)
    assert torch.equal(predict(model, lazy, device="cpu"), predict(model, data, device="cpu"))
    a, b = (stress_sweep(model, d, GaussianNoise(), (0, 1), **how) for d in (data, lazy))
    np.testing.assert_array_equal(a.loss, b.loss)
    assert np.isfinite(fit(model, lazy, epochs=1, batch_size=8, **how).loss).all()
    np.testing.assert_allclose([m.numpy() for m in channel_moments(lazy)], [m.numpy() for m in channel_moments(data)])
    some = lazy.take(range(4)).images.files
    with open(some[1], "r+b") as f: f.truncate(60)
    with pytest.raises(ValueError, match=re.escape(os.path.basename(some[1])) + "` cannot be read"): lazy.batch(0, 4)
    with pytest.warns(UserWarning, match="1 of 40 files.*left out"):
        assert len(load_data(str(tmp_path), lazy=True, damaged="skip", **QUIET)) == 39


def test_channel_moments_against_numpy():
    images = torch.from_numpy(rng.integers(0, 256, (50, 3, 9, 7), dtype=np.uint8))
    mean, std = channel_moments(ImageData(images, torch.zeros(50).long(), ("a", "b")))
    x = images.numpy() / 255
    np.testing.assert_allclose(mean, x.mean((0, 2, 3)))
    np.testing.assert_allclose(std, x.std((0, 2, 3), ddof=1))


# Corrupted sets

def test_corruption_arrays_and_folders(tmp_path):
    c = tmp_path / "CIFAR-10-C"
    c.mkdir()
    a, labels = rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 10)
    np.save(c / "fog.npy", a)
    np.save(c / "labels.npy", np.tile(labels, 5))
    for severity in (1, 5):
        data = load_data(f"cifar10_c/fog/{severity}", root=tmp_path)
        np.testing.assert_array_equal(data.images.numpy(), a[(severity - 1) * 10:severity * 10].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(data.labels, labels)
        assert data.index.tolist() == list(range(10)) and data.classes[6] == "frog"
    for k in "ba": write(tmp_path / "ImageNet-C" / "snow" / "2" / k / "x.JPEG", (224, 224))
    snow = load_data("imagenet_c/snow/2", root=tmp_path, **QUIET)
    assert snow.shape == (2, 3, 224, 224) and snow.classes == ("a", "b") and list_corruptions("imagenet_c",
        tmp_path) == ["snow"] and snow.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="Did you mean 'fog'"): load_data("cifar10_c/frog/1", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="hendrycks"): load_data("cifar100_c/fog/1", root=tmp_path)


# The user's own

class Own(Dataset):
    def __init__(self, items): self.items = items
    def __len__(self): return len(self.items)
    def __getitem__(self, i): return self.items[i]


def test_torch_datasets_and_loaders():
    x, y = torch.rand(7, 3, 8, 8), torch.tensor([0, 2, 1, 0, 2, 1, 1])
    for own in (TensorDataset(x, y), DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True),
                DataLoader(TensorDataset(x, y), batch_size=2, drop_last=True)):
        assert torch.equal(as_data(own).images, x) and torch.equal(as_data(own).labels, y)
    class Stream(IterableDataset):
        def __iter__(self): return zip(x, y)
    assert torch.equal(as_data(DataLoader(Stream(), batch_size=3)).images, x) and torch.equal(as_data(Stream()).labels,
        y)
    pictures = [Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)) for _ in range(3)]
    hugging = Own([dict(image=p, label=i % 2) for i, p in enumerate(pictures)])
    hugging.features = {"label": type("ClassLabel", (), dict(names=["cat", "dog"]))()}
    data = as_data(hugging)
    assert data.classes == ("cat", "dog") and data.shape == (3, 3, 4,
        5) and np.array_equal(data.images[1].permute(1, 2, 0), np.asarray(pictures[1]))
    assert as_data((x, ["b", "a", "b", "a", "b", "b", "b"]), classes=["a", "b"]).labels.tolist() == [1, 0, 1, 0, 1, 1,
        1]


WRONG = {
    "uint8 and float": (lambda: Own([(torch.rand(1, 8, 8), 0), (torch.zeros(1, 8, 8, dtype=torch.uint8), 1),
                                     (torch.rand(1, 8, 8), 0)]), "images of one type, but got float32, uint8"),
    "two sizes": (lambda: Own([(torch.rand(1, 8, 8), 0), (torch.rand(1, 9, 8), 1), (torch.rand(1, 8, 8), 0)]),
                  "images of one shape"),
    "no pairs": (lambda: Own([torch.rand(1, 8, 8)] * 3), "pairs \\(image, label\\)"),
    "a dict without a label": (lambda: Own([dict(image=torch.rand(1, 8, 8))] * 3), "a dict with 'image'"),
    "names without an order": (lambda: Own([(torch.rand(1, 8, 8), "cat")] * 3),
                               "names like 'cat'; give their order by `classes`"),
    "empty": (lambda: Own([]), "non-empty"),
    "normalised": (lambda: Own([(torch.randn(1, 8, 8) * 3, 0)] * 3), "normalisation belongs inside the model"),
    "text as image": (lambda: Own([("a.png", 0)] * 3), "images as tensors, arrays or Pillow images, but got str"),
    "nothing": (lambda: 3, "but got int"),
}


@pytest.mark.parametrize("data,message", WRONG.values(), ids=WRONG)
def test_wrong_datasets(data, message):
    with pytest.raises((ValueError, TypeError), match=message): as_data(data())


def test_folders(tmp_path):
    with pytest.raises(ValueError, match="at least 2, but got \\[\\]"): load_data(str(tmp_path))
    write(tmp_path / "loose.png")
    with pytest.raises(ValueError, match="1 images stand in the folder itself"): load_data(str(tmp_path))
    write(tmp_path / "train" / "b" / "1.png")
    write(tmp_path / "train" / "a" / "1.png")
    write(tmp_path / "train" / "c" / "1.png")
    write(tmp_path / "val" / "c" / "1.png")
    write(tmp_path / "val" / "b" / "1.png", mode="L")
    train, val = load_data(str(tmp_path), "train", **QUIET), load_data(str(tmp_path), "val", **QUIET)
    # one order, though `val` lacks a class
    assert train.classes == val.classes == ("a", "b", "c") and val.labels.tolist() == [1, 2]
    assert load_data(str(tmp_path), "test", **QUIET).hash == val.hash
    (tmp_path / "train" / "a" / "text.jpg").write_text("no image")
    (tmp_path / "train" / "b" / "cut.png").write_bytes((tmp_path / "train" / "b" / "1.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="2 of 5 files cannot be used.*text.jpg.*cut.png.*damaged=\"skip\""):
        load_data(str(tmp_path), "train", **QUIET)
    with pytest.warns(UserWarning, match="2 of 5 files.*left out"):
        data = load_data(str(tmp_path), "train", damaged="skip", **QUIET)
    assert data.hash == train.hash
    deep = rng.integers(0, 2**16, (8, 8), dtype=np.uint16)
    for k in "ab":
        (tmp_path / "deep" / k).mkdir(parents=True)
        Image.fromarray(deep).save(tmp_path / "deep" / k / "1.png")
    np.testing.assert_array_equal(load_data(str(tmp_path / "deep"), **QUIET).images[0, 0], deep >> 8)
    with pytest.raises(ValueError, match="Unknown `damaged`"): load_data("digits", damaged="ignore")


def test_tables(tmp_path):
    for s, names in dict(train=["cat", "dog", "eel"], test=["eel", "dog"]).items():
        for i, _ in enumerate(names): write(tmp_path / s / f"{i}.png")
        (tmp_path / s / "metadata.csv").write_text("file_name,label\n"
                                                   + "".join(f"{i}.png,{y}\n" for i, y in enumerate(names)))
    test = load_data(str(tmp_path), "test", **QUIET)
    assert test.classes == ("cat", "dog", "eel") and test.labels.tolist() == [2, 1]
    one = tmp_path / "one"
    write(one / "train" / "x.png")
    write(one / "train" / "y.png")
    write(one / "test" / "z.png")
    (one / "metadata.jsonl").write_text("\n".join(json.dumps(dict(file_name=f, label=y)) for f,
                                                  y in [("train/x.png", 1), ("train/y.png", 0), ("test/z.png", 2)]))
    assert load_data(str(one), "train", **QUIET).labels.tolist() == [1, 0] and load_data(str(one), "test",
        **QUIET).classes == ("0", "1", "2")
    table = one / "metadata.csv"
    for text, message in [("name,label\na,b\n", "columns file_name and label, but got 'name', 'label'"), ("",
        "but got none"),
                          ("file_name,label\nno.png,1\ntrain/x.png,0\n",
                           "1 of 2 files.*no.png"), ("file_name,label\ntrain/x.png,a\n", "at least 2 classes")]:
        table.write_text(text)
        with pytest.raises((ValueError, FileNotFoundError), match=message): load_data(str(_flat(one)), **QUIET)
    for f in ("metadata.csv", "metadata.jsonl"): (one / f).unlink(missing_ok=True)
    (one / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="Parquet is not read"): load_data(str(_flat(one)), **QUIET)


def _flat(folder):
    "A copy of a folder whose splits have no names of splits."
    to = folder.parent / "flat"
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    shutil.rmtree(to / "test", ignore_errors=True)
    (to / "train").rename(to / "images")
    for t in to.glob("metadata.*"): t.write_bytes(t.read_bytes().replace(b"train/", b"images/"))
    return to


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet", "imagenet",
                                  "cifar10_jpeg", "cifar10_c/fog/1"])
def test_a_set_that_is_not_there(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none"))) as e:
        load_data(name, root=tmp_path / "none")
    assert any(word in str(e.value) for word in ("download=True", "http", "expected there"))


def test_reading_files_is_quick(tmp_path):
    "2,000 files of 32 pixels, far below a millisecond each: a hang, not a benchmark."
    for c in "ab": write(tmp_path / c / "0.png", (32, 32))
    for i in range(1, 1000):
        for c in "ab": os.link(tmp_path / c / "0.png", tmp_path / c / f"{i}.png")
    began = time.perf_counter()
    assert len(load_data(str(tmp_path), **QUIET)) == 2000
    assert time.perf_counter() - began < 20
