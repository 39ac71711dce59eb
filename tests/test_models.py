"""The zoo: every network from building to sweeping, stems, ImageNet weights, own networks, checkpoints of others."""
import json
import os
import pickle
import urllib.error

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from conftest import ROOT, python
from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fragility_nb.models.activations import find_layers
from fragility_nb.data.images import ImageData, generator
from fragility_nb.models.networks import MODELS, residual_module
from fragility_nb.models.wrap import Normalized, hooked, model_hash
from fragility_nb.models.answers import match_data, predict
from fragility_nb.models.create import find_architecture, create_model, least_size, list_models, load_checkpoint
from fragility_nb.models.table import model_table
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.stress.stressors import GaussianNoise
from fragility_nb.measure.sweeps import filter_sweep, stress_sweep
from fragility_nb.models.training import fit

ZOO = sorted(MODELS)
FAMILIES = ("cifar_resnet20 densenet121 inception_v3 inception_v4 lenet1 modules_resnet resnet18 shufflenet_v2_x0_5 "
            "squeezenet1_1 vgg11".split())  # one of each
SHARED = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not SHARED.is_dir(),
                                reason=f"needs the image data in {SHARED.relative_to(ROOT.parent)} beside the "
                                       f"repository")


def noise_images(size, channels=3, n=8, classes=2):
    "Random uint8 images."
    x = torch.randint(0, 256, (n, channels, size, size), generator=generator("images", size), dtype=torch.uint8)
    return ImageData(x, torch.arange(n) % classes, tuple(map(str, range(classes))))


@pytest.mark.filterwarnings("ignore:The unfiltered accuracy")
@pytest.mark.parametrize("name", [*ZOO, "cnn2", "cnn7"])
def test_every_network_at_its_least_size(name, tmp_path):
    "Builds, trains a step, is saved and built again from the file, filtered and stressed."
    # spares seven first dense layers of 103 million weights
    stem = "cifar" if name.startswith("vgg") and name != "vgg11" else "imagenet"
    size = find_architecture(name).least[stem == "cifar"]
    data = noise_images(size)
    model = create_model(name, 2, 3, size, stem=stem)
    before = [p.detach().clone() for p in list(model.parameters())[:2]]
    log = fit(model, data, epochs=1, batch_size=8, optimizer="sgd", lr=1e-4, device="cpu", progress=False)
    assert np.isfinite(log.loss) and not all(map(torch.equal, before, model.parameters()))
    again = load_checkpoint(save_checkpoint(model, tmp_path / "net.safetensors"))
    assert model_hash(again) == model_hash(model) and again.spec == model.spec
    (tmp_path / "net.safetensors").unlink()
    correct = (predict(again, data, device="cpu").argmax(1) == data.labels).numpy()
    result = filter_sweep(again, data, layers=find_layers(again)[0].name, filters=["high_pass", "low_pass"],
                          thresholds=2, device="cpu", progress=False)
    assert (result.reference_correct.values[0] == correct).all()
    # all but, for one of the two, the extreme weight
    assert (result.removed.isel(threshold=-1) >= result.weights - 1).all()
    stressed = stress_sweep(again, data, GaussianNoise(), (1,), device="cpu", progress=False)
    assert (stressed.correct.sel(severity=0).squeeze().values == correct).all()


def shapes_only(name, size, channels=3, stem="imagenet", classes=5):
    "Shape of the logits in training mode, without arithmetic."
    with torch.device("meta"):
        net = find_architecture(name)(classes, channels, size, stem).train()
        return tuple(net(torch.empty(2, channels, size, size)).shape)


@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_least_sizes_are_the_least(stem):
    "The table's numbers are those found by trying, and `create_model` says them."
    for name in [*FAMILIES, "cnn2", "cnn3", "cnn9"]:
        least = find_architecture(name).least[stem == "cifar"]
        assert least_size(name, stem) == least, name
        if least == 1: continue
        with pytest.raises(ValueError,
                           match=f"`image_size` to be at least {least} pixels for `{name}`.*`resize={least}`"):
            create_model(name, image_size=least - 1, stem=stem)


@pytest.mark.parametrize("name", ["squeezenet1_1", "densenet121", "inception_v3", "inception_v4"])
@pytest.mark.parametrize("stem", ["imagenet", "cifar"])
def test_one_pixel_less_fails_with_real_kernels(name, stem):
    least = find_architecture(name).least[stem == "cifar"]
    net = create_model(name, 2, 1, least, stem=stem)
    assert net(torch.rand(2, 1, least, least)).shape == (2, 2)
    with pytest.raises(RuntimeError): net(torch.rand(2, 1, least - 1, least - 1))


