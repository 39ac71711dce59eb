"Data sets in the layouts they are published in, made small; user's own data; damage; caches."
import hashlib
import itertools
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
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler
from torch.utils.data import TensorDataset, WeightedRandomSampler

from fragility_nb.data.images import ImageData, LazyImages, channel_moments
from fragility_nb.data.convert import as_data
from fragility_nb.data.folders import cache_folder, list_corruptions
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.answers import predict
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
    for own in (TensorDataset(x, y), DataLoader(TensorDataset(x, y), batch_size=3, shuffle=True)):
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


LOADERS = {
    "in order": lambda x, y: DataLoader(TensorDataset(x, y), 4),
    "a subset drawn at random": lambda x, y: DataLoader(TensorDataset(x, y), 4, sampler=SubsetRandomSampler([9, 2, 5])),
    "a subset in its order": lambda x, y: DataLoader(TensorDataset(x, y), 4, sampler=[9, 2, 5]),
    "batches of its own": lambda x, y: DataLoader(TensorDataset(x, y), batch_sampler=[[3, 1], [7]]),
    "the last batch dropped": lambda x, y: DataLoader(TensorDataset(x, y), 4, drop_last=True),
    "shuffled": lambda x, y: DataLoader(TensorDataset(x, y), 4, shuffle=True),
    "one by one": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=None),
    "batches by the Dataset": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=None,
                                                      sampler=BatchSampler(range(10), 4, False)),
    "an own collate_fn": lambda x, y: DataLoader(TensorDataset(x, y), 4, sampler=[9, 2, 5], collate_fn=joined),
    "two workers": lambda x, y: DataLoader(TensorDataset(x, y), 4, sampler=[9, 2, 5], num_workers=2),
    "a Subset": lambda x, y: DataLoader(Subset(TensorDataset(x, y), [8, 0]), 4),
}


def joined(items): return torch.stack([x for x, _ in items]), torch.tensor([y for _, y in items])


@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_loader_gives_what_its_own_loop_gives(make):
    "As a set; in order too, where the order is not drawn at random."
    x, y = torch.rand(10, 1, 8, 8), torch.arange(10) % 3
    loader = make(x, y)
    single = isinstance(loader.batch_sampler, type(None)) and not isinstance(loader.sampler, BatchSampler)
    batches = [(a[None], torch.as_tensor(b)[None]) if single else (a, b) for a, b in loader]
    images, labels = torch.cat([a for a, _ in batches]), torch.cat([b for _, b in batches])
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = as_data(loader)
    assert torch.equal(before, torch.get_rng_state()) and len(data) == len(images)
    ordered = [torch.equal(data.images, images), torch.equal(data.labels, labels)]
    random = "Random" in type(loader.sampler).__name__
    rows = lambda a, b: sorted(zip(a.flatten(1).tolist(), b.tolist()))
    assert random or all(ordered)
    assert rows(data.images, data.labels) == rows(images, labels)
    assert torch.equal(as_data(loader).images, data.images)


def test_the_images_of_a_loader_keep_their_places_in_the_dataset():
    x, y = torch.rand(10, 1, 8, 8), torch.arange(10) % 3
    places = [9, 2, 5, 7, 0, 4, 8, 1] # so many that two draws are hardly ever in the same order
    loader = DataLoader(TensorDataset(x, y), 4, sampler=SubsetRandomSampler(places))
    assert as_data(loader).index.tolist() == sorted(places)


@pytest.mark.parametrize("options, message", [
    (dict(sampler=WeightedRandomSampler([1.] * 10, 30)), "30 images, [0-9]+ different ones of 10.*one draw"),
    (dict(shuffle=True, drop_last=True, batch_size=4), "8 images, 8 different ones of 10.*one draw"),
    (dict(sampler=[0, 0, 1]), "3 images, 2 different ones: those that come again are counted again"),
    (dict(shuffle=True, collate_fn=joined), "in the order of one draw"),
])
def test_a_loader_that_draws_otherwise_each_time_is_told(options, message):
    with pytest.warns(UserWarning, match=message):
        data = as_data(DataLoader(TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10) % 3), **options))
    assert len(data.index.unique()) == len(data)


