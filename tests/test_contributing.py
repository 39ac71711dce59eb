"""The pieces that CONTRIBUTING shows run as they stand."""
import re
import textwrap
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import xarray as xr
from conftest import ROOT
from torch import nn

from fragility_nb.data.sets import DATASETS, load_data
from fragility_nb.measure.runner import provenance_of
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.models.create import create_model
from fragility_nb.models.networks import MODELS
from fragility_nb.models.answers import match_data, predict
from fragility_nb.probes.coverage.criteria import CRITERIA, Criterion
from fragility_nb.probes.coverage.probe import neuron_coverage
from fragility_nb.stress.corruptions import STRESSORS
from fragility_nb.stress.stressors import Stressor

pytestmark = pytest.mark.quick
NAMES = dict(dataclass=dataclass, ClassVar=ClassVar, torch=torch, nn=nn, xr=xr, STRESSORS=STRESSORS, Stressor=Stressor,
             CRITERIA=CRITERIA, Criterion=Criterion, match_data=match_data, predict=predict,
             provenance_of=provenance_of, MODELS=MODELS, DATASETS=DATASETS)


@pytest.fixture(scope="module")
def shown():
    "What the code blocks of CONTRIBUTING define, in their order."
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split("## Add something")[1].split("\n## ")[0]
    blocks = [textwrap.dedent(b) for b in re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)]
    assert len(blocks) == 5 and all(len(b.strip().splitlines()) < 10 for b in blocks)
    made = dict(NAMES)
    for block in blocks: exec(compile(block, "CONTRIBUTING.md", "exec"), made)  # noqa: S102
    yield made
    added = ((STRESSORS, "dim"), (CRITERIA, "strong"), (MODELS, "one_layer"), (DATASETS, "stripes"))
    for table, name in added: table.pop(name)


def test_data_set_and_model(shown):
    data = load_data("stripes")
    assert data.images.shape == (100, 1, 8, 8) and data.classes == ("horizontal", "vertical")
    assert predict(create_model("one_layer", num_classes=2), data).shape == (100, 2)


def test_stressor(shown):
    data = load_data("stripes")
    result = stress_sweep(create_model("one_layer", 2), data, STRESSORS["dim"](), (0, 2), progress=False)
    assert result.strength.values.tolist() == [[0, 0.2]]
    assert torch.equal(shown["Dim"]().perturb(torch.ones(1, 1, 2, 2), 2, None), torch.full((1, 1, 2, 2), 0.8))


def test_criterion(shown):
    model = create_model("cnn4")
    found = neuron_coverage(model, load_data("digits", n=20), [CRITERIA["strong"](0.)], progress=False)
    assert 0 < float(found.coverage.squeeze()[-1] if found.coverage.squeeze().ndim else found.coverage.squeeze()) <= 1


def test_probe(shown):
    model, data = create_model("cnn4"), load_data("digits", n=20)
    spread = shown["logit_spread"](model, data).spread
    assert spread.dims == ("sample",) and torch.equal(torch.from_numpy(spread.values), predict(model, data).std(1))
