"""The search against a slow loop; constraints held exactly; nothing depends on the batch; findings as training data."""
import copy

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.results import load_result, save_result
from fragility_nb.probes.coverage.criteria import KMNC, NC
from fragility_nb.probes.coverage.probe import Coverage, activation_profile, neuron_coverage
from fragility_nb.data.images import ImageData
from fragility_nb.data.sets import load_data
from fragility_nb.probes.coverage.constraints import CONSTRAINTS, Blackout, Light, Occl, joint_objective
from fragility_nb.probes.coverage.differential import generate_differential, generated_data, save_generated
from fragility_nb.probes.coverage.sources import compare_sources, input_sources
from fragility_nb.probes.coverage.transformed import generate_transformed
from fragility_nb.models.create import create_model
from fragility_nb.models.wrap import model_hash
from fragility_nb.models.answers import predict
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.core.streams import CounterStreams
from fragility_nb.models.training import fit


@pytest.fixture(scope="module")
def models(trained):
    "Three networks that have learned the digits."
    others = {}
    for name in ("cnn3", "cnn5"):
        others[name] = create_model(name)
        fit(others[name], load_data("digits", "train"), epochs=4, lr=5e-3, batch_size=50, device="cpu", progress=False)
    return {"cnn3": others["cnn3"], "cnn4": trained, "cnn5": others["cnn5"]}


@pytest.fixture(scope="module")
def seeds(): return load_data("digits").take(range(0, 544, 12))


@pytest.fixture(scope="module")
def found(models, seeds):
    options = dict(device="cpu", progress=False)
    return {k: generate_differential(models, seeds, constraint=k, step=0.5, **options) for k in CONSTRAINTS}


def slow_loop(models, seeds, move, step, steps):
    "One image at a time: the first model is the target, no unit term."
    nets, out = [copy.deepcopy(m).eval() for m in models.values()], []
    for i in range(len(seeds)):
        x0 = seeds.batch(i, i + 1)
        x, change = x0.clone(), torch.zeros_like(x0)
        for t in range(steps + 1):
            x = x.detach().requires_grad_()
            logits = [n(x)[0] for n in nets]
            answers = [int(f.argmax()) for f in logits]
            if len(set(answers)) > 1: break
            if t == steps:
                t = -1
                break
            value = sum(f[answers[0]] for f in logits[1:]) - 1.5*logits[0][answers[0]]
            g = torch.autograd.grad(value, x)[0]
            change = move(change, step * g / (g.square().mean().sqrt() + 1e-5), x0)
            x = (x0 + change).clamp(0, 1)
        out.append((t, x.detach()))
    return out


@pytest.mark.parametrize("constraint, move", [
    ("none", lambda c, g, x0: torch.minimum(torch.maximum(c + g, -x0), 1 - x0)),
    ("light", lambda c, g, x0: (c + g.mean()).clamp(-1, 1)),
    (Occl((3, 5), (2, 1)), lambda c, g, x0: torch.minimum(torch.maximum(c + g*torch.zeros(8, 8).index_put(
        (torch.arange(2, 5)[:, None], torch.arange(1, 6)), torch.tensor(1.)), -x0), 1 - x0)),
], ids=["none", "light", "occl"])
def test_equals_a_slow_loop(models, seeds, constraint, move):
    few = seeds.take(range(14))
    fast = generate_differential(models, few, constraint=constraint, weight_diff=1.5, weight_units=0., step=0.1,
                                 steps=6, target="cnn3", device="cpu", progress=False)
    slow = slow_loop(models, few, move, 0.1, 6)
    assert fast.step.values.tolist() == [t for t, _ in slow]
    np.testing.assert_allclose(fast.image, torch.cat([x for _, x in slow]), atol=1e-4)


def test_objective():
    "Two images, three models, by hand."
    logits = [torch.tensor([[1., 2.], [3., 4.]]) * k for k in (1, 10, 100)]
    value = joint_objective(logits, torch.tensor([1, 0]), torch.tensor([0, 2]), torch.tensor([[1., 2, 3], [4, 5, 6]]),
                            0.5, 0.1)
    torch.testing.assert_close(value, torch.tensor([20 + 200 - 0.5*2 + 0.6, 3 + 30 - 0.5*300 + 1.5]))


def test_constraints_hold_exactly(found, seeds):
    change = {k: (r.image - r.seed_image).values[:, 0] for k, r in found.items()}
    for r in found.values():
        assert float(r.image.min()) >= 0 and float(r.image.max()) <= 1
        np.testing.assert_array_equal(r.seed_image, seeds.batch(0, len(seeds)))
    for x0, x in zip(found["light"].seed_image.values, found["light"].image.values):
        free = (x > 0) & (x < 1)
        if not free.any(): continue
        amount = (x - x0)[free].mean()
        np.testing.assert_allclose(x, np.clip(x0 + amount, 0, 1), atol=2e-6)
    for d in change["occl"]:
        box = np.argwhere(d)
        assert not len(box) or (np.ptp(box, axis=0) < 3).all()  # 10 of 28 pixels are 3 of 8
    assert (change["blackout"] <= 0).all()
    assert all((r.outcome == "found").sum() > 5 for r in found.values())


