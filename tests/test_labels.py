"Whose classes are these? Orders of classes, subsets of a network's classes, Hugging Face's sets, images decoded once."
import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from fragility_nb.data.classes import class_order, imagenet_classes
from fragility_nb.data.convert import as_data
from fragility_nb.data.folders import image_files
from fragility_nb.data.images import LazyImages
from fragility_nb.data.sets import load_data
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.answers import among, match_data, predict
from fragility_nb.models.wrap import Normalized, model_hash, model_name
from fragility_nb.probes.batchnorm.statistics import statistic_gap
from fragility_nb.probes.coverage.criteria import NC
from fragility_nb.probes.coverage.probe import neuron_coverage
from fragility_nb.probes.kernels.probe import kernel_dropout
from fragility_nb.stress.attacks import FGSM, attack_images
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.stress.stressors import GaussianNoise

pytestmark = pytest.mark.quick
QUIET = dict(progress=False)
CPU = dict(device="cpu", progress=False)
WNIDS = "n01440764", "n01443537", "n02979186", "n15075141"  # places 0, 1, 482, 999


class Grey(nn.Module):
    "Class k has its logit where the mean grey is k/255: right on images of one grey, by construction."
    def __init__(self, k):
        super().__init__()
        self.layer = nn.Linear(1, k)
        grey = torch.arange(k) / (k - 1)
        self.layer.weight.data, self.layer.bias.data = 2 * grey[:, None], -grey**2

    def forward(self, x): return 1000 * self.layer(x.mean((1, 2, 3))[:, None])


def folder_of(path, greys, size=8):
    "One image of a grey in each class folder."
    for name, grey in greys.items():
        (path / name).mkdir(parents=True)
        Image.fromarray(np.full((size, size), grey, np.uint8)).save(path / name / "1.png")
    return str(path)


def tell(path, kind):
    "The classes cat, dog, eel as a file of some kind."
    names = ["cat", "dog", "eel"]
    texts = {
        "lines.txt": "cat\ndog\n\neel\n", "list.json": json.dumps(names),
        "places.json": json.dumps(dict(eel=2, cat=0, dog=1)), "keras.json": json.dumps(
            {str(k): [f"n0{k}", n] for k, n in enumerate(names)}),
        "config.json": json.dumps(dict(id2label={k: n for k, n in enumerate(names)})),
        "titled.csv": "index,name\n2,eel\n0,cat\n1,dog\n", "bare.csv": "0,cat\n1,dog\n2,eel\n",
        "titled.tsv": "class\twnid\tname\n0\tn00\tcat\n1\tn01\tdog\n2\tn02\teel\n",
        "names.csv": "name\ncat\ndog\neel\n"}
    (path / kind).write_text(texts[kind], encoding="utf-8-sig")
    return path / kind


KINDS = ["lines.txt", "list.json", "places.json", "keras.json", "config.json", "titled.csv", "bare.csv", "titled.tsv",
         "names.csv"]


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_classes(kind, tmp_path):
    order = class_order(tell(tmp_path, kind))
    assert order.names == ("cat", "dog", "eel") and [order.place(n) for n in order.names] == [0, 1, 2]
    data = load_data(folder_of(tmp_path / "set", dict(eel=3, cat=1)), classes=str(tmp_path / kind), **QUIET)
    assert data.labels.tolist() == [0, 2] and data.images[:, 0, 0, 0].tolist() == [1, 3]


