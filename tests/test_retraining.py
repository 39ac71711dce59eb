"Selective training: frozen to the bit whatever the optimiser, killed and resumed, plain where nothing is frozen."
import copy

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import python
from kills import survived
from scipy import stats
from torch import nn

from fragility_nb.stress.attacks import FGSM
from fragility_nb.stress.minimal import find_epsilon
from fragility_nb.core.results import load_result
from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model, load_checkpoint
from fragility_nb.models.wrap import model_hash
from fragility_nb.models.answers import predict
from fragility_nb.probes.retraining.probe import FREEZE_RULES, compare_retraining, split_holdout, layer_norms
from fragility_nb.probes.retraining.probe import retraining_gain, score_layers, selective_fit
from fragility_nb.probes.retraining.plots import plot_frozen, plot_gain, plot_periods, plot_retraining
from fragility_nb.measure.scores import synaptic_scores
from fragility_nb.measure.sweeps import filter_sweep
from fragility_nb.models.training import StopTraining, fit
from fragility_nb.models.resume import list_snapshots
from fragility_nb.models.augment import epoch_order

QUIET = dict(device="cpu", progress=False)
SHORT = dict(every=2, held_out=60, thresholds=2, lr=5e-3, batch_size=30, **QUIET)


@pytest.fixture(scope="module")
def train():
    return load_data("digits", "train", n=300)


def conv1_and_last(scores, threshold, seed): return ["conv1", "linear"]
def first_then_second(scores, threshold, seed):
    first_then_second.calls += 1
    return ["conv1"] if first_then_second.calls % 2 else ["conv2"]
first_then_second.calls = 0


def by_layer(state, layer): return {k: v for k, v in state.items() if k.startswith(f"network.{layer}.")}
def equal(a, b): return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


# Frozen to the bit

OPTIMIZERS = {"adam, decay": dict(weight_decay=0.1), "adamw": dict(optimizer="adamw", weight_decay=0.1),
              "sgd, momentum": dict(optimizer="sgd", lr=0.05, weight_decay=1e-2),
              "adam, ema": dict(weight_decay=0.1, ema=0.9),
              "cosine, augmented": dict(schedule="cosine", augment="crop")}


