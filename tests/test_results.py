"Results and checkpoints: round trips, plain xarray, damage, and folders that cannot be written."
import os
import stat

import numpy as np
import pytest
import torch
import xarray as xr
from conftest import NO_TORCH, python

from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.core.results import load_result, save_result
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.wrap import model_hash
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.severity import stress_summary
from fragility_nb.measure.sweeps import filter_sweep


@pytest.fixture(scope="module")
def results(trained, digits, stress_result):
    filters = filter_sweep(trained, digits, scope="both", thresholds=5, attack=FGSM(0.08), progress=False)
    return dict(stress=stress_result, stress_summary=stress_summary(stress_result), filters=filters,
                scores=synaptic_scores(filters), epsilon=find_epsilon(trained, digits, progress=False))


def test_each_result_survives_a_round_trip(results, tmp_path):
    for name, ds in results.items():
        again = load_result(save_result(ds, tmp_path / f"{name}.nc"), kind=ds.attrs["kind"])
        xr.testing.assert_identical(again, ds)


def test_a_report_is_one_file_that_plain_xarray_opens(results, tmp_path):
    path = save_result(results, tmp_path / "result.nc")
    with xr.open_datatree(path) as tree:
        assert set(tree.children) == set(results)
        np.testing.assert_array_equal(tree["filters"].accuracy, results["filters"].accuracy)
        assert tree["filters"].attrs["model"] == results["filters"].attrs["model"]
    again = load_result(path)
    for name, ds in results.items(): xr.testing.assert_identical(again[name].to_dataset(inherit=False), ds)


def test_every_dimension_has_a_coordinate_and_nothing_is_padded(results):
    for name in ("stress", "filters", "scores", "stress_summary"):
        ds = results[name]
        assert set(ds.dims) <= set(ds.coords), name
        assert not any(bool(np.isnan(v).any()) for v in ds.data_vars.values() if v.dtype.kind == "f"), name
        for fact in ("schema", "kind", "package_version", "torch_version", "model", "model_hash", "data", "data_hash",
                     "created_at"):
            assert ds.attrs[fact], (name, fact)


def test_scores_are_the_same_from_a_file_without_torch(results, tmp_path):
    save_result(results["filters"], tmp_path / "filters.nc")
    code = NO_TORCH + f"""
from fragility_nb.core.results import load_result
from fragility_nb.measure.scores import synaptic_scores
print(float(synaptic_scores(load_result({str(tmp_path / 'filters.nc')!r})).score.sum()))"""
    assert float(python(code)) == float(results["scores"].score.sum())


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_result_is_one_clear_error(results, tmp_path, damage):
    path = save_result(results["stress"], tmp_path / "result.nc")
    raw = bytearray(path.read_bytes())
    if damage == "truncated": raw = raw[:-1000]
    if damage == "flipped": raw[len(raw) // 2] ^= 0xFF
    if damage == "empty": raw = b""
    if damage == "text": raw = b"not a result"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="result.nc.* cannot be read as a result"): load_result(path)


def test_another_schema_is_named(results, tmp_path):
    path = save_result(results["stress"].assign_attrs(schema="fragility_nb/99"), tmp_path / "new.nc")
    with pytest.raises(ValueError, match="expected schema 'fragility_nb/1', but got 'fragility_nb/99'"):
        load_result(path)


def test_a_failed_write_keeps_the_old_file(results, tmp_path):
    path = save_result(results["scores"], tmp_path / "result.nc")
    before = path.read_bytes()
    with pytest.raises(Exception): # noqa: B017  (whatever the netCDF library raises)
        save_result(results["scores"].assign(bad=((), object())), path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["result.nc"]


def test_a_folder_that_cannot_be_written(results, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write"): save_result(results["scores"], tmp_path / "file" / "result.nc")
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    if not os.access(locked, os.W_OK):
        with pytest.raises(OSError, match="Cannot write"): save_result(results["scores"], locked / "result.nc")


@pytest.mark.parametrize("name,kwargs", [("cnn5", {}),
                                         ("resnet18",
                                          dict(in_chans=3, image_size=32, stem="cifar", mean=[.4, .5, .6],
                                               std=[.2, .2, .3]))])
def test_checkpoint_round_trip(tmp_path, name, kwargs):
    model = create_model(name, seed=4, **kwargs)
    again = load_checkpoint(save_checkpoint(model, tmp_path / "a.safetensors"))
    assert model_hash(again) == model_hash(model) and again.spec == model.spec
    x = torch.rand(2, kwargs.get("in_chans", 1), 32, 32)
    with torch.no_grad(): assert torch.equal(model(x), again(x))