def test_a_sampler_without_end_is_refused():
    class Endless:
        def __iter__(self): return itertools.cycle(range(10))
    own = TensorDataset(torch.rand(10, 1, 8, 8), torch.arange(10) % 3)
    with pytest.raises(ValueError, match="sampler of `data` to end"): as_data(DataLoader(own, sampler=Endless()))


# One picture, however it comes: the same numbers, or one sentence

GREY = rng.integers(0, 256, (4, 5), dtype=np.uint8)
TRUE = GREY.astype(np.float32) / 255
KINDS = {
    "8 bits": Image.fromarray(GREY), "16 bits": Image.fromarray(GREY.astype(np.uint16) * 257),
    "16 bits, another byte order": Image.fromarray((GREY.astype(">u2") * 257).astype(">u2")),
    "floats in [0, 1]": Image.fromarray(TRUE),
    "opaque alpha": Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (5, 4), 255)]),
}
WITHOUT_WHITE = {
    "int32": (Image.fromarray(GREY.astype(np.int32)), "torch.int32 in \\[[0-9]+, [0-9]+\\]: its white is not known"),
    "floats up to 255": (Image.fromarray(TRUE * 255), "to be in \\[0, 1\\].*but got"),
    "NaN": (Image.fromarray(TRUE * np.float32("nan")), "to be in \\[0, 1\\].*nan"),
    "alpha": (Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (5, 4), 7)]),
              "no transparent pixels, but got alpha down to 7 of 255"),
    "a transparent colour": (lambda im: im.info.update(transparency=int(GREY[0, 0])) or im, "no transparent pixels"),
}


def ways(picture, folder):
    "A picture as item of a Dataset, in a list, as file in a folder with and without a size: the floats of each."
    suffix = ".png" if picture.mode in ("LA", "L") else ".tif"
    for c in "ab":
        (folder / c).mkdir()
        options = dict(transparency=picture.info["transparency"]) if "transparency" in picture.info else {}
        picture.save(folder / c / f"1{suffix}", **options)
    yield lambda: as_data(Own([(picture, 0), (picture, 1)] * 2))
    yield lambda: as_data(([picture, picture], [0, 1]))
    yield lambda: load_data(str(folder), **QUIET)
    yield lambda: load_data(str(folder), lazy=True, damaged="skip", **QUIET)


@pytest.mark.parametrize("picture", KINDS.values(), ids=KINDS)
def test_one_picture_has_the_same_numbers_however_it_comes(picture, tmp_path):
    for read in ways(picture, tmp_path):
        np.testing.assert_allclose(read().batch(0, 1)[0, 0], TRUE, atol=1e-7, err_msg=str(picture))


@pytest.mark.parametrize("picture, message", WITHOUT_WHITE.values(), ids=WITHOUT_WHITE)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_a_picture_without_a_known_white_is_refused_however_it_comes(picture, message, tmp_path):
    if callable(picture): picture = picture(Image.fromarray(GREY))
    for read in ways(picture, tmp_path):
        with pytest.raises(ValueError, match=message): read()


ARRAYS = {
    "bool": (GREY > 99, (GREY > 99).astype(np.float32)), "uint16": (GREY.astype(np.uint16) * 257, TRUE),
    "backwards": (GREY[:, ::-1], TRUE[:, ::-1]), "upside down": (TRUE[::-1], TRUE[::-1]),
    "big-endian": (TRUE.astype(">f4"), TRUE),
    "big-endian 16 bits": ((GREY.astype(np.uint16) * 257).astype(">u2"), TRUE),
    "float64": (TRUE.astype(float), TRUE), "float16": (TRUE.astype(np.float16), TRUE.astype(np.float16)),
    "every second column": (GREY[:, ::2], TRUE[:, ::2]),
    "not writeable": (np.broadcast_to(TRUE[:1], (4, 5)), TRUE[[0] * 4]),
}