def test_lists_mappings_and_joined_classes(tmp_path):
    place = folder_of(tmp_path, dict(cat=1, husky=2, poodle=3))
    for classes in (["poodle", "husky", "cat"], np.array(["poodle", "husky", "cat"]), dict(poodle=0, husky=1, cat=2),
                    {0: "poodle", 1: "husky", 2: "cat"}):
        data = load_data(place, classes=classes, **QUIET)
        assert dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist())) == {3: 0, 2: 1, 1: 2}
    joined = load_data(place, classes=dict(cat=0, husky=1, poodle=1), **QUIET)
    assert joined.labels.tolist() == [0, 1, 1] and joined.classes == ("cat", "husky / poodle")
    x = torch.rand(3, 1, 8, 8)
    assert as_data((x, ["husky", "cat", "poodle"]), classes=dict(cat=0, husky=1, poodle=1)).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("classes, message", [
    (["cat"], "none called 'dog'"), (dict(cat=0, dog=-1), "got -1"), (dict(cat=0, dog=2.5), "to map names"),
    ({0: "cat", 2: "dog"}, "none for 1"), ("no/such.csv", "a file that is there"),
    (["cat", "dog", "dog"], "'dog' twice"),
    ("titled.docx", "a file .txt, .json, .csv or .tsv"), ("broken.json", "broken.json` cannot be read as classes"),
    ("twice.csv", "each index once, but got 0 twice"), ("holes.csv", "none for 1"),
    ("wide.csv", "lines of equal length"),
    (3, "`classes`"), ([], "`classes`"), ("dogs.json", "to be a list of names"),
])
def test_wrong_classes_are_one_sentence(classes, message, tmp_path):
    place = folder_of(tmp_path / "set", dict(cat=1, dog=2))
    for name, text in {"titled.docx": "", "broken.json": "[", "twice.csv": "0,cat\n0,dog", "holes.csv": "0,cat\n2,dog",
                       "wide.csv": "0,cat\n1,dog,n1", "dogs.json": "3"}.items(): (tmp_path / name).write_text(text)
    if isinstance(classes, str) and (tmp_path / classes).is_file(): classes = tmp_path / classes
    with pytest.raises((ValueError, TypeError), match=message) as told: load_data(place, classes=classes, **QUIET)
    assert "\n" not in str(told.value)


# ImageNet's table, and a network of 1,000 classes

def test_imagenet_table_is_the_published_order():
    order = imagenet_classes()
    assert len(order) == len(set(order.names)) == 1000
    wnids = sorted(n for n in order.places if n[0] == "n" and n[1:].isdigit())
    assert [order.places[w] for w in wnids] == list(range(1000))  # ids in order are indices in order
    torchvision = pytest.importorskip("torchvision.models._meta")._IMAGENET_CATEGORIES
    same = sum(order.place(n) == k for k, n in enumerate(torchvision))
    assert same > 900, same  # the same classes, some by another of their names


@pytest.mark.parametrize("names", [WNIDS, ("tench", "goldfish", "Cassette_Player", "toilet-tissue")],
                         ids=["WordNet ids", "names"])
def test_a_folder_of_some_of_imagenet_fits_a_network_of_all(names, tmp_path):
    net, place = Grey(1000), folder_of(tmp_path, dict(zip(names, (0, 85, 170, 255))))
    data = load_data(place, **QUIET)
    matched = match_data(net, data)
    assert len(matched.classes) == 1000 and len(data.classes) == 4
    assert dict(zip(matched.images[:, 0, 0, 0].tolist(), matched.labels.tolist())) == {0: 0, 85: 1, 170: 482, 255: 999}
    assert match_data(net, place).labels.tolist() == matched.labels.tolist()  # a path fits as well
    explicit = load_data(place, classes="imagenet", **QUIET)
    assert sorted(explicit.labels.tolist()) == [0, 1, 482, 999] and explicit.classes == matched.classes
    assert len(match_data(Grey(4), data).classes) == 4  # a network of these four