def test_channels_classes_and_sizes():
    "1 and 3 channels, several K, 28 to 299 pixels, both stems; in training mode, too, nothing but logits comes out."
    for name in FAMILIES:
        for channels, size, stem, classes in ((1, 28, "cifar", 7), (3, 299, "imagenet", 200)):
            size = max(size, find_architecture(name).least[stem == "cifar"])  # VGG needs `resize` on 28 pixels
            assert shapes_only(name, size, channels, stem, classes) == (2, classes), name


def test_cifar_stems_keep_the_pixels():
    "The first convolution keeps the size of the images; no other weight changes its shape but where the table says so."
    for name in ("resnet18", "densenet121", "squeezenet1_1", "shufflenet_v2_x1_0", "inception_v3", "vgg11"):
        first = find_architecture(name).first
        with torch.device("meta"):
            usual, ours = (find_architecture(name)(10, 3, 32, stem) for stem in ("imagenet", "cifar"))
        conv = ours.get_submodule(first)
        assert conv(torch.empty(1, 3, 32, 32, device="meta")).shape[-1] == 32
        changed = {k for k, v in usual.state_dict().items() if ours.state_dict()[k].shape != v.shape}
        assert changed <= {f"{first}.weight", "classifier.0.weight"}, name


def test_depth_is_the_number_in_the_name():
    table = model_table(["resnet18", "resnet34", "resnet50", "resnet101", "vgg11", "vgg16_bn", "vgg19", "densenet121",
                         "cifar_resnet20", "cifar_resnet56", "cnn2", "cnn11"], image_size=32)
    for name, row in table.iterrows():
        assert row.depth == int("".join(c for c in name.removesuffix("_bn").split("_")[-1] if c.isdigit())), name
    layers = model_table(["resnet18", "resnet50", "squeezenet1_1", "shufflenet_v2_x1_0"]).layers  # as AIJ filter them
    assert layers.tolist() == [21, 54, 26, 57]
    model = create_model("shufflenet_v2_x1_0", 10, 3, 32)
    assert len(find_layers(model)) == 57


def test_costs_are_torchvisions():
    "Parameters and multiply-adds against the numbers that torchvision publishes with its weights."
    names = [n for n in ZOO if find_architecture(n).source == "torchvision"]
    table = model_table(names, 1000)
    for name, row in table.iterrows():
        meta = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta
        assert row.multiply_adds / 1e9 == pytest.approx(meta["_ops"], abs=6e-4), name
        # its number has the auxiliary classifier in it
        if name != "inception_v3": assert row.parameters == meta["num_params"], name


@pytest.mark.parametrize("name,size", [("inception_v4", 299), ("lenet5", 28), ("modules_inception", 32)])
def test_costs_are_pytorchs(name, size):
    "Multiply-adds against PyTorch's own counter."
    with torch.device("meta"), FlopCounterMode(display=False) as count:
        find_architecture(name)(10, 3, size, "imagenet").eval()(torch.empty(1, 3, size, size))
    row = model_table(name, image_size=size).loc[name]
    assert row.multiply_adds == count.get_total_flops() / 2


def test_a_table_at_a_size_that_is_too_small():
    row = model_table("vgg11", image_size=28).loc["vgg11"]
    assert row.least_size == 32 and row.parameters > 1e8 and row.isna().sum() == 2


def test_module_nets():
    "Weights of one module as the paper counts them, three poolings, and the residual connection."
    count = lambda net: sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    for kind, weights in dict(resnet=69_632, inception=192_512, resnext=70_144).items():
        net = create_model(f"modules_{kind}", 10, 3, 32).network
        assert [count(m) for m in (net.module1, net.module2, net.module3)] == [weights] * 3
        seen, x = [], torch.rand(2, 3, 32, 32)
        def note(name, module, args, seen=seen): seen.append(args[0])
        with torch.no_grad():
            with hooked({"post": net.post}, before=note): net(x)
            h = net.pre(x)
            for m in (net.module1, net.module2, net.module3): h = nn.MaxPool2d(2)(m(h) + h)
        assert seen[0].shape == (2, 256, 4, 4) and torch.allclose(seen[0], h, atol=1e-6)
        assert all([type(m) for m in c.children()] == [nn.Conv2d, nn.ReLU, nn.BatchNorm2d] for c in net.modules()
                   if isinstance(c, nn.Sequential) and hasattr(c, "conv"))
    with pytest.raises(ValueError, match="Unknown `kind`: .vgg."): residual_module("vgg")


