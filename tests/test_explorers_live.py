"""Explorers that ask the network: what they compute, show and write, and that nothing of them is left."""
import asyncio
import copy
import gc
import threading
import time
import weakref

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from captum.attr import Saliency
from ipywidgets.widgets.widget import _instances
from torch import nn

from fragility_nb import FGSM, GaussianBlur, GaussianNoise, apply_stress, create_model, kernel_dropout, statistic_gap
from fragility_nb.explore import explore_batchnorm, explore_kernels, explore_stress
from fragility_nb.explore.board import Picture
from fragility_nb.explore.live import LiveExplorer


@pytest.fixture(scope="module")
def some(digits): return digits.take(range(40))


@pytest.fixture(scope="module")
def dropped(trained, some): return kernel_dropout(trained, some, kernels=[0, 2, 5], device="cpu", progress=False)


def makers(trained, some, dropped):
    return dict(stress=lambda **k: explore_stress(trained, some, GaussianNoise(), **k),
                kernels=lambda **k: explore_kernels(dropped, trained, some, FGSM(0.03), **k),
                batchnorm=lambda **k: explore_batchnorm(trained, some, GaussianNoise(), **k))


LIVE = ("stress", "kernels", "batchnorm")


@pytest.fixture(params=LIVE)
def make(request, trained, some, dropped): return makers(trained, some, dropped)[request.param]


def of(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3]


def test_every_control_changes_the_page(make):
    explorer = make()
    assert explorer.view
    for key, control in explorer.controls.items():
        options = getattr(control, "options", None)
        values = [o[1] if isinstance(o, tuple) else o for o in options] if options else [control.min, control.max]
        if len(values) < 2: continue
        before = explorer.picture.value
        control.value = next(v for v in reversed(values) if v != control.value)
        shown = explorer.picture.value, explorer.message.value
        assert shown[0] != before or key == "target", (key, shown[1])  # two targets may be the same class
    assert explorer.message.value == ""
    explorer.close()


def test_code_runs_in_an_empty_notebook_to_the_same_picture(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    explorer = make()
    *lines, last = explorer.code().splitlines()
    space = {}
    exec("\n".join(lines), space)
    assert np.array_equal(of(eval(last, space)), of(explorer.figure()))
    explorer.close()


def test_images_without_a_name_are_written_beside_the_code(trained, some, tmp_path):
    import dataclasses
    mine = dataclasses.replace(some.take([3, 1, 7]), name="mine")
    explorer = explore_stress(trained, mine, [GaussianNoise(0.2), GaussianBlur()], severity=1.)
    code, space = explorer.code(tmp_path), {}
    *lines, last = code.splitlines()
    exec("\n".join(lines), space)
    assert "load_data" not in code and np.array_equal(of(eval(last, space)), of(explorer.figure()))
    other = explore_stress(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), mine, lambda x, severity, streams: x)
    told = other.code(tmp_path)
    assert told.count("put in your") == 2


def test_files_say_what_was_chosen_and_overwrite_nothing(make, tmp_path):
    explorer = make()
    for suffix in ("png", "svg", "html", "csv"):
        (tmp_path/f"x.{suffix}").write_text("mine")
        saved = explorer.save(tmp_path/f"x.{suffix}")
        assert saved.name == f"x-2.{suffix}" and saved.stat().st_size > 200
        assert (tmp_path/f"x.{suffix}").read_text() == "mine"
    table = pd.read_csv(tmp_path/"x-2.csv")
    for key, value in explorer.state.items():
        assert set(table[f"chosen {key}" if f"chosen {key}" in table else key].astype(str)) == {str(value)}
    with pytest.raises(ValueError, match="pdf"): explorer.save(tmp_path/"x.pdf")
    assert not (tmp_path/"x.pdf").exists() and "<section" in (tmp_path/"x-2.html").read_text()


def test_a_file_that_cannot_be_written_is_told(make, tmp_path, monkeypatch):
    explorer = make()
    assert explorer.view
    monkeypatch.setattr(type(explorer), "save", lambda self, path: (_ for _ in ()).throw(OSError("disk <full>")))
    button = next(b for b in all_widgets(explorer.view) if getattr(b, "description", "") == "save CSV")
    button.click()
    assert "Not saved" in explorer.message.value and "disk &lt;full&gt;" in explorer.message.value
    explorer.close()


def all_widgets(root):
    yield root
    for child in getattr(root, "children", ()): yield from all_widgets(child)


