"The rest of AIJ's definitions: bounds of ε, words for stress of the input, several ε, what the authors' notebook does."
import numpy as np
import pytest
import torch
from scipy.stats import beta
from torch import nn

from fragility_nb.data.images import ImageData
from fragility_nb.stress.minimal import find_epsilon

QUIET = dict(device="cpu", progress=False)


class Brightness(nn.Module):
    "Class 0 where the image is brighter than ½; class 1 of ten where it is darker."
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x):
        s = self.gain * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([s, -s, *[torch.full_like(s, -9.)]*8], 1)


def bright(margins):
    "Images of class 0 (of ten) that FGSM turns at these ε, by hand."
    x = 0.5 + torch.as_tensor(margins, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2)
    return ImageData(x.contiguous(), torch.zeros(len(x), dtype=torch.long), tuple("0123456789"))


def test_the_largest_epsilon_leaves_an_accuracy_that_is_clearly_above_a_guess():
    """89 of 100 images turn one by one up to ε = .089, the last eleven only at .4: Def. 8 as it stands gives .4.

    By hand: 17 right answers of 100 are clearly above 1/10 (Clopper & Pearson: .102), 16 are not (.094).
    """
    margins = [*np.arange(1, 90)/1000, *[0.4]*11]
    lows = [beta.ppf(0.025, c, 101 - c) for c in (16, 17)]
    assert lows[0] < 1/10 < lows[1]
    found = find_epsilon(Brightness(), bright(margins), bounds=True, **QUIET)
    assert float(found.epsilon_max) == pytest.approx(0.084, abs=2e-4)  # 100 − 83 = 17 right up to the 84th margin
    assert float(found.epsilon_min) == pytest.approx(0.001, abs=2e-4)
    assert float(found.epsilon) < float(found.epsilon_max)


def test_few_images_bound_no_epsilon():
    with pytest.warns(UserWarning, match="not clearly above a random guess"):
        found = find_epsilon(Brightness(), bright([0.1, 0.2, -0.3]*1), bounds=True, **QUIET)
    assert float(found.epsilon_max) == 0


def test_an_attack_that_never_reaches_a_guess_has_the_end_of_the_search():
    with pytest.warns(UserWarning, match="No ε up to"):
        found = find_epsilon(Brightness(), bright([0.4]*100), bounds=True, max_epsilon=0.2, **QUIET)
    assert float(found.epsilon_max) == 0.2