def test_shortcuts_without_weights():
    "Option A: every second pixel, new maps zero on both sides."
    from fragility_nb.models.networks import ShortcutBlock
    x = torch.rand(2, 4, 7, 7)
    y = ShortcutBlock(4, 8, 2).shortcut(x)
    assert torch.equal(y[:, 2:6], x[..., ::2, ::2]) and not y[:, :2].any() and not y[:, 6:].any()


def test_upsampling_inside(tmp_path):
    net = create_model("inception_v4", 10, 3, 32, (.4, .5, .6), (.2, .2, .3), resize=96, seed=2)
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    with torch.no_grad():
        # the other way round
        large = F.interpolate((x - net.mean) / net.std, (96, 96), mode="bilinear", align_corners=False)
        assert torch.allclose(net(x), net.network(large), atol=1e-4)
    net(x).sum().backward()
    assert (x.grad != 0).float().mean() > 0.99
    again = load_checkpoint(save_checkpoint(net, tmp_path / "v4.safetensors"))
    assert again.resize == 96 and model_hash(again) == model_hash(net) and torch.equal(again(x), net(x))
    again.resize = 80
    assert model_hash(again) != model_hash(net)
    with pytest.raises(ValueError, match="`resize` to be an integer at least 32"):
        create_model("cnn4", image_size=32, resize=16)
    usual, ours = (create_model("shufflenet_v2_x0_5", stem=stem) for stem in ("imagenet", "cifar"))
    assert model_hash(ours) != model_hash(usual)


def test_seeds_and_the_callers_generator():
    state = torch.get_rng_state()
    one, same, other = (create_model("shufflenet_v2_x0_5", in_chans=1, seed=s) for s in (1, 1, 2))
    assert model_hash(one) == model_hash(same) != model_hash(other) and torch.equal(state, torch.get_rng_state())


def test_timm_by_name():
    net = create_model("timm:vit_tiny_patch16_224", 5, 1, 32)  # a transformer is told the size of its images
    assert net(torch.rand(2, 1, 32, 32)).shape == (2, 5) and net.spec["name"] == "timm:vit_tiny_patch16_224"
    with pytest.raises(ValueError, match="at least 16 pixels for `timm:vit"):
        create_model("timm:vit_tiny_patch16_224", 5, 1, 15)
    with pytest.raises(ValueError, match="Unknown `model`: 'timm:resnt18'. Did you mean resnet18"):
        create_model("timm:resnt18")
    with pytest.raises(ValueError, match="`stem` to be 'imagenet'"): create_model("timm:resnet18", stem="cifar")


def test_a_registered_network():
    "A plain function is enough; its least size is found by trying."
    MODELS["tiny"] = lambda k, c, size, stem: nn.Sequential(
        nn.Conv2d(c, 4, 5), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, k))
    try:
        assert create_model("tiny", 3, 1, 6)(torch.rand(2, 1, 6, 6)).shape == (2, 3)
        assert model_table("tiny").least_size["tiny"] == 6
        with pytest.raises(ValueError, match="at least 6 pixels for `tiny`"): create_model("tiny", 3, 1, 5)
    finally: del MODELS["tiny"]


@pytest.fixture
def published(monkeypatch):
    "torchvision's download replaced by a seeded network's weights; gives that network."
    torch.manual_seed(0)
    net = torchvision.models.resnet18().eval()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **k: net.state_dict())
    return net


def test_imagenet_weights_are_adapted(published):
    x = torch.rand(2, 3, 64, 64)
    usual = torchvision.transforms.Normalize((.485, .456, .406), (.229, .224, .225))
    with torch.no_grad():
        assert torch.allclose(create_model("resnet18", 1000, 3, 64, weights="imagenet")(x), published(usual(x)),
                              atol=1e-5)
        grey = create_model("resnet18", 1000, 1, 64, 0.5, 0.5, weights="imagenet")
        assert torch.allclose(grey(x[:, :1]), published((x[:, :1].repeat(1, 3, 1, 1) - 0.5) / 0.5), atol=1e-4)
        six = create_model("resnet18", 1000, 6, 64, 0.5, 0.5, weights="imagenet")
        assert torch.allclose(six(x[:, :1].repeat(1, 6, 1, 1)), grey(x[:, :1]), atol=1e-4)  # repeated and scaled
    few = create_model("resnet18", 7, 1, 32, weights="imagenet", stem="cifar")
    assert torch.equal(few.network.layer4[1].conv2.weight, published.layer4[1].conv2.weight)
    assert few.network.conv1.weight.shape == (64, 1, 3, 3) and few.network.fc.weight.shape == (7, 512)
    assert float(few.mean) == pytest.approx(0.449) and few.spec["mean"] == pytest.approx(0.449)