def test_blackout_darkens_only_its_rectangles(models, seeds):
    "Random places: the rectangles are known from the streams."
    c = Blackout((2, 3), "random")
    r = generate_differential(models, seeds, constraint=c, steps=7, seed=3, device="cpu", progress=False)
    places = c.begin(torch.zeros(len(seeds), 1, 8, 8), None, 7, CounterStreams(repr(c), 3, index=seeds.index))
    allowed = np.zeros((len(seeds), 8, 8), bool)
    for n, mine in enumerate(places.tolist()):
        for row, column in mine: allowed[n, row:row + 2, column:column + 3] = True
    change = (r.image - r.seed_image).values[:, 0]
    assert (change[~allowed] == 0).all() and (change <= 0).all() and (change < 0).any()


def test_the_result_is_true(models, seeds, found):
    "Answers, outcomes and coverage, computed anew."
    for r in found.values():
        for name, m in models.items():
            np.testing.assert_array_equal(r.answer.sel(model=name),
                                          predict(m, torch.from_numpy(r.image.values)).argmax(1))
            np.testing.assert_array_equal(r.seed_answer.sel(model=name), predict(m, seeds).argmax(1))
        differ = (r.answer != r.answer.isel(model=0)).any("model").values
        assert set(r.outcome.values[differ]) <= {"found", "already disagreeing"}
        assert set(r.outcome.values[~differ]) <= {"not found"}
        assert ((r.outcome == "already disagreeing") == (r.step == 0)).all() and int(r.step.max()) <= 20
        for name, m in models.items():
            before = neuron_coverage(m, seeds, [NC(0)], device="cpu", progress=False)
            made = Coverage(m, NC(0)).update(torch.from_numpy(r.image.values[r.step.values >= 0])).compute()
            both = np.maximum(before.covered, made.covered).mean()
            np.testing.assert_allclose(r.coverage.sel(model=name), [before.coverage[0], both, made.coverage[0]])


@pytest.mark.parametrize("target", ["weakest", "random"])
def test_batch_size_does_not_matter(models, seeds, target):
    for c in (Light(), Blackout(place="random"), Occl()):
        one, other = (generate_differential(models, seeds, constraint=c, step=0.3, steps=5, threshold=0.25,
                                            round_size=20, batch_size=b, target=target, device="cpu", progress=False)
                      for b in (5, 64))
        np.testing.assert_array_equal(one.image, other.image)
        xr.testing.assert_equal(one.drop_vars("image"), other.drop_vars("image"))


def test_models_and_random_state_come_back_unchanged(models, seeds):
    m = copy.deepcopy(models["cnn4"]) # a copy: other tests' references leave gradients on the shared one
    m.zero_grad(set_to_none=True)
    m.network.bn1.train()
    m.network.conv1.weight.requires_grad_(False)
    before, state = model_hash(m), torch.random.get_rng_state()
    generate_differential(models | {"cnn4": m}, seeds.take(range(8)), steps=2, device="cpu", progress=False)
    assert model_hash(m) == before and m.network.bn1.training
    assert not m.network.conv1.weight.requires_grad and m.network.conv2.weight.requires_grad
    assert torch.equal(torch.random.get_rng_state(), state) and all(p.grad is None for p in m.parameters())


def test_models_that_disagree_on_every_seed(models, seeds):
    "Nothing to search for: said once, and the result is whole."
    a, b = copy.deepcopy(models["cnn3"]), copy.deepcopy(models["cnn3"])
    for m, k in ((a, 0), (b, 1)):
        m.network.linear.weight.data.zero_()
        m.network.linear.bias.data.copy_(5*torch.eye(10)[k])
    with pytest.warns(UserWarning, match="disagree on every seed"):
        r = generate_differential([a, b], seeds, device="cpu", progress=False)
    assert (r.outcome == "already disagreeing").all() and list(r.model.values) == ["cnn3 1", "cnn3 2"]
    np.testing.assert_array_equal(r.image, r.seed_image)
    with pytest.raises(ValueError, match="outcome 'found'"): generated_data(r)


@pytest.mark.parametrize("options, message", [
    (dict(models=1), "at least 2 networks"),
    (dict(models=[create_model("cnn3"), create_model("cnn3", num_classes=7)]), "does not fit"),
    (dict(models=[create_model("cnn3"), create_model("cnn3", in_chans=3)]), "does not fit"),
    (dict(constraint="light!"), "Did you mean 'light'"),
    (dict(threshold=1.5), "`threshold`"), (dict(step=0), "`step`"), (dict(steps=0), "`steps`"),
    (dict(target="cnn9"), "Unknown `target`"), (dict(target=3), "`target`"),
    (dict(constraint=Occl((9, 3))), "fit into images of 8×8"), (dict(constraint=Occl((3, 3), (6, 6))), "leave room"),
    (dict(layers="conv77"), "Unknown `layers`"),
])
def test_bad_input(models, seeds, options, message):
    nets = options.pop("models", models)
    nets = [models["cnn3"]] if nets == 1 else nets
    with pytest.raises(ValueError, match=message):
        generate_differential(nets, seeds.take(range(6)), device="cpu", progress=False, **options)
    if nets is not models: options["models"] = nets if len(nets) > 1 else 1  # parametrised values are shared


