"CIFAR-100 from a small archive in the set's own format: a folder of Python 2 pickles, whose sums are checked."
import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
import torchvision

from fragility_nb.data.sets import load_data

pytestmark = pytest.mark.quick
FINE = [f"fine{i}" for i in range(100)]
COARSE = [f"coarse{i}" for i in range(20)]


class Python2(pickle._Pickler):
    "Writes texts and bytes as Python 2 did, when the set was published."
    dispatch = dict(pickle._Pickler.dispatch)

    def text(self, value):
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = text


@pytest.fixture
def archive(tmp_path, monkeypatch):
    "The folder, and what was written; torchvision is told the sums of these files."
    folder, rng, written, sums = tmp_path / "cifar-100-python", np.random.default_rng(0), {}, {}
    folder.mkdir()

    def write(name, content):
        with open(folder / name, "wb") as f: Python2(f, 2).dump(content)
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    for split, n in (("train", 40), ("test", 20)):
        fine = rng.integers(0, 100, n)
        written[split] = dict(data=rng.integers(0, 256, (n, 3072)).astype(np.uint8), fine_labels=fine.tolist(),
                              coarse_labels=(fine // 5).tolist(), filenames=[f"{i}.png" for i in range(n)],
                              batch_label=f"{split}ing batch 1 of 1")
        write(split, written[split])
    write("meta", dict(fine_label_names=FINE, coarse_label_names=COARSE))
    cifar = torchvision.datasets.CIFAR100
    monkeypatch.setattr(cifar, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(cifar, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(cifar, "meta", dict(cifar.meta, md5=sums["meta"]))
    return tmp_path, written


def test_the_format_is_that_of_python_2(archive):
    raw = (archive[0] / "cifar-100-python" / "meta").read_bytes()
    assert raw[:2] == b"\x80\x02" and b"T\x10\x00\x00\x00fine_label_names" in raw and b"X\x10" not in raw


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("name, key, names", [("cifar100", "fine_labels", FINE),
                                              ("cifar100_coarse", "coarse_labels", COARSE)], ids=["fine", "coarse"])
def test_both_labels_are_read(archive, name, key, names, split):
    root, written = archive
    data = load_data(name, split, root, progress=False)
    images = torch.from_numpy(written[split]["data"].reshape(-1, 3, 32, 32))
    assert torch.equal(data.images, images) and data.classes == tuple(names)
    assert data.labels.tolist() == written[split][key] and data.name == f"{name}/{split}"


@pytest.mark.parametrize("name, split, told", [
    ("cifar100_corse", "test", "Did you mean 'cifar100_coarse'"), ("cifar100-coarse", "test", "cifar100_coarse"),
    ("cifar100_coarse", "val", "Unknown `split`: 'val'"), ("cifar100", "coarse", "Unknown `split`: 'coarse'")])
def test_a_wrong_word_is_refused(archive, name, split, told):
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        load_data(name, split, archive[0], progress=False)


@pytest.mark.parametrize("name", ["cifar100", "cifar100_coarse"])
@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(p.read_bytes()[:-9]), lambda p: p.unlink()],
                         ids=["cut", "missing"])
def test_what_has_another_sum_is_not_read(archive, name, damage):
    damage(archive[0] / "cifar-100-python" / "test")
    with pytest.raises(FileNotFoundError, match="cifar-100-python"):
        load_data(name, "test", archive[0], progress=False)