def test_one_class_is_attributed_and_stated(trained, some):
    rows = [i for i in range(40) if int(trained(apply_stress(GaussianNoise(), some.batch(i, i + 1), 4.,
            index=some.index[[i]])).argmax()) != int(some.labels[i])]
    explorer = explore_stress(trained, some, GaussianNoise(), severity=4., image=rows[0])
    x = some.batch(rows[0], rows[0] + 1)
    z = apply_stress(GaussianNoise(), x, 4., index=some.index[[rows[0]]])
    classes = {"true class": int(some.labels[rows[0]]), "clean answer": int(trained(x).argmax()),
               "stressed answer": int(trained(z).argmax())}
    assert len(set(classes.values())) > 1
    for target, label in classes.items():
        explorer.controls["target"].value = target
        maps = [Saliency(trained).attribute(v.clone().requires_grad_(), target=label, abs=False).sum(1)[0].numpy()
                for v in (x, z)]
        parts = explorer._board(explorer.state, explorer._found(explorer.state)).rows[0][1]
        shown = [p for p in parts if isinstance(p, Picture)][3:]
        for p, expected in zip(shown, (*maps, maps[1] - maps[0])):
            np.testing.assert_allclose(p.values, expected, atol=1e-6)
        assert len({p.top for p in shown}) == 1 and all(some.classes[label] in p.words for p in shown[:2])


def test_the_next_image_that_breaks_is_right_when_clean(trained, some):
    explorer = explore_stress(trained, some, GaussianNoise(), severity=3.)
    i, answers = explorer.next_failure(), []
    for s in (0., 3.):
        x = apply_stress(GaussianNoise(), some.batch(0, 40), s, index=some.index)
        answers.append(trained(x).argmax(1))
    broken = ((answers[0] == some.labels) & (answers[1] != some.labels)).nonzero().flatten().tolist()
    assert i == next(k for k in [*range(1, 40), 0] if k in broken) == explorer.state["image"]
    looked = explorer.stressed["model"]
    found = [s for s in explorer.severities if int(trained(apply_stress(GaussianNoise(), some.batch(i, i + 1), s,
             index=some.index[[i]])).argmax()) != int(answers[0][i])]
    assert looked.flip(i, "gaussian_noise") == found[0]


def test_two_models_on_the_same_images(trained, some):
    pair = dict(a=trained, b=create_model("cnn3", seed=4))
    explorer = explore_stress(pair, some, GaussianNoise(), severity=2., images=3, image=38)
    table = explorer.table()
    assert table.image.drop_duplicates().tolist() == [38, 39, 0] and set(table.model) == {"a", "b"}
    for name, model in pair.items():
        own = table[(table.model == name) & (table.image == 39)]
        np.testing.assert_allclose(own.clean, model.eval()(some.batch(39, 40)).softmax(1)[0].detach(), atol=1e-5)
    with pytest.raises(TypeError, match="`model`"): explore_stress({}, some, GaussianNoise())
    with pytest.raises(TypeError, match="`model`"): explore_stress(dict(a=3), some, GaussianNoise())


def test_kernels_move_and_are_clicked(trained, some, dropped):
    explorer = explore_kernels(dropped, trained, some, FGSM(0.03), kernel=2, image=7)
    found, conv, seen = explorer._found(explorer.state), trained.network.get_submodule(dropped.layer), []
    hook = conv.register_forward_hook(lambda m, a, out: seen.append(out.detach()[0].numpy()))
    x = some.batch(7, 8)
    z = FGSM(0.03).perturb(trained, x, some.labels[[7]])
    trained(x)
    seen.clear()
    trained(x), trained(z)
    hook.remove()
    np.testing.assert_allclose(found["maps"][0], seen[0], atol=1e-5)
    expected = [np.linalg.norm(seen[1][k] - seen[0][k])/np.linalg.norm(seen[0][k]) for k in (0, 2, 5)]
    np.testing.assert_allclose(explorer.table().changed_by_attack, expected, rtol=1e-4)
    sizes = [np.linalg.norm(v - found["images"][0]) for v in found["images"][1:]]
    assert abs(sizes[0] - sizes[1]) < 1e-3*sizes[0]
    assert explorer.view
    explorer.choices.page.buttons[2].click()
    assert explorer.state["kernel"] == 5 and "Kernel 5" in explorer.picture.value
    parts = explorer._board(explorer.state, found).rows[1][1]
    assert len({p.top for p in parts}) == 1 and sum("changed by" in p.words for p in parts) == 2
    with pytest.raises(ValueError, match="no correct"): explore_kernels(dropped.drop_vars("correct"), trained, some)
    with pytest.raises(ValueError, match="kernel"): explore_kernels(dropped, trained, some, kernel=1)
    with pytest.warns(UserWarning, match="does not fit"): explore_kernels(dropped, create_model("cnn4", seed=5), some)
    explorer.close()