def test_findings_are_a_data_set(models, seeds, found, tmp_path):
    r = load_result(save_result(found["none"], tmp_path / "r.nc"), "differential")
    data = generated_data(r)
    good = found["none"].outcome.values == "found"
    assert len(data) == good.sum() and data.index.tolist() == found["none"].sample.values[good].tolist()
    labels = dict(zip(load_data("digits").index.tolist(), load_data("digits").labels.tolist()))
    assert data.labels.tolist() == [labels[i] for i in data.index.tolist()]
    again = load_data(str(save_generated(r, tmp_path / "images")), progress=False)
    assert len(again) == len(data) and again.classes == data.classes
    pixels = lambda x: (x * 255).round().byte().flatten().tolist()
    key = lambda d: sorted((int(y), pixels(x)) for x, y in zip(d.batch(0, len(d)), d.labels))
    assert key(again) == key(data)
    net, train = copy.deepcopy(models["cnn3"]), load_data("digits", "train").take(range(200))
    before = (predict(net, data).argmax(1) == data.labels).double().mean()
    both = ImageData(torch.cat([train.batch(0, 200), data.images]), torch.cat([train.labels, data.labels]),
                     train.classes, "both")
    fit(net, both, epochs=3, lr=3e-3, batch_size=20, device="cpu", progress=False)
    assert (predict(net, data).argmax(1) == data.labels).double().mean() > before


@pytest.mark.parametrize("criterion", [NC(0.5), KMNC(6)])
def test_transformed_images_raise_coverage(models, seeds, criterion):
    m = models["cnn5"]
    profile = activation_profile(m, load_data("digits", "train"), device="cpu", progress=False)
    options = dict(criterion=criterion, profile=profile, combine=2, tries=2, device="cpu", progress=False)
    r = generate_transformed(m, seeds, batch_size=50, **options)
    assert r.sizes["test"] and (r.raised > 0).all() and float(r.coverage[1]) > float(r.coverage[0])
    run = Coverage(m, [criterion], profile=profile).update(seeds.batch(0, len(seeds)))
    assert float(run.compute().coverage[0]) == pytest.approx(float(r.coverage[0]))
    shares = []
    for x in torch.from_numpy(r.image.values).split(1): shares.append(float(run.update(x).compute().coverage[0]))
    assert shares[-1] == pytest.approx(float(r.coverage[1])) and (np.diff([float(r.coverage[0]), *shares]) > 0).all()
    answers = predict(m, torch.from_numpy(r.image.values)).argmax(1).numpy()
    np.testing.assert_array_equal(r.violation, answers != r.seed_answer.values)
    again = generate_transformed(m, seeds, batch_size=7, **options)
    np.testing.assert_array_equal(again.image, r.image)


def test_sources_at_equal_count(models, seeds):
    few = seeds.take(range(12))
    sources = input_sources(models, few, constraints=("none",), steps=5, device="cpu", progress=False)
    c = compare_sources(models, few, sources, [NC(0.25)], device="cpu")
    assert {len(x) for x in sources.values()} == {12} and float(c.distance.sel(source="test images")) == 0
    assert int(c.disagreements.sel(source="generated: none")) >= int(c.disagreements.sel(source="test images"))
    with pytest.raises(ValueError, match="of shape"): compare_sources(models, few, {"x": torch.rand(3, 1, 8, 8)})


def test_command_line(models, tmp_path):
    "`--models A B C`, with checkpoints."
    paths = [str(save_checkpoint(m, tmp_path / f"{k}.safetensors")) for k, m in models.items()]
    common = ["--n", "20", "--constraint", "occl,none", "--steps", "4", "--device", "cpu", "--out",
              str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["differential", "--models", *paths, "--data", "digits", *common])
    assert done.exit_code == 0, done.output
    tree = load_result(tmp_path / "out" / "result.nc")
    assert set(tree.children) == {"occl", "none"} and list(tree["none"].model.values) == ["cnn3", "cnn4", "cnn5"]
    assert (tmp_path / "out" / "none.png").is_file() and "not found" in done.output
    same = CliRunner().invoke(app, ["differential", "--models", ",".join(paths[:2]), "--models", paths[2], *common])
    assert same.exit_code == 0
    for args, message in ((["--models", paths[0]], "at least 2"),
                          (["--models", paths[0], "nowhere.safetensors"], "No checkpoint"),
                          (["--models", *paths, "--constraint", "lihgt"], "Did you mean 'light'")):
        bad = CliRunner().invoke(app, ["differential", *args, "--out", str(tmp_path / "bad")])
        assert bad.exit_code == 2 and message in bad.output, bad.output