@pytest.mark.parametrize("array, true", ARRAYS.values(), ids=ARRAYS)
def test_an_array_has_the_same_numbers_however_it_lies_in_memory(array, true):
    many = np.stack([array] * 2)[:, None] if array.dtype.isnative else np.array([[array]] * 2, array.dtype)
    for data in (as_data(Own([(array, 0)] * 3)), as_data(([array, array], [0, 1])), as_data((many, [0, 1]))):
        np.testing.assert_allclose(data.batch(0, 1)[0, 0], true, atol=1e-7)
    np.testing.assert_allclose(as_data((many[..., ::-1], [0, 1])).batch(0, 1)[0, 0], true[:, ::-1], atol=1e-7)
    assert as_data((many, np.array([0, 1], ">i4")[::-1])).labels.tolist() == [1, 0]


def test_channels_at_the_end_come_to_the_front():
    last = rng.integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    for images in (last, last / 255., list(last), torch.from_numpy(last), [Image.fromarray(x) for x in last]):
        np.testing.assert_allclose(as_data((images, [0, 1])).batch(0, 2), last.transpose(0, 3, 1, 2) / 255, atol=1e-7)
    low = Image.new("RGB", (5, 3), "red") # three rows are no channels
    assert as_data(([low, low], [0, 1])).batch(0, 1)[0, :, 0, 0].tolist() == [1, 0, 0]
    alpha = np.full((2, 6, 5, 4), 9, np.uint8)
    with pytest.raises(ValueError, match="transparent"): as_data((alpha, [0, 1]))


# What a label is

def labelled_folder(folder, rows, header="file_name,label"):
    "A folder of images with a table."
    for i in range(4): write(folder / f"{i}.png")
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    return str(folder)


@pytest.mark.parametrize("rows, message", [
    (["0.png,cat", "1.png,", "2.png,dog"], "but got none \\(''\\) in row 2"),
    (["0.png,cat", "1.png", "2.png,dog"], "but got none \\(None\\) in row 2"),
    (["0.png,1", "1.png,5000000"], "`num_classes` 5,000,001: more than 100,000"),
    (["0.png,cat", "1.png,dog", "0.png,dog"], "each file once, but got `0.png` as 'cat' and again in row 3 as 'dog'"),
    (["0.png,cat", "1.png,dog", "./0.png,cat"], "each file once, but got `0.png`"),
    (["0.png,1.0", "1.png,2.0"], "whole numbers, or names, but got '1.0'"),
    (["0.png,0", "1.png,-1"], "whole numbers, or names, but got '-1'"),
])
def test_a_table_with_a_label_that_is_none(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message): load_data(labelled_folder(tmp_path, rows), **QUIET)


def test_whole_numbers_are_indices_however_they_are_written(tmp_path):
    data = load_data(labelled_folder(tmp_path, ["0.png,007", "1.png, 2", "2.png,0"]), **QUIET)
    assert data.labels.tolist() == [7, 2, 0] and len(data.classes) == 8
    x = torch.rand(3, 1, 8, 8)
    for labels in (["7", "2", "0"], [7, 2, 0], [torch.tensor(7), np.int16(2), 0], np.array([7, 2, 0], "u1")):
        assert as_data((x, labels)).labels.tolist() == [7, 2, 0]
        assert as_data(Own([*zip(x, labels)])).labels.tolist() == [7, 2, 0]
    assert as_data((x, ["7", "2", "0"]), classes=["7", "0", "2"]).labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize("labels, message", [
    ([0, None, 1], "none \\(None\\) in row 1"), ([0, float("nan"), 1], "none \\(nan\\) in row 1"),
    ([0, 5_000_000, 1], "`num_classes` 5,000,001"), (torch.tensor([0, 5_000_000, 1]), "`num_classes` 5,000,001"),
    ([0, True, 1], "bool True in row 1"), (["cat", "", "dog"], "none \\(''\\) in row 1"),
    ([0, 1.5, 1], "float 1.5 in row 1"), ([0, [1], 1], "list \\[1\\] in row 1"),
])
def test_a_label_that_is_none_is_refused_with_its_row(labels, message):
    x = torch.rand(3, 1, 8, 8)
    with pytest.raises((ValueError, TypeError), match=message): as_data((x, labels))
    with pytest.raises((ValueError, TypeError), match=message): as_data(Own([*zip(x, labels)]))