def test_no_network_no_imagenet_weights(monkeypatch):
    def offline(*args, **kwargs): raise urllib.error.URLError("no route to host")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ConnectionError,
                       match="ImageNet weights of `vgg11` could not be fetched .*checkpoints`, or pass the path"):
        create_model("vgg11", 10, 3, 32, weights="imagenet")
    with pytest.raises(ValueError, match="no ImageNet weights for `cnn4`; there are for .*resnet18"):
        create_model("cnn4", weights="imagenet")


@needs_data
@pytest.mark.parametrize("depth,least", [(20, 0.91), (56, 0.92)])
def test_published_checkpoints_of_cifar_resnets(depth, least):
    "Trained by others on exact CIFAR-10; test images 0-999."
    with np.load(SHARED / "cifar10_exact_5000.npz") as z: x, y = z["x_test"], z["y_test"]
    model = create_model(f"cifar_resnet{depth}", 10, 3, 32, (.485, .456, .406), (.229, .224, .225),
                         weights=SHARED / "checkpoints" / f"resnet{depth}_cifar10.pt")
    logits = predict(model, torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(), device="cpu")
    assert (logits.argmax(1).numpy() == y).mean() >= least


DRESSES = {"bare": lambda s: s, "nested": lambda s: {"epoch": 3, "state_dict": s},
           "twice nested": lambda s: {"model": {"state_dict": s}, "lr": 0.1},
           "net": lambda s: {"net": s, "acc": 91.2}, "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
           "Lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "hparams": {"lr": 0.1}},
           "compiled": lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
           "wrapped": lambda s: {f"network.{k}": v for k, v in s.items()}}


@pytest.mark.parametrize("dress", DRESSES)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".weights"])
def test_checkpoints_of_others(tmp_path, dress, suffix):
    source, path = create_model("cnn4", seed=1), tmp_path / f"net{suffix}"
    state = {k: v for k, v in source.network.state_dict().items() if "num_batches" not in k}  # as before PyTorch 0.4.1
    torch.save(DRESSES[dress](state), path)
    assert model_hash(load_checkpoint(path, create_model("cnn4"))) == model_hash(source)
    bare = load_checkpoint(path, create_model("cnn4").network)  # a network without the normalisation in front
    assert torch.equal(bare.linear.weight, source.network.linear.weight)


def test_safetensors_of_others_under_any_name(tmp_path):
    source = create_model("cnn4", seed=1)
    save_file({f"model.{k}": v for k, v in source.network.state_dict().items()}, tmp_path / "net.pt")
    assert model_hash(load_checkpoint(tmp_path / "net.pt", create_model("cnn4"))) == model_hash(source)
    torch.save(source.state_dict(), tmp_path / "net.safetensors")  # with mean and std inside, under the wrong name
    assert model_hash(load_checkpoint(tmp_path / "net.safetensors",
                                      create_model("cnn4", mean=0.1))) == model_hash(source)


def test_all_that_does_not_fit_is_named(tmp_path):
    model, state = create_model("cnn9"), create_model("cnn9").network.state_dict()
    norm = [f"bn5.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    gone = [state.pop(k) is None or k for k in ("conv3.weight", *norm, "linear.bias")]
    state |= {f"head.{i}.weight": torch.zeros(1) for i in range(9)}
    state |= {"bn1.weight": torch.zeros(3), "conv2.weight": torch.zeros(2, 2)}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError) as e: load_checkpoint(tmp_path / "a.pt", model)
    told = str(e.value)
    assert "6 missing: conv3.weight, bn5.(weight, bias, running_mean, running_var), linear.bias" in told
    assert len(gone) == 6
    assert "9 unexpected: " + ", ".join(f"head.{i}.weight" for i in range(9)) in told
    assert "2 misshaped: bn1.weight (3,) instead of (16,), conv2.weight (2, 2) instead of (16, 16, 3, 3)" in told
    assert model_hash(model) == model_hash(create_model("cnn9"))  # nothing was loaded


class Code:
    def __reduce__(self): return (os.mkdir, ("the_code_ran",))


