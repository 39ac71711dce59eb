"Training level × test level: the diagonal on digits, what a row is, resuming, and policies."
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fragility_nb.core.results import load_result, save_result
from fragility_nb.data.sets import load_data
from fragility_nb.measure.matrix import CutMix, MixUp, StressPolicy, WorstOf, matrix_row, train_test_matrix
from fragility_nb.models.table import channel_stats
from fragility_nb.models.create import create_model
from fragility_nb.measure.severity import matrix_minimal, matrix_summary
from fragility_nb.stress.stressors import GaussianNoise, apply_stress
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.models.training import fit

NOISE = GaussianNoise(sigma=0.5, clip=False)


@pytest.fixture(scope="module")
def matrix():
    return train_test_matrix("cnn4", "digits", NOISE, (0, 0.5, 1), rows=dict(mixup="mixup"), epochs=6, lr=3e-3,
                             probes=24, progress=False)


def test_the_diagonal_wins(matrix):
    s = matrix_summary(matrix)
    assert s.best.isel(stress=0).values[-1] == "gaussian_noise 1"
    assert float(s.diagonal_low[-1]) > 0  # at the strongest level beyond doubt


def test_a_row_is_a_training_and_a_sweep(matrix, digits):
    train = load_data("digits", "train")
    net = create_model("cnn4", 10, 1, 8, *channel_stats(train), seed=0)
    fit(net, train, epochs=6, lr=3e-3, seed=0, augment=StressPolicy(NOISE, 1), progress=False)
    own, row = stress_sweep(net, digits, NOISE, (0, 0.5, 1), progress=False), matrix_row(matrix, "gaussian_noise 1")
    np.testing.assert_array_equal(own.pred, row.pred)
    z = apply_stress(NOISE, digits.batch(0, len(digits)), 0.5)
    with torch.no_grad(): accuracy = float((net(z).argmax(1) == digits.labels).double().mean())
    assert float(matrix.accuracy.sel(train="gaussian_noise 1", severity=0.5, init=0).item()) == pytest.approx(accuracy)


def test_the_worth_of_the_diagonal_by_hand(matrix):
    q, s = matrix.accuracy.values[:3, 0, 0], matrix_summary(matrix)
    np.testing.assert_allclose(s.diagonal, [q[i, i] - max(q[j, i] for j in range(3) if j != i) for i in range(3)])
    m = matrix_minimal(matrix, "fgsm", "epsilon")
    assert m.sizes["train"] == 4 and (m.mean_change_low <= m.mean_change).all() and (m.mean_change
        <= m.mean_change_high).all()


def test_it_goes_on_where_it_stopped(tmp_path, digits, monkeypatch):
    import fragility_nb.measure.matrix as module
    data, options = (load_data("digits", "train").take(range(200)), digits.take(range(64))), dict(epochs=2,
        searches=(), progress=False, seeds=(0, 1))
    whole = train_test_matrix("cnn3", data, NOISE, (0, 1), **options)
    real, calls = module.stress_sweep, []
    def stops(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3: raise KeyboardInterrupt
        return real(*args, **kwargs)
    monkeypatch.setattr(module, "stress_sweep", stops)
    with pytest.raises(KeyboardInterrupt): train_test_matrix("cnn3", data, NOISE, (0, 1), folder=tmp_path, **options)
    done = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("state.safetensors")}
    assert len(done) == 3
    again = train_test_matrix("cnn3", data, NOISE, (0, 1), folder=tmp_path, **options)
    assert all(p.stat().st_mtime_ns == t for p, t in done.items())
    np.testing.assert_array_equal(whole.pred, again.pred)
    assert not np.array_equal(whole.pred[:, 0], whole.pred[:, 1])  # two initialisations


def test_a_matrix_survives_the_disk(matrix, tmp_path):
    back = load_result(save_result(matrix, tmp_path/"m.nc"), "train_test_matrix")
    np.testing.assert_array_equal(back.pred, matrix.pred)
    assert back.train.values.tolist() == ["none", "gaussian_noise 0.5", "gaussian_noise 1", "mixup"]


@pytest.mark.parametrize("policy", [MixUp(), CutMix(0.5)], ids=repr)
def test_mixing_is_torchvisions(policy, trained, digits):
    from torchvision.transforms import v2
    x, y, state = digits.batch(0, 32), digits.labels[:32], torch.get_rng_state()
    z, soft = policy(trained, x, y, 5, digits.index[:32])
    assert torch.equal(state, torch.get_rng_state()) and soft.shape == (32, 10) and torch.allclose(soft.sum(1),
        torch.ones(32))
    if isinstance(policy, MixUp):  # one weight for all: x λ + rolled x (1 − λ)
        hard = F.one_hot(y, 10).float()
        weight = soft[(y != y.roll(1))].max(1).values.max()
        for w in (weight, 1 - weight):
            if torch.allclose(z, w*x + (1 - w)*x.roll(1, 0), atol=1e-4): break
        else: pytest.fail("no weight explains the images")
        assert torch.allclose(soft, w*hard + (1 - w)*hard.roll(1, 0), atol=1e-4)
    else: assert (((z - x).abs() < 1e-6) | ((z - x.roll(1, 0)).abs() < 1e-6)).all()
    assert isinstance(v2.MixUp(num_classes=10), v2.Transform)


def test_a_mixture_draws_each_image_by_itself(digits):
    policy = StressPolicy((GaussianNoise(), GaussianNoise(0.3)), (0, 1, 2))
    x, y = digits.batch(0, 300), digits.labels[:300]
    z, _ = policy(None, x, y, 1, digits.index[:300])
    same = (z == x).flatten(1).all(1).double().mean()
    assert 0.25 < same < 0.42  # one in three has severity 0
    rows = torch.arange(40, 90)
    torch.testing.assert_close(z[rows], policy(None, x[rows], y[rows], 1, digits.index[rows])[0])
    assert repr(eval(repr(policy))) == repr(policy)


def test_bad_input(digits):
    with pytest.raises(ValueError, match="`levels`"): train_test_matrix("cnn3", "digits", NOISE, (1, 0))
    with pytest.raises(ValueError, match="`levels`"): train_test_matrix("cnn3", "digits", NOISE, (-1, 0))
    with pytest.raises(TypeError, match="pair .train, test."): train_test_matrix("cnn3", digits, NOISE, (0, 1))
    with pytest.raises(ValueError, match="`k`"): WorstOf(NOISE, k=1)
    with pytest.raises(ValueError, match="at least one"): StressPolicy(())