@pytest.fixture
def numbered(tmp_path):
    "Twelve class folders 0 to 11; an image of class c has the grey 20·c."
    for c in range(12):
        (tmp_path / str(c)).mkdir()
        Image.fromarray(np.full((8, 8), 20 * c, np.uint8)).save(tmp_path / str(c) / "1.png")
    return tmp_path


def test_numbered_class_folders_stand_in_the_order_of_their_numbers(numbered):
    with pytest.warns(UserWarning, match="class 2 is '2'. As text .* it would be '10'"):
        data = load_data(str(numbered), **QUIET)
    assert data.classes == tuple(map(str, range(12)))
    assert (data.images[:, 0, 0, 0] / 20).tolist() == data.labels.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = load_data(str(numbered), classes=sorted(data.classes), **QUIET)
        more = as_data(numbered, classes=[*map(str, range(20))])
    assert text.classes[:4] == ("0", "1", "10", "11") and [text.classes[y] for y in text.labels] == [
        str(int(x) // 20) for x in text.images[:, 0, 0, 0]]
    assert len(more.classes) == 20 and torch.equal(more.labels, data.labels)


@pytest.mark.parametrize("call, message", [
    (lambda d: load_data(d, classes=["0", "1"]), "none called '10', '11', '2', '3', '4' …"),
    (lambda d: load_data(d, classes="0123"), "`classes` to be a list"),
    (lambda d: load_data(d, classes=[*range(12), 3]), "'3' twice"),
    (lambda d: load_data("digits", classes=["a"]), "`classes` is for folders"),
    (lambda d: load_data(""), "`name` not to be empty"),
    (lambda d: load_data(3), "`name` to be a text or a path, but got 3"),
])
def test_wrong_orders_and_names(call, message, numbered):
    with pytest.raises((ValueError, TypeError), match=message): call(str(numbered))


def test_splits_that_spell_a_class_in_two_ways_are_refused(tmp_path):
    for place in ("train/Cat", "train/Dog", "test/cat", "test/Dog"): write(tmp_path / place / "1.png")
    with pytest.raises(ValueError, match="one class in two ways: 'Cat', 'cat'"): load_data(str(tmp_path), **QUIET)
    write(tmp_path / "train" / "cat" / "1.png") # side by side they are two classes
    assert load_data(str(tmp_path), **QUIET).classes == ("Cat", "Dog", "cat")


def test_one_image_twice_is_refused():
    x, y = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="`index` to name each image once, but got 3 2 times"):
        ImageData(x, y, "ab", index=torch.tensor([3, 1, 3, 0]))
    data = ImageData(x, y, "ab")
    with pytest.raises(ValueError, match="`rows` to name each image once"): data.take([0, 0])
    with pytest.raises(ValueError, match="`rows` to be in \\[0, 3\\]"): data.take([4])
    with pytest.raises(TypeError, match="`rows` to be a list of whole numbers"): data.take([])
    assert torch.equal(data.take([True, False, True, False]).labels, data.take([0, 2]).labels)
    assert data.take([-1]).index.tolist() == [3]


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
    np.testing.assert_array_equal(load_data(str(tmp_path / "deep"), **QUIET).images[0, 0],
                                  deep.astype(np.float32) / np.float32(65535))
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