@pytest.mark.parametrize("how", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_frozen_weights_do_not_change_by_a_bit(train, tmp_path, how):
    model = create_model("cnn3")
    log = selective_fit(model, train, epochs=5, rule=conv1_and_last, snapshots=1, folder=tmp_path, **(SHORT | how))
    nets = {e: load_checkpoint(p).state_dict() for e, p in list_snapshots(tmp_path).items()}
    for e in (3, 4, 5):
        assert equal(by_layer(nets[2], "conv1"), by_layer(nets[e], "conv1")) and equal(by_layer(nets[2], "linear"),
            by_layer(nets[e], "linear"))
    assert not equal(by_layer(nets[1], "conv1"), by_layer(nets[2], "conv1"))
    for e in (3, 4, 5): assert not torch.equal(nets[e - 1]["network.conv2.weight"], nets[e]["network.conv2.weight"])
    assert all(p.requires_grad for p in model.parameters())
    assert log.frozen.values[:, [0, 2]].tolist() == [[False]*2]*2 + [[True]
        *2]*3 and not log.frozen.sel(layer="conv2").any()


def test_the_moments_of_a_frozen_layer_wait(train):
    "A bare loop in which the optimiser never sees the frozen layer gives the same weights, before, during and after."
    freeze = lambda model, epoch: ["network.conv1"] if epoch == 2 else []
    model = create_model("cnn3")
    theirs = copy.deepcopy(model)
    fit(model, train, epochs=3, batch_size=100, weight_decay=0.05, freeze=freeze, **QUIET)
    rest = [p for k, p in theirs.named_parameters() if "conv1" not in k]
    first, others = torch.optim.Adam(theirs.network.conv1.parameters(), 1e-3,
                                     weight_decay=0.05), torch.optim.Adam(rest, 1e-3, weight_decay=0.05)
    theirs.train()
    for epoch in (1, 2, 3):
        for rows in epoch_order(len(train), 0, epoch).split(100):
            loss = F.cross_entropy(theirs(train.images[rows].float() / 255), train.labels[rows])
            first.zero_grad()
            others.zero_grad()
            loss.backward()
            others.step()
            if epoch != 2: first.step()
    for k, v in model.state_dict().items(): torch.testing.assert_close(v, theirs.state_dict()[k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norms, gamma, mean", [("train", False, False), ("affine", True, False), ("all", True, True)])
def test_batchnorm_of_a_frozen_layer(train, tmp_path, norms, gamma, mean):
    model = create_model("cnn3")
    selective_fit(model, train, epochs=3, rule=conv1_and_last, norms=norms, snapshots=[2, 3], folder=tmp_path,
                  ema=0.9 if norms == "all" else None, **SHORT)
    a, b = (load_checkpoint(p).state_dict() for p in list_snapshots(tmp_path).values())
    same = lambda k: torch.equal(a[f"network.{k}"], b[f"network.{k}"])
    assert (same("bn1.weight"), same("bn1.bias"), same("bn1.running_mean"), same("bn1.num_batches_tracked")) == (gamma,
        gamma, mean, mean)
    assert not same("bn2.weight") and not same("bn2.running_mean") and same("conv1.weight")


def test_norms_are_found_behind_their_layers():
    data = load_data("digits", n=4, image_size=32)
    found = layer_norms(create_model("resnet18", image_size=32, in_chans=1), data)
    assert found["conv1"] == "network.bn1" and "fc" not in found
    assert found["layer4.0.downsample.0"] == "network.layer4.0.downsample.1"
    before = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4),
                           nn.Flatten(), nn.Linear(4*36, 10))
    assert layer_norms(before, load_data("digits", n=4)) == {"3": "4"} # a norm behind a ReLU belongs to no layer


def test_tied_weights_and_what_the_caller_froze(train):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(64, 64), nn.Linear(64, 64, bias=False), nn.Linear(64, 10)
            self.b.weight = self.a.weight
        def forward(self, x): return self.out(self.b(self.a(x.flatten(1)).relu()).relu())
    model = Tied()
    model.out.bias.requires_grad_(False)
    start = {k: v.clone() for k, v in model.state_dict().items()}
    fit(model, train, epochs=1, freeze=lambda model, epoch: ["b"], **QUIET)
    assert torch.equal(model.a.weight, start["a.weight"]) and not torch.equal(model.a.bias,
        start["a.bias"]) and torch.equal(model.out.bias, start["out.bias"])
    assert not model.out.bias.requires_grad and model.a.weight.requires_grad


# Plain training where nothing is frozen

def test_the_rule_none_is_fit(train, digits):
    a, b, c, d = (create_model("cnn3") for _ in range(4))
    how = dict(epochs=3, lr=1e-2, batch_size=30, ema=0.9, schedule="cosine", augment="crop", seed=4, test=digits,
               **QUIET)
    log, mine = fit(a, train, **how), selective_fit(b, train, rule="none", **how)
    assert model_hash(a) == model_hash(b) and mine[list(log.data_vars)].drop_vars("layer",
        errors="ignore").equals(log) and not mine.frozen.any()
    rest, held = split_holdout(train, 60, seed=4)
    fit(c, rest, **how)
    scored = selective_fit(d, train, rule=lambda scores, threshold, seed: [], attack=FGSM(0.05), every=1, held_out=60,
                           thresholds=2, **how) # it scores, and does nothing about it
    assert model_hash(c) == model_hash(d) and scored.period.values.tolist() == [1, 2]
    e = create_model("cnn3")
    selective_fit(e, train, rule="none", held_out=held, **how)
    assert model_hash(e) == model_hash(a)


def test_hold_out_is_stratified_and_seeded():
    labels = torch.tensor([0]*700 + [1]*250 + [2]*50)
    data = ImageData(torch.rand(1000, 1, 2, 2), labels, ("a", "b", "c"))
    rest, held = split_holdout(data, 100)
    assert abs(held.labels.bincount() - torch.tensor([70, 25, 5])).max() <= 1 and len(rest) == 900
    assert set(rest.index.tolist()) | set(held.index.tolist()) == set(range(1000))
    assert not torch.equal(split_holdout(data, 100, seed=1)[1].index, held.index)
    assert torch.equal(split_holdout(data, 100)[1].index, held.index)
    share = np.mean([[int(i) in set(split_holdout(data, 100, seed=s)[1].index.tolist()) for i in range(5)]
                     for s in range(100)])
    assert 0.04 < share < 0.18 # each image of a class as likely as another


# What is scored, and what a rule makes of it

def test_scores_are_those_of_a_filter_sweep_on_the_held_out_images(train):
    rest, held = split_holdout(train, 60)
    log = selective_fit(create_model("cnn3"), train, epochs=3, every=2, thresholds=5,
                        **{k: v for k, v in SHORT.items() if k not in ("every", "thresholds")})
    two = create_model("cnn3")
    fit(two, rest, epochs=2, lr=5e-3, batch_size=30, **QUIET)
    eps = float(find_epsilon(two, held, device="cpu", progress=False).epsilon)
    sweep = filter_sweep(two, held, thresholds=5, attack=FGSM(eps), control=2, **QUIET)
    theirs, published = synaptic_scores(sweep, baseline="random"), synaptic_scores(sweep)
    np.testing.assert_array_equal(log.score.sel(period=2).transpose(*theirs.score.dims), theirs.score)
    np.testing.assert_array_equal(log.published.sel(period=2).transpose(*theirs.score.dims), published.score)
    assert float(log.epsilon[0]) == eps
    assert float(log.held_out_accuracy.sel(period=2,
                                           stress="clean")) == float((predict(two, held).argmax(1)
                                               == held.labels).double().mean())
    difference = theirs.sel(kind="difference", filter="combined")
    sure = difference.layer.values[difference.high.values < 0]
    strongest = sorted(sure, key=lambda k: float(difference.score.sel(layer=k)))[:1] # half of three layers
    assert log.layer.values[log.frozen.isel(epoch=2).values].tolist() == strongest
    assert log.attrs["model_hash"] != model_hash(two)
    assert "freeze" not in log.attrs and log.attrs["rule"] == "difference"


def test_a_trained_network_is_scored_before_the_first_epoch(train, tmp_path):
    start = create_model("cnn3")
    fit(start, train, epochs=3, lr=1e-2, batch_size=30, **QUIET)
    model, (_, held) = copy.deepcopy(start), split_holdout(train, 60)
    how = SHORT | dict(every=3, trained=True)
    log = selective_fit(model, train, epochs=3, rule=conv1_and_last, folder=tmp_path, **how)
    assert log.period.values.tolist() == [0] and log.frozen.sel(layer=["conv1",
        "linear"]).all() and equal(by_layer(start.state_dict(), "conv1"), by_layer(model.state_dict(), "conv1"))
    theirs = score_layers(start, held, thresholds=2, **QUIET)
    np.testing.assert_array_equal(log.score.sel(period=0).transpose(*theirs.score.dims), theirs.score)
    assert selective_fit(copy.deepcopy(start), train, epochs=3, rule=conv1_and_last, folder=tmp_path, **how).equals(log)
    with pytest.raises(StopTraining, match="freezes all 3 layers after epoch 0"):
        selective_fit(start, train, epochs=2, rule=everything, **how)


def rule_table(difference, half=0.001, published=0., layers="abcdefgh", **kinds):
    "What a rule is given: point, interval and published score of each layer."
    import xarray as xr
    point = np.array([kinds.get("clean", difference), kinds.get("adversarial", difference), difference], float)
    dims, names = ("kind", "layer"), list(layers[:len(difference)])
    return xr.DataArray(point, dims=dims, coords=dict(kind=["clean", "adversarial", "difference"], layer=names,
                        low=(dims, point - half), high=(dims, point + half), published=(dims, point + published)))


def test_rules_on_planted_scores():
    s = rule_table([-0.02, 0.02, -0.005, 0], clean=[-1, 1, -1, 1.], adversarial=[1, -1, -1, 1], published=-0.01)
    one = lambda rule, limit=-0.01, seed=0, s=s: "".join(FREEZE_RULES[rule](s, limit, seed))
    rules = ("difference", "difference_positive", "clean", "adversarial", "threshold", "published", "none")
    assert [one(r) for r in rules] == ["ac", "b", "ac", "bc", "a", "acd", ""]
    assert one("threshold", 0.01) == "ac" and {len(one("random", seed=i)) for i in range(50)} == {2} # d: half of four
    assert {len(one("random_positive", seed=i)) for i in range(50)} == {1}
    counts = [sum(layer in one("random", seed=i) for i in range(1000)) for layer in "abcd"]
    assert stats.chisquare(counts).pvalue > 1e-3 and one("random", seed=3) == one("random", seed=3)


@pytest.mark.parametrize("layers", range(1, 9))
def test_no_rule_but_the_published_one_freezes_more_than_half_of_the_layers(layers):
    "Under an adaptive attack nearly every published difference score is negative: the strongest half rests, in order."
    below = rule_table(-np.arange(1., layers + 1))
    for rule in ("difference", "clean", "adversarial", "threshold"):
        assert FREEZE_RULES[rule](below, -0.01, 0) == list("abcdefgh"[:layers])[::-1][:layers // 2], rule
    assert len(FREEZE_RULES["random"](below, 0, 0)) == layers // 2
    assert FREEZE_RULES["difference_positive"](below, 0, 0) == []
    assert len(FREEZE_RULES["published"](below, 0, 0)) == layers


def test_a_layer_whose_interval_holds_0_does_not_rest():
    wide = rule_table([-0.5, -0.1, 0.1, 0.5], half=0.2)
    assert FREEZE_RULES["difference"](wide, 0, 0) == ["a"] and FREEZE_RULES["difference_positive"](wide, 0, 0) == ["d"]


def test_the_callers_attack_layers_and_sweep_are_used(train):
    log = selective_fit(create_model("cnn3"), train, epochs=2, every=1, rule="clean", held_out=60, thresholds=3,
                        attack=FGSM(0.07), layers=["conv2", "linear"],
                        sweep=dict(filters=["pulse"]), **QUIET)
    assert log.layer.values.tolist() == ["conv2", "linear"] and log["filter"].values.tolist() == ["pulse",
        "combined"] and float(log.epsilon[0]) == 0.07
    held = load_data("digits", n=60)
    with pytest.raises(ValueError, match="Unknown `layers of the rule`: 'conv1'"):
        selective_fit(create_model("cnn3"), train, epochs=2, rule=conv1_and_last, layers="linear",
                      **(SHORT | dict(every=1, held_out=held, lr=2e-2)))
    assert score_layers(create_model("cnn3"), held, attack=FGSM(0.1), thresholds=2, layers="conv1",
                        **QUIET).layer.values.tolist() == ["conv1"]


# Whatever happens

KILLED = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from kills import Steps, check, die, replaced
from fragility_nb.probes.retraining import probe as retraining
from fragility_nb.data.sets import load_data
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import model_hash
data, out = load_data("digits", "train", n=200), Path(sys.argv[1])
def two(scores, threshold, seed):
    lowest = scores.sel(kind="difference").values.argsort()[:2]
    return [str(layer) for layer in scores.layer.values[lowest]]
def train(folder, at=0):
    model = create_model("cnn3")
    log = retraining.selective_fit(model, data, epochs=5, every=2, rule=two, held_out=50, thresholds=2, lr=2e-2,
                                   batch_size=50, weight_decay=0.01, ema=0.6, augment=[Steps(at)], folder=folder,
                                   device="cpu", progress=False)
    return model_hash(model) + str(log.frozen.values.tolist()) + str(log.score.values.tolist())
def sweeping():
    real = retraining.filter_sweep
    retraining.filter_sweep = lambda *a, **k: (real(*a, **k), die())
whole = train(out/"whole")
Steps.count = 0
for name, prepare, at in (("start of a period", lambda: None, 5), ("middle of a period", lambda: None, 7),
                          ("scoring", sweeping, 0), ("scored again", lambda: replaced(2, "scores-"), 0)):
    check(out/name, prepare, train, whole, at)
"""


def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path):
    assert len(survived(python, tmp_path, KILLED)) == 4



def test_another_training_in_the_folder_is_told(train, tmp_path):
    selective_fit(create_model("cnn3"), train, epochs=3, folder=tmp_path, **SHORT)
    other = lambda **how: selective_fit(create_model("cnn3"), train, epochs=4, folder=tmp_path, **(SHORT | how))
    for how in (dict(rule="clean"), dict(thresholds=3), dict(norms="affine"), dict(rule="none", held_out=60)):
        with pytest.raises(ValueError, match="holds another training"): other(**how)
    assert load_result(tmp_path / "selective.nc",
                       "training").equals(selective_fit(create_model("cnn3"), train, epochs=3, folder=tmp_path,
                                                        **SHORT))
    (tmp_path / "scores-002.nc").unlink()
    with pytest.raises(FileNotFoundError, match="has no scores of epoch 2"): other()
    with pytest.raises(ValueError, match="a lambda"):
        selective_fit(create_model("cnn3"), train, epochs=3, rule=lambda s, t, i: [], folder=tmp_path / "b", **SHORT)


def test_an_interruption_keeps_what_is_finished(train, monkeypatch):
    rest, held = split_holdout(train, 60)
    def stopping(*args, **kwargs): raise KeyboardInterrupt
    two, model = create_model("cnn3"), create_model("cnn3")
    fit(two, rest, epochs=2, lr=5e-3, batch_size=30, **QUIET)
    monkeypatch.setattr("fragility_nb.probes.retraining.probe.score_layers", stopping)
    with pytest.warns(UserWarning, match="stands at epoch 2 of 5"): log = selective_fit(model, train, epochs=5, **SHORT)
    assert model_hash(model) == model_hash(two) and not model.training
    assert log.attrs["incomplete"] == 1 and log.sizes["epoch"] == 2


def test_a_rule_that_freezes_everything_ends_the_training(train, tmp_path):
    everything = lambda scores, threshold, seed: scores.layer.values
    rest, _ = split_holdout(train, 60)
    two, model = create_model("cnn3"), create_model("cnn3")
    fit(two, rest, epochs=2, lr=5e-3, batch_size=30, **QUIET)
    with pytest.warns(UserWarning,
                      match="freezes all 3 layers after epoch 2: nothing is left to train. The log ends and `model` "
                            "stands at epoch 2 of 6"):
        log = selective_fit(model, train, epochs=6, rule=everything, **SHORT)
    assert model_hash(model) == model_hash(two) and log.sizes["epoch"] == 2
    assert log.attrs["incomplete"] == 1 and "all 3 layers" in log.attrs["stopped"]
    # the scores that said so are there
    assert log.period.values.tolist() == [2] and all(p.requires_grad for p in model.parameters())
    with pytest.raises(StopTraining, match="holds every parameter in epoch 1"):
        fit(create_model("cnn3"), train, epochs=1, freeze=lambda m, e: ["network"], **QUIET)


def test_a_network_that_only_guesses_cannot_be_scored(train):
    with pytest.warns(UserWarning,
                      match="After epoch 1 the network is right on 0.0.* no more than a random guess .* longer period"):
        log = selective_fit(create_model("cnn3"), train, epochs=3, **(SHORT | dict(every=1, lr=1e-12)))
    assert log.sizes["epoch"] == 1 and log.attrs["incomplete"] == 1 and "score" not in log


WRONG = [(dict(rule="diference"), ValueError, "Unknown `rule`: 'diference'. Did you mean 'difference'"),
         (dict(every=7), ValueError, "Expected `every` to be less than `epochs` = 3, but got 7"),
         (dict(every=3), ValueError, "Expected `every`"), (dict(every=0), ValueError, "Expected `every`"),
         (dict(held_out=151), ValueError, "between 10 .* and 150 .*, but got 151"),
         (dict(held_out=9), ValueError, "between 10"),
         (dict(held_out=0.2), ValueError, "Expected `held_out` to be an integer"),
         (dict(held_out=None), ValueError, "but got 500"), (dict(norms="off"), ValueError, "Unknown `norms`"),
         (dict(layers="convv1"), ValueError, "Unknown `layers`"), (dict(thresholds=1), ValueError, "thresholds"),
         (dict(sweep=dict(filters=["band"])), ValueError, "band"),
         (dict(sweep=dict(scope="both")), ValueError, "Unknown `sweep`")]


@pytest.mark.parametrize("how, error, message", WRONG, ids=[str(w[0]) for w in WRONG])
def test_bad_input(train, how, error, message):
    with pytest.raises(error, match=message):
        selective_fit(create_model("cnn3"), train, epochs=3, **(SHORT | dict(every=1) | how))


# Pairs

@pytest.mark.parametrize("how, error, message", [
    (dict(build=create_model("cnn3")), TypeError,
     "Expected `build` to be a function seed -> network .*but got Normalized"),
     (dict(build=lambda seed: None), TypeError, "`build` to return a torch.nn.Module, but got NoneType"),
    (dict(epsilons=()), ValueError, "`epsilons` not to be empty"),
    (dict(epsilons=(0.1, 0)), ValueError, "`epsilons` to increase"),
    (dict(epsilons=(0, -0.1)), ValueError, "`epsilons` to be a number at least 0"),
    (dict(inits=0), ValueError, "`inits` to be an integer at least 1"),
    (dict(rules=()), ValueError, "`rules` not to be empty"),
    (dict(rules=("none",)), ValueError, "`rules` to be different rules, at least one beside 'none'")], ids=range(8))
def test_bad_comparison(train, digits, how, error, message):
    "Told before anything is trained."
    call = dict(build=lambda seed: create_model("cnn3", seed=seed), epochs=3, inits=1) | how | SHORT
    with pytest.raises(error, match=message): compare_retraining(call.pop("build"), train, digits, **call)


@pytest.fixture(scope="module")
def comparison(train, digits):
    return compare_retraining(lambda seed: create_model("cnn3", seed=seed), train, digits.take(range(100)), epochs=3,
                              inits=[2, 5, 6], rules=("difference", "random"),
                              epsilons=(0, 0.05, 0.1), **SHORT)


def test_a_pair_differs_in_nothing_but_the_rule(train, digits, comparison):
    few, (rest, held) = digits.take(range(100)), split_holdout(train, 60)
    plain, ours = create_model("cnn3", seed=5), create_model("cnn3", seed=5)
    fit(plain, rest, epochs=3, seed=5, lr=5e-3, batch_size=30, **QUIET)
    log = selective_fit(ours, rest, epochs=3, seed=5, **(SHORT | dict(held_out=held)))
    for rule, net in (("none", plain), ("difference", ours)):
        x = few.batch(0, 100).requires_grad_()
        g, = torch.autograd.grad(F.cross_entropy(net(x), few.labels, reduction="sum"), x)
        bad = (x + 0.1 * g.sign()).clamp(0, 1)
        assert float(comparison.accuracy.sel(rule=rule, init=5,
                                             epsilon=0.1)) == pytest.approx(float((net(bad).argmax(1)
                                                 == few.labels).double().mean()))
    assert comparison.frozen.sel(rule="difference",
                                 init=5).equals(log.frozen.assign_coords(rule="difference", init=5).transpose("epoch",
                                     "layer")) or \
        (comparison.frozen.sel(rule="difference", init=5).values == log.frozen.values).all()
    assert comparison.attrs["num_classes"] == 10 and comparison.sizes["init"] == 3


def test_gain_against_scipy(comparison):
    gain, acc = retraining_gain(comparison, ci=0.9), comparison.accuracy
    for e in comparison.epsilon.values:
        test = stats.ttest_rel(acc.sel(rule="random", epsilon=e), acc.sel(rule="none", epsilon=e))
        one = gain.sel(rule="random", epsilon=e)
        if np.isnan(test.pvalue): continue
        bounds = test.confidence_interval(0.9)
        np.testing.assert_allclose([one.gain, one.low, one.high],
                                   [bounds.low/2 + bounds.high/2, bounds.low, bounds.high], atol=1e-12)
    area = np.trapezoid(acc.sel(rule="difference").values, comparison.epsilon, axis=1) / 0.1
    assert float(gain.area_mean.sel(rule="difference")) == pytest.approx(area.mean())
    assert float(gain.area_sd.sel(rule="difference")) == pytest.approx(area.std(ddof=1))
    alone = retraining_gain(comparison.isel(init=[0]))
    assert np.isneginf(alone.low.sel(rule="random")).all() and np.isposinf(alone.area_high.sel(rule="random"))


def test_comparison_goes_on_and_leaves_out_what_stopped(train, digits, tmp_path, monkeypatch):
    build, how = lambda seed: create_model("cnn3", seed=seed), dict(epochs=3, inits=2,
        rules=["difference", everything], epsilons=(0, 0.1), **SHORT)
    with pytest.warns(UserWarning,
                      match="Rule 'everything' is left out of the comparison. In initialisation 0: The rule "
                            "'everything' freezes all 3"):
        first = compare_retraining(build, train, digits.take(range(50)), folder=tmp_path, **how)
    monkeypatch.setattr("fragility_nb.models.training._train_epoch", lambda *a: pytest.fail("trained again"))
    with pytest.warns(UserWarning, match="left out"):
        assert compare_retraining(build, train, digits.take(range(50)), folder=tmp_path, **how).equals(first)
    monkeypatch.undo()
    with pytest.raises(ValueError,
                       match="No rule came to its end beside 'none': initialisation 0: The rule 'everything' freezes "
                             "all 3 layers after epoch 0"), pytest.warns(UserWarning):
        compare_retraining(build, train, digits.take(range(50)),
                           **(how | dict(rules=everything, epochs=1, inits=1, attack=FGSM(0.1), trained=True)))
    assert first.rule.values.tolist() == ["none", "difference"] and load_result(tmp_path / "comparison.nc",
        "retraining_comparison").equals(first)


def everything(scores, threshold, seed): return scores.layer.values


def test_figures_show_what_the_results_say(train, comparison):
    log = selective_fit(create_model("cnn3"), train, epochs=4, rule=conv1_and_last, **SHORT)
    cells = plot_frozen(log).collections[0].get_array().reshape(3, 4)
    np.testing.assert_array_equal(cells, log.frozen.values.T)
    ax = plot_periods(log, "clean")
    np.testing.assert_array_equal(ax.collections[0].get_array().ravel(),
                                  log.score.sel(kind="clean", filter="combined", period=2).values)
    assert ax.lines[0].get_ydata().tolist() == [0, 2]
    ax = plot_retraining(comparison)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), comparison.accuracy.sel(rule="difference").mean("init"))
    band = ax.collections[1].get_paths()[0].vertices[:, 1]
    sd = comparison.accuracy.sel(rule="difference", epsilon=0.1).values
    assert np.isclose(band, sd.mean() - sd.std(ddof=1)).any() and np.isclose(band, sd.mean() + sd.std(ddof=1)).any()
    assert "percentage points" in plot_gain(retraining_gain(comparison)).get_ylabel()
    matplotlib.pyplot.close("all")