def test_channels_and_their_statistics(trained, some):
    model = copy.deepcopy(trained).train()
    explorer = explore_batchnorm(model, some, GaussianNoise(), severity=1., channel=3)
    assert model.training  # the network that came is as it was
    gap = statistic_gap(model, some, [GaussianNoise()], (1.,), progress=False)
    mine = gap.layer.values == explorer.state["layer"]
    expected = gap.mean_gap.values.reshape(-1, mine.size)[0, mine]
    np.testing.assert_allclose(explorer.table().mean_gap, expected, atol=1e-6)
    name = explorer.state["layer"]
    norm = next(m for k, m in trained.network.named_modules() if k == name)
    seen = []
    hook = norm.register_forward_pre_hook(lambda m, a: seen.append(a[0].detach()))
    trained.eval()(apply_stress(GaussianNoise(), some.batch(0, 40), 1., index=some.index))
    hook.remove()
    facts = explorer._board(explorer.state, explorer._found(explorer.state)).rows[0][1][1].rows
    told = [float(v) for v in facts["stressed images"].split(" ± ")]
    expected = [seen[0][:, 3].mean(), (seen[0][:, 3].var() + norm.eps).sqrt()]
    np.testing.assert_allclose(told, expected, rtol=6e-3, atol=5e-4)
    assert explorer.view
    explorer.choices.page.buttons[5].click()
    assert explorer.state["channel"] == 5 and "Channel 5" in explorer.picture.value
    for layer in [o for o in explorer.controls["layer"].options]:
        explorer.controls["layer"].value = layer
        assert explorer.message.value == "" and explorer.controls["channel"].max == explorer.channels[layer] - 1
    explorer.close()


def test_it_goes_into_tabs_and_boxes_and_closes(make):
    before, threads = len(_instances), threading.active_count()
    explorer = make()
    tab = widgets.Tab([explorer.view, widgets.HBox([explorer.view])])
    assert explorer.view is tab.children[0] and "<section" in explorer.picture.value
    explorer.close()
    with pytest.raises(ValueError, match="closed"): explorer.figure()
    with pytest.raises(ValueError, match="closed"): _ = explorer.view
    for w in (tab, tab.children[1]): w.layout.close(), w.close()
    assert len(_instances) - before <= 2 and threading.active_count() <= threads + 1 and not explorer.models


def test_twelve_that_are_dropped_leave_nothing(make):
    gc.collect()
    before, threads, kept = len(_instances), threading.active_count(), []
    for _ in range(12):
        explorer = make()
        assert explorer.view
        explorer.table()
        kept += [weakref.ref(m) for m in explorer.models.values()]
    del explorer
    gc.collect()
    assert len(_instances) == before and all(r() is None for r in kept)
    assert threading.active_count() <= threads + 1  # one for all explorers


class Slow(LiveExplorer):
    "One number, slowly."
    call = "slow"

    def _compute(self, state):
        self.asked.append(state["n"])
        time.sleep(0.05)
        if state["n"] == 7: raise RuntimeError("no <memory>")
        return dict(n=state["n"])

    def _board(self, state, found):
        from fragility_nb.explore.board import Board, Facts
        return Board("slow", [("row", [Facts(dict(n=str(found["n"])), "number")])])

    def _table(self, state, found): return pd.DataFrame(dict(n=[found["n"]]))


def slow():
    explorer = Slow.__new__(Slow)
    explorer.asked = []
    explorer.__init__(dict(model=nn.Linear(1, 1)), dict(n=widgets.IntSlider(0, 0, 20)), {})
    assert explorer.view
    return explorer


async def moved(explorer, values):
    for v in values:
        explorer.controls["n"].value = v
        await asyncio.sleep(0.02)
    busy = explorer.spinner.value
    while explorer._busy or explorer._waiting: await asyncio.sleep(0.02)
    return busy


@pytest.mark.quick
def test_only_the_last_of_many_requests_is_drawn():
    explorer = slow()
    assert asyncio.run(moved(explorer, range(8, 18)))
    assert explorer.asked[-1] == 17 and len(explorer.asked) < 9 and explorer.spinner.value == ""
    assert "<td>17</td>" in explorer.picture.value
    explorer.close()


@pytest.mark.quick
def test_a_fault_of_the_network_is_told_and_the_picture_stays():
    explorer = slow()
    before = explorer.picture.value
    asyncio.run(moved(explorer, [7]))
    assert "no &lt;memory&gt;" in explorer.message.value and explorer.spinner.value == ""
    assert explorer.picture.value == before
    explorer.close()