@pytest.mark.parametrize("names, k, message", [
    (("tench", "goldfish", "yeti"), 1000, "'yeti' is no class of the model. Where .* `classes` says which"),
    (("tench", "n01440764"), 1000, "'n01440764' and 'tench' are one class, 'tench'"),
    (("cat", "dog", "eel"), 2, "1 classes more than the model has"),
    (("cat", "dog"), 10, "2 logits, one per class of .*, but got 10. Where"),
])
def test_folders_that_do_not_fit_are_one_sentence(names, k, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        match_data(Grey(k), load_data(folder_of(tmp_path, dict.fromkeys(names, 5)), **QUIET))


def test_a_network_says_its_own_classes(tmp_path):
    place = folder_of(tmp_path, dict(Eel=2, dog=1))
    for way in ("classes", "config"):
        net = Grey(3)
        if way == "classes": net.classes = ["cat", "dog", "eel"]
        else: net.config = type("Config", (), dict(id2label={0: "cat", 1: "dog", 2: "eel"}))()
        for model in (net, Normalized(net, 0., 1.)):
            data = match_data(model, load_data(place, **QUIET))
            assert data.classes == ("cat", "dog", "eel") and sorted(data.labels.tolist()) == [1, 2]


# Numbers

def numbered_table(folder, labels):
    folder.mkdir()
    for i, y in enumerate(labels): Image.fromarray(np.full((8, 8), 20 + y % 200, np.uint8)).save(folder / f"{i}.png")
    with open(folder / "metadata.csv", "w", newline="") as f:
        csv.writer(f).writerows([("file_name", "label"), *((f"{i}.png", y) for i, y in enumerate(labels))])
    return str(folder)


def test_whole_numbers_are_indices_of_a_network_that_has_so_many(tmp_path):
    data = load_data(numbered_table(tmp_path / "a", [3, 17, 40]), **QUIET)
    assert match_data(Grey(50), data).labels.tolist() == [3, 17, 40] and len(match_data(Grey(50), data).classes) == 50
    with pytest.warns(UserWarning, match="reach 40, more than the 3 classes of the model.*3 is class 0"):
        few = match_data(Grey(3), data)
    assert few.labels.tolist() == [0, 1, 2] and few.classes == ("3", "17", "40")
    with pytest.raises(ValueError, match="to give 41 logits.*but got 5: 36 classes more"): match_data(Grey(5), data)
    named = load_data(str(tmp_path / "a"), classes=["40", "17", "3"], **QUIET)
    assert named.labels.tolist() == [2, 1, 0]
    assert load_data(numbered_table(tmp_path / "b", [0, 1]), classes=["cat", "dog"], **QUIET).labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match="\\[0, 1\\] for 2 classes, but got \\[0, 2\\]"):
        load_data(numbered_table(tmp_path / "c", [0, 2]), classes=["cat", "dog"], **QUIET)


@pytest.mark.filterwarnings("ignore:The class folders are read in the order of their numbers")
def test_numbered_folders_are_indices_of_a_larger_network(tmp_path):
    data = load_data(folder_of(tmp_path, {"2": 2, "10": 10, "1": 1}), **QUIET)
    assert data.classes == ("1", "2", "10") and match_data(Grey(3), data).labels.tolist() == [0, 1, 2]
    assert match_data(Grey(30), data).labels.tolist() == [1, 2, 10]


def test_numbers_that_name_classes_of_a_set_are_no_indices():
    with pytest.raises(ValueError, match="to give 10 logits, one per class of digits/test, but got 11"):
        match_data(Grey(11), load_data("digits", n=20))


def test_a_mapping_may_leave_indices_out(tmp_path):
    place = folder_of(tmp_path, dict(cat=1, dog=2))
    data = match_data(Grey(9), load_data(place, classes=dict(cat=5, dog=2), **QUIET))
    assert len(data.classes) == 9 and (data.classes[5], data.classes[2]) == ("cat", "dog")
    assert sorted(data.labels.tolist()) == [2, 5]


# Among the classes that are present

@pytest.fixture(scope="module")
def three():
    "A random network of ten classes, and digits of three of them."
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    data = load_data("digits")
    return net, data.take(torch.isin(data.labels, torch.tensor([2, 5, 7])).nonzero()[:60, 0])


