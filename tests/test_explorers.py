"""The explorers in plain Python: figures without a front end, settings, files, code of the same figure, bad input."""
import asyncio
import copy
import io
import time

import numpy as np
import pytest
import xarray as xr
from explorer_results import coverage, landscape, reports
from matplotlib import rc_context
from PIL import Image

from fragility_nb.explore.base import FONT, Explorer, figure_png
from fragility_nb.explore.runs import explore_runs
from fragility_nb.explore.coverage import explore_coverage


@pytest.fixture(scope="module")
def result(): return landscape(6, 3, inits=2)


def pixels(png): return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def of(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("make", [lambda: explore_coverage(coverage()),
                                  lambda: explore_runs(reports())])
def test_without_a_front_end(make):
    bundle = make()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and len(np.unique(pixels(bundle["image/png"]))) > 10


def again(explorer, **names):
    "The figure that the code of an explorer makes, and the explorer's own."
    *lines, last = explorer.code().splitlines()
    exec("\n".join(lines), names)
    return of(eval(last, names)), of(explorer.figure())


def test_code_makes_this_very_figure():
    assert np.array_equal(*again(explore_coverage(coverage(), layer="head"), result=coverage()))
    assert np.array_equal(*again(explore_runs(reports(), kind="adversarial"), runs=reports()))


def test_a_first_picture_that_cannot_be_drawn():
    class Never(Explorer):
        size, call = (3, 1), "never"
        def _paint(self, figure, state): raise ValueError("nothing to draw")
    explorer = Never({}, {})
    assert "nothing to draw" in explorer.message.value and "image/png" not in explorer._repr_mimebundle_()
    explorer._ipython_display_()


def test_unknown_settings(result):
    with pytest.raises(ValueError, match="folder"): explore_runs("no/such/folder")
    with pytest.raises(ValueError, match="fragility_nb/0"):
        explore_runs(dict(old=result.assign_attrs(schema="fragility_nb/0")))
    with pytest.raises(TypeError, match="old"): explore_runs(dict(old=3))


def test_runs_are_filtered():
    explorer = explore_runs(reports(), model="cnn3")
    assert explorer.table().run.tolist() == ["seed0", "seed2"]


def test_first_images():
    table = explore_coverage(coverage(), layer="conv2").table()
    assert len(table) == 16 and ((table.first_image >= 0) == (table.covered > 0)).all()


def test_base_says_what_is_missing():
    with pytest.raises(NotImplementedError): Explorer({}, {})


def test_live(trained, digits):
    from fragility_nb.explore.live import explore_stress, warn_of_another
    from fragility_nb.models.create import create_model
    from fragility_nb.models.wrap import model_hash
    from fragility_nb.stress.stressors import GaussianNoise, apply_stress
    explorer = explore_stress(trained, digits, GaussianNoise(), severity=3.)
    before = explorer.picture.value
    explorer.controls["method"].value = "integrated_gradients"
    assert explorer.picture.value != before
    i = explorer.next_failure()
    x = apply_stress(GaussianNoise(), digits.batch(i, i + 1), 3., index=digits.index[[i]])
    assert trained(x).argmax(1) != digits.labels[i]
    found = explorer.flip(i, "gaussian_noise")
    answer = lambda s: int(trained(apply_stress(GaussianNoise(), digits.batch(i, i + 1), s,
                                                index=digits.index[[i]])).argmax())  # noqa: E731
    assert next((s for s in explorer.severities if answer(s) != answer(0.)), None) == found
    other = explore_stress(trained, digits, GaussianNoise(), top=3., severity=0.15)
    assert np.array_equal(*again(other, model=trained, data=digits, stressors=GaussianNoise()))
    made = xr.Dataset(attrs=dict(model_hash=model_hash(trained)))
    assert warn_of_another(trained, made)
    with pytest.warns(UserWarning, match="does not fit"): assert not warn_of_another(create_model("cnn4", seed=5), made)


@pytest.fixture(scope="module")
def some(digits): return digits.take(range(80))


def test_live_kernels(trained, some):
    from fragility_nb.stress.attacks import FGSM
    from fragility_nb.probes.kernels.probe import kernel_dropout
    from fragility_nb.explore.live import explore_kernels
    from fragility_nb.models.create import create_model
    result = kernel_dropout(trained, some, attack=FGSM(0.03), kernels=[0, 2, 5], device="cpu", progress=False)
    explorer = explore_kernels(result, trained, some, FGSM(0.03), kernel=2, image=7)
    before, maps = explorer.picture.value, explorer._compute(explorer.state)["maps"]
    conv = trained.network.get_submodule(result.layer)
    seen = []
    hook = conv.register_forward_hook(lambda m, a, out: seen.append(out.detach()[0, 2].numpy()))
    trained(some.batch(7, 8))
    hook.remove()
    assert np.allclose(maps[0], seen[0], atol=1e-5) and not np.allclose(maps[0], maps[1])
    assert np.array_equal(*again(explorer, result=result, model=trained, data=some, attack=FGSM(0.03)))
    table = explorer.table()
    assert np.allclose(table["drop"], float(result.reference_accuracy.sel(stress="clean"))
                       - result.accuracy.sel(stress="clean"))
    explorer.controls["kernel"].value = 5
    assert explorer.picture.value != before and of(explorer.figure()).std() > 5
    with pytest.raises(ValueError, match="no correct"): explore_kernels(result.drop_vars("correct"), trained, some)
    with pytest.raises(ValueError, match="kernel"): explore_kernels(result, trained, some, kernel=1)
    with pytest.warns(UserWarning, match="does not fit"): explore_kernels(result, create_model("cnn4", seed=5), some)


def test_live_batchnorm(trained, some):
    from fragility_nb.probes.batchnorm.residual import residual_features
    from fragility_nb.probes.batchnorm.statistics import statistic_gap
    from fragility_nb.explore.live_batchnorm import explore_batchnorm
    from fragility_nb.stress.stressors import GaussianNoise
    model = copy.deepcopy(trained).train()
    explorer = explore_batchnorm(model, some, GaussianNoise(), severity=1.)
    assert model.training  # the network that came is as it was
    gap = statistic_gap(model, some, [GaussianNoise()], (1.,), progress=False)
    mine = gap.layer.values == explorer.state["layer"]
    assert np.allclose(explorer.table().mean_gap, gap.mean_gap.values.reshape(-1, mine.size)[0, mine], atol=1e-6)
    for key in ("layer", "severity", "mode"):
        before, control = explorer.picture.value, explorer.controls[key]
        control.value = [v[1] if isinstance(v, tuple) else v for v in control.options][-1]
        assert explorer.picture.value != before, key
    assert len(explorer.emitted) == 2  # of the four modes, those that were asked for
    assert np.array_equal(*again(explorer, model=model, data=some, stressors=GaussianNoise()))
    emitted = residual_features(model, some, modes=explorer.state["mode"], progress=False).emitted
    assert np.allclose(explorer.table().emitted, emitted.values[0][emitted.layer.values == explorer.state["layer"]])
    with pytest.raises(ValueError, match="stressors"): explore_batchnorm(model, some, [])


def test_live_requests(trained, some):
    from fragility_nb.explore.live import explore_stress
    from fragility_nb.stress.stressors import GaussianNoise
    explorer, asked = explore_stress(trained, some, GaussianNoise(), severity=2.), []
    compute = explorer._compute

    def slow(state):
        asked.append(state["image"])
        time.sleep(0.05)
        return compute(state)
    explorer._compute = slow

    async def move():
        for i in range(1, 11):
            explorer.controls["image"].value = i
            await asyncio.sleep(0.02)
        assert explorer.spinner.value
        while explorer._busy or explorer._waiting: await asyncio.sleep(0.05)
    asyncio.run(move())
    assert asked[-1] == 10 and len(asked) < 10 and explorer.spinner.value == ""
    assert np.array_equal(pixels(explorer.picture.value), of(explorer.figure()))


def test_a_fault_of_the_network_is_told(trained, some):
    from fragility_nb.explore.live import explore_stress
    from fragility_nb.stress.stressors import GaussianNoise
    explorer = explore_stress(trained, some, GaussianNoise())
    before = explorer.picture.value

    def broken(state): raise RuntimeError("no <memory>")
    explorer._compute = broken

    async def move():
        explorer.controls["image"].value = 3
        await asyncio.sleep(0.05)
        while explorer._busy or explorer._waiting: await asyncio.sleep(0.05)
    asyncio.run(move())
    assert "no &lt;memory&gt;" in explorer.message.value and explorer.spinner.value == ""
    assert explorer.picture.value == before


@pytest.mark.parametrize("make", [lambda: explore_coverage(coverage()), lambda: explore_runs(reports())])
def test_panels_that_are_painted_again_are_those_of_a_new_figure(make):
    explorer = make()
    for key, control in explorer.controls.items():
        options = [o[1] if isinstance(o, tuple) else o for o in control.options]
        for value in [options[-1], *options[:2]]:
            control.value = value
            explorer.redraw()
            if len(explorer.table()) == 0: continue # what is drawn of nothing has no scale
            with rc_context(FONT): assert explorer.picture.value == figure_png(explorer.figure()), (key, value)
