"AutoAttack on a network that others trained: He's ResNet-20 on exact CIFAR-10 images."
import numpy as np
import pytest
import torch
from conftest import ROOT

from fragility_nb.data.images import ImageData
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.models.networks import MODELS
from fragility_nb.models.wrap import Normalized
from fragility_nb.stress.attacks import FGSM, AutoAttack

SHARED = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (SHARED / "cifar10_exact_5000.npz").is_file(),
                                reason=f"needs the image data in {SHARED.relative_to(ROOT.parent)} beside the "
                                       f"repository")


def published(n):
    "The network, and the first n exact test images."
    net = MODELS["cifar_resnet20"](10, 3, 32, "imagenet")
    net.load_state_dict(torch.load(SHARED / "checkpoints" / "resnet20_cifar10.pt", weights_only=True))
    with np.load(SHARED / "cifar10_exact_5000.npz") as held: images, labels = held["x_test"][:n], held["y_test"][:n]
    model = Normalized(net, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return model, ImageData(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
                            torch.from_numpy(labels).long(), tuple(map(str, range(10))))


@needs_data
def test_autoattack_leaves_nothing_of_an_undefended_network():
    "Standard AutoAttack at 8/255: 0 % (Croce & Hein 2020 find this for every network that is trained plainly)."
    pytest.importorskip("torchattacks")
    model, data = published(16)
    result = stress_sweep(model, data, [FGSM(8/255), AutoAttack(8/255)], (0, 1), progress=False)
    accuracy = result.correct.isel(seed=0).mean("sample")
    assert float(accuracy.sel(stress="autoattack", severity=0)) >= 0.8
    assert float(accuracy.sel(stress="autoattack", severity=1)) == 0