@pytest.mark.filterwarnings("ignore:The unfiltered accuracy")
def test_among_hides_the_other_logits_everywhere(three):
    net, data = three
    few, kept = among(net, data), [2, 5, 7]
    matched = match_data(few, data)
    assert matched.classes == ("2", "5", "7") and [kept[y] for y in matched.labels] == data.labels.tolist()
    assert match_data(few, matched) is matched  # matched once, it stays
    named = as_data((data.images, data.labels), classes=[f"digit {k}" for k in range(10)])
    assert match_data(few, named).labels.tolist() == matched.labels.tolist()
    x = data.batch(0, len(data))
    logits = net(x)[:, kept]
    torch.testing.assert_close(predict(few, data, device="cpu"), logits.detach())
    sweep = stress_sweep(few, data, [GaussianNoise(), FGSM(.1)], (0, 1), **CPU)
    truth = (logits.argmax(1) == matched.labels).float().mean()
    assert sweep.attrs["num_classes"] == 3
    assert float(sweep.correct.isel(severity=0).mean()) == pytest.approx(float(truth))
    x.requires_grad_()
    F.cross_entropy(net(x)[:, kept], matched.labels, reduction="sum").backward()
    by_hand = (x.detach() + .1 * x.grad.sign()).clamp(0, 1)
    torch.testing.assert_close(attack_images(few, data, FGSM(.1), 1, device="cpu"), by_hand)
    hit = (net(by_hand)[:, kept].argmax(1) == matched.labels).float().mean()
    assert float(sweep.correct.isel(stress=1, severity=1).mean()) == pytest.approx(float(hit))
    filtered = filter_sweep(few, data, layers=["0"], filters=["high_pass"], thresholds=2, **CPU)
    assert float(filtered.reference_accuracy[0]) == pytest.approx(float(truth)) and filtered.attrs["num_classes"] == 3
    assert float(truth) > float((predict(net, data, device="cpu").argmax(1) == data.labels).float().mean())


@pytest.mark.filterwarnings("ignore:The unfiltered accuracy")
def test_among_is_the_network_under_its_name_with_another_question(three):
    net, data = three
    few = among(net, data)
    assert model_name(few) == model_name(net) and model_hash(few) != model_hash(net)
    assert [n for n, _ in net.named_modules()] == [n.removeprefix("network").removeprefix(".") for n, _ in
                                                   few.named_modules()][1:]
    assert filter_sweep(few, data, filters=["high_pass"], thresholds=2, **CPU).layer.values.tolist() == ["0", "3"]
    whole = load_data("digits", n=20)
    with pytest.raises(ValueError, match="images of the 3 classes that `model` answers among, but got '4'"):
        match_data(few, whole)
    with pytest.raises(ValueError, match="at least 2 classes, but got 1"):
        among(net, whole.take((whole.labels == 3).nonzero()[:, 0]))


def test_among_some_of_imagenet(tmp_path):
    place = folder_of(tmp_path, dict(zip(WNIDS, (0, 85, 170, 255))))
    few = among(Grey(1000), place)
    assert few.rows.tolist() == [0, 1, 482, 999] and match_data(few, place).classes[2] == "cassette player"
    assert sorted(match_data(few, place).labels.tolist()) == [0, 1, 2, 3]


# Datasets of others

def test_a_subset_keeps_places_and_classes():
    x, y = torch.rand(10, 1, 8, 8), torch.arange(10) % 3
    whole = TensorDataset(x, y)
    whole.classes = ["cat", "dog", "eel"]
    inner = Subset(Subset(whole, [9, 3, 4, 7]), torch.tensor([2, 0]))
    for data in (as_data(inner), as_data(DataLoader(inner)), as_data(DataLoader(inner, shuffle=True))):
        assert sorted(data.index.tolist()) == [4, 9] and data.classes == ("cat", "dog", "eel")
    noise = lambda d: stress_sweep(Grey(3), d, GaussianNoise(), (0, 3), **CPU)
    part, full = noise(inner), noise(whole)
    np.testing.assert_array_equal(part.loss, full.loss.sel(sample=[4, 9]))  # the noise of an image is its own
    with pytest.warns(UserWarning, match="names 3 images, 2 different"): twice = as_data(Subset(whole, [1, 1, 2]))
    assert twice.labels.tolist() == [1, 1, 2]
    assert as_data(ConcatDataset([whole, whole])).classes == ("cat", "dog", "eel")