@pytest.mark.parametrize("name", ["evil.pt", "evil.pth", "evil.safetensors", "evil"])
def test_pickles_with_code_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for write in (lambda: torch.save({"state_dict": Code()}, name),
                  lambda: torch.save(Code(), name, _use_new_zipfile_serialization=False),
                  lambda: open(name, "wb").write(pickle.dumps(Code(), 2))):
        write()
        with pytest.raises(ValueError, match="is refused: it is a pickle that would run `(posix|nt).mkdir`"):
            load_checkpoint(name, create_model("cnn3"))
    with open(name, "wb") as f: pickle.dump(Code(), f)  # of a kind that PyTorch does not read at all
    with pytest.raises(ValueError, match="is refused"): load_checkpoint(name, create_model("cnn3"))
    torch.save(create_model("cnn3"), name)  # a whole network is a pickle, too
    with pytest.raises(ValueError, match="refused: .*`state_dict"): load_checkpoint(name, create_model("cnn3"))
    assert not os.path.exists("the_code_ran")
    pickle.loads(pickle.dumps(Code()))  # the trap is armed
    assert os.path.exists("the_code_ran")


def test_files_that_are_no_checkpoints(tmp_path):
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="to hold a state dict .* but got a dict with epoch, optimizer"):
        load_checkpoint(tmp_path / "a.pt", create_model("cnn3"))
    (tmp_path / "b.pt").write_bytes(b"")
    (tmp_path / "c.safetensors").write_text("hello")
    for name in ("b.pt", "c.safetensors"):
        with pytest.raises(ValueError, match="damaged"): load_checkpoint(tmp_path / name, create_model("cnn3"))
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        load_checkpoint(tmp_path / "d.pt", create_model("cnn3"))


def test_normalisation_for_other_channels(digits):
    net = Normalized(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), [.4, .5, .6], [.2, .2, .2])
    with pytest.raises(ValueError,
                       match="cannot take images of shape \\(1, 8, 8\\): its `mean` and `std` are for 3 channels"):
        match_data(net, digits)
    for value in ("a", [], float("nan"), [[.5], [.5, .4]]):
        with pytest.raises((TypeError, ValueError), match="`mean`"): create_model("cnn4", mean=value)
    assert create_model("cnn4", in_chans=3, mean=np.array([.1, .2, .3]),
                        std=torch.tensor(.5)).spec["mean"] == pytest.approx([.1, .2, .3])
    json.dumps(create_model("cnn4", in_chans=3, mean=np.float32(.5), std=torch.ones(3)).spec)


def test_names_are_listed():
    assert {find_architecture(n).family for n in FAMILIES} == {find_architecture(n).family for n in ZOO}
    assert list_models()[:2] == ["cnn<depth>", "timm:<name>"] and set(ZOO) < set(list_models())


TF32 = {"the default": "",
        "old names": "b.cuda.matmul.allow_tf32 = True; b.cudnn.allow_tf32 = False",
        "one word": "torch.set_float32_matmul_precision('high')",
        "new names": "b.cuda.matmul.fp32_precision = 'tf32'; b.cudnn.conv.fp32_precision = 'ieee'"}


@pytest.mark.parametrize("chosen", TF32)
def test_float32_means_float32_and_the_users_choice_comes_back(chosen):
    "The flags are global and need no GPU; each choice in a process of its own, as they cannot all be taken back."
    code = f"""
import torch
from fragility_nb.models.wrap import no_autocast
if {chosen == "new names"} and not hasattr(torch.backends.cudnn, "conv"): raise SystemExit("as it was")
b = torch.backends
{TF32[chosen]}
places = [torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", torch.backends.cudnn)]
def flags(): return [getattr(p, "fp32_precision", None) or p.allow_tf32 for p in places]
def legacy(): # by the old names, where they can be read
    try: return b.cudnn.allow_tf32, b.cuda.matmul.allow_tf32
    except RuntimeError: return "cannot be read"
old, before = legacy(), flags()
for _ in range(2):
    with no_autocast(torch.device("cuda")):
        assert not any(f in (True, "tf32") for f in flags()), flags()
        with no_autocast(torch.device("cuda")): pass
        assert not any(f in (True, "tf32") for f in flags()), flags()
    assert flags() == before, (before, flags())
    assert legacy() == old, (old, legacy())
    try:
        with no_autocast(torch.device("cuda")): raise KeyError
    except KeyError: assert flags() == before
with no_autocast(torch.device("cpu")): assert flags() == before
print("as it was")"""
    assert python(code) == "as it was"