def hugging(n=6):
    datasets = pytest.importorskip("datasets")
    photos = [Image.fromarray(np.full((8, 10 + i, 3), 10 * i, np.uint8)) for i in range(n)]
    features = datasets.Features(dict(photo=datasets.Image(), fine=datasets.ClassLabel(names=["tench", "eel", "cock"]),
                                      coarse=datasets.ClassLabel(names=["fish", "bird"])))
    return datasets.Dataset.from_dict(dict(photo=photos, fine=[i % 3 for i in range(n)],
                                           coarse=[i % 3 // 2 for i in range(n)]), features=features)


def test_hugging_face_sets(tmp_path):
    table = hugging()
    coarse = as_data(table, label="coarse", image_size=8)
    assert coarse.classes == ("fish", "bird") and coarse.labels.tolist() == [0, 0, 1] * 2
    assert coarse.shape == (6, 3, 8, 8) and coarse.images[:, 0, 0, 0].tolist() == [0, 10, 20, 30, 40, 50]
    with pytest.raises(ValueError, match="pairs \\(image, label\\) or dicts .*`image` and `label`"): as_data(table)
    with pytest.raises(ValueError, match="`label` to be a column .*, but got 'kind'. It has: photo, fine, coarse"):
        as_data(table, label="kind")
    with pytest.raises(ValueError, match="one shape.*`image_size`"): as_data(table, label="fine")
    one = table.remove_columns("fine")
    assert as_data(one, image_size=8).hash == coarse.hash == as_data(Subset(one, range(6)), image_size=8).hash
    one.save_to_disk(tmp_path / "saved")
    stored = load_data(str(tmp_path / "saved"), image_size=8, **QUIET)
    assert stored.hash == coarse.hash and stored.classes == coarse.classes and stored.name == "saved/test"
    other = load_data(str(tmp_path / "saved"), image_size=8, classes=["bird", "fish"], **QUIET)
    assert other.classes == ("bird", "fish")
    import datasets
    datasets.DatasetDict(train=one, validation=one.select([0, 2])).save_to_disk(tmp_path / "splits")
    assert len(load_data(str(tmp_path / "splits"), "test", image_size=8, **QUIET)) == 2
    datasets.DatasetDict(train=one).save_to_disk(tmp_path / "train")
    with pytest.raises(FileNotFoundError, match="splits 'train', but none called test"):
        load_data(str(tmp_path / "train"))


class WebDataset(IterableDataset):
    "As the library has it, endless."
    __module__ = "webdataset.compat"
    def __iter__(self):
        while True: yield dict(jpg=torch.rand(1, 8, 8), cls=1, __key__="a")


class Endless(IterableDataset):
    def __iter__(self):
        while True: yield 1, 2


def test_streams_are_refused_with_what_to_do(monkeypatch):
    for stream in (WebDataset(), DataLoader(WebDataset()), hugging().to_iterable_dataset()):
        with pytest.raises(TypeError, match="to have a length and an order.*a stream. Take .*islice"): as_data(stream)
    monkeypatch.setattr("fragility_nb.data.items.MOST_STREAMED", 50)
    with pytest.raises(ValueError, match="to end, but it gave more than 50 items.*islice"): as_data(Endless())
    rows = list(hugging().to_iterable_dataset().take(4))
    data = as_data(rows, image="photo", label="fine", image_size=8, classes=["tench", "eel", "cock"])
    assert data.labels.tolist() == [0, 1, 2, 0]


# Decoding

@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(12):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)).save(tmp_path / "ab"[i % 2] / f"{i}.jpg")
    return tmp_path


def count_reads(monkeypatch):
    read, files = LazyImages._read, []
    monkeypatch.setattr(LazyImages, "_read", lambda self, file: files.append(file) or read(self, file))
    return files


def test_a_sweep_of_several_stressors_decodes_each_image_once(photos, monkeypatch):
    files = count_reads(monkeypatch)
    lazy = load_data(str(photos), image_size=16, lazy=True)
    held = load_data(str(photos), image_size=16, **QUIET)
    files.clear()
    how = dict(severities=(0, 1, 2), seeds=(0, 1), batch_size=32, **CPU)
    a, b = (stress_sweep(Grey(2), d, [GaussianNoise(), FGSM(.1)], **how) for d in (lazy, held))
    np.testing.assert_array_equal(a.loss, b.loss)
    assert sorted(files) == sorted(image_files(photos))
    files.clear()
    none = load_data(str(photos), image_size=16, lazy=True, memory=0)
    assert torch.equal(none.images[:], held.images) and torch.equal(none.images[:], held.images) and len(files) == 24
    some = load_data(str(photos), image_size=16, lazy=True, memory=5 * 3 * 16 * 16)
    for _ in range(2): assert torch.equal(some.images[:], held.images)
    assert some.images.kept.used == 5 * 3 * 16 * 16 and len(files) == 24 + 12 + 7


def test_the_measures_of_a_report_decode_each_image_once(photos, monkeypatch):
    "As `model_report` calls them, one after another, on images that are read when they are asked for."
    files, how = count_reads(monkeypatch), dict(batch_size=4, **CPU)
    torch.manual_seed(0)
    lazy = load_data(str(photos), image_size=16, lazy=True)
    files.clear()
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
    test = match_data(net, lazy)
    test = replace(test, labels=predict(net, test, device="cpu").argmax(1))  # the network is right of them
    find_epsilon(net, test, **CPU)
    stress_sweep(net, test, [GaussianNoise(), FGSM(.1)], (0, 2), **how)
    filter_sweep(net, test, thresholds=2, attack=FGSM(.1), control=1, **CPU)
    neuron_coverage(net, test, NC(.5), **CPU)
    statistic_gap(net, test, GaussianNoise(), (2,), **CPU)
    kernel_dropout(net, test, **CPU)
    assert sorted(files) == sorted(image_files(photos))


def test_what_is_kept_is_shared_by_parts_and_given_up_with_the_file(photos, monkeypatch):
    files = count_reads(monkeypatch)
    lazy = load_data(str(photos), image_size=16, lazy=True)
    first = lazy.images[:]
    assert torch.equal(lazy.take([3, 1]).images[:], first[[3, 1]]) and len(files) == 12
    loaded = torch.cat(list(lazy.images.stream([torch.arange(6), torch.arange(6, 12)], workers=1)))
    assert torch.equal(loaded, first) and len(files) == 12
    lazy.images[0:1].zero_()
    assert torch.equal(lazy.images[0:1], first[:1])  # nobody writes into what is kept
    Image.new("RGB", (40, 40), "red").save(lazy.images.files[0])
    assert lazy.images[0][0].min() > 200 and len(files) == 13


def test_worker_processes_fill_the_same_store(photos, monkeypatch):
    lazy = load_data(str(photos), image_size=16, lazy=True)
    batches = [torch.arange(0, 6), torch.arange(6, 12)]
    first = list(lazy.images.stream(batches, workers=1))
    files = count_reads(monkeypatch)
    assert torch.equal(torch.cat(first), lazy.images[:]) and files == []


@pytest.mark.parametrize("crop", [.875, .5])
def test_crop_is_torchvisions_resize_and_centre_crop(crop, photos):
    from torchvision import transforms as T
    data = load_data(str(photos), image_size=16, crop=crop, **QUIET)
    published = T.Compose([T.Resize(round(16 / crop)), T.CenterCrop(16), T.PILToTensor()])
    truth = torch.stack([published(Image.open(f)) for f in image_files(photos)])
    assert torch.equal(data.images, truth)
    pictures = as_data(([Image.open(f) for f in image_files(photos)], data.labels), image_size=16, crop=crop)
    assert torch.equal(pictures.images, data.images)


@pytest.mark.parametrize("call, message", [
    (lambda p: load_data(p, image_size=16, crop=0.), "`crop` to be a number larger than 0"),
    (lambda p: load_data("digits", image_size=16, crop=.9), "`crop` with `image_size`, for images in files"),
    (lambda p: load_data(p, image_size=16, memory=-1), "`memory` to be an integer at least 0"),
    (lambda p: load_data(p, image_size=16, crop="much"), "`crop`"),
])
def test_wrong_crops(call, message, photos):
    with pytest.raises((ValueError, TypeError), match=message): call(str(photos))
