"""A network of anybody's, by one text: in functions, runs, templates, study files and on the command line."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import environment
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from fragility_nb.cli import app
from fragility_nb.core.code import check_code, code_digest_of, load_code, read_options
from fragility_nb.core.results import load_result
from fragility_nb.data.sets import load_data
from fragility_nb.models.answers import predict
from fragility_nb.models.checkpoints import save_checkpoint
from fragility_nb.models.create import create_model, find_architecture, load_checkpoint
from fragility_nb.models.table import channel_stats, model_for, open_model
from fragility_nb.models.training import train_model
from fragility_nb.models.wrap import Normalized, model_hash, model_name
from fragility_nb.measure.matrix import train_test_matrix
from fragility_nb.measure.sweeps import stress_sweep
from fragility_nb.run.in_memory import report
from fragility_nb.run.parameters import find_template
from fragility_nb.run.model_runs import run_model
from fragility_nb.run.studies import is_done, run_identity, run_study
from fragility_nb.run.study_files import check_study, load_study
from fragility_nb.stress.stressors import GaussianNoise

OWN = """from pathlib import Path
from torch import nn
import blocks
WIDTH = 8
open("ran.txt", "a").write("x")
def make(num_classes, in_chans, hidden=WIDTH, act="relu"):
    return blocks.stack(in_chans, hidden, num_classes, act)
def fixed(): return blocks.stack(1, 4, 10, "relu")
def measured(mean, std, num_classes=10):
    net = blocks.stack(1, 4, num_classes, "relu")
    net.seen = (mean, std)
    return net
def seeded(seed): return blocks.stack(1, seed + 1, 10, "relu")
class Net(nn.Sequential):
    def __init__(self, num_classes=10): super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
def words(): return "a network"
def wide(): return nn.Sequential(nn.Flatten(), nn.Linear(999, 10))
"""
BLOCKS = """from torch import nn
ACTS = dict(relu=nn.ReLU, sigmoid=nn.Sigmoid)
def stack(c, hidden, k, act):
    return nn.Sequential(nn.Conv2d(c, hidden, 3), ACTS[act](), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                         nn.Linear(4*hidden, k))
"""
HUB = "dependencies = ['torch']\nfrom own import make, fixed\n"
FEW = dict(n=40, thresholds=3, severities=[0, 2], seeds=[0], control=0, with_coverage=False, with_batchnorm=False,
           with_kernels=False)


@pytest.fixture
def home(tmp_path, monkeypatch):
    "A folder with code, which is the current one and the user's own."
    for folder in (tmp_path, tmp_path/"nets", tmp_path/"hub", tmp_path/"pack"):
        folder.mkdir(exist_ok=True)
        (folder/"own.py").write_text(OWN)
        (folder/"blocks.py").write_text(BLOCKS)
    (tmp_path/"pack"/"__init__.py").write_text("")
    (tmp_path/"pack"/"own.py").write_text(OWN.replace("import blocks", "from . import blocks"))
    (tmp_path/"hub"/"hubconf.py").write_text(HUB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delitem(sys.modules, "pack", raising=False)
    monkeypatch.delitem(sys.modules, "pack.own", raising=False)
    return tmp_path


def by_hand(hidden=8, act=nn.ReLU, c=1, k=10):
    "The network of OWN, without it, from `create_model`'s seed 0."
    from fragility_nb.core.identity import stable_seed
    with torch.random.fork_rng():
        torch.manual_seed(stable_seed("init", 0))
        return nn.Sequential(nn.Conv2d(c, hidden, 3), act(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                             nn.Linear(4*hidden, k)).eval()


def same(a, b, shape=(3, 1, 8, 8)):
    x = torch.rand(shape)
    with torch.no_grad(): return torch.equal(a(x), b(x))


# --- each of the ways

@pytest.mark.quick
@pytest.mark.parametrize("text", ["own.py:make", "./own.py:make", "nets/own.py:make", "~/nets/own.py:make",
                                  "own:make", "pack.own:make", "torch.hub:hub:make", "torch.hub:~/hub:make"])
def test_own_code_builds_the_network(home, text):
    net = create_model(text)
    assert same(net, by_hand()) and not isinstance(net, Normalized) and not net.training
    assert str(home) not in json.dumps(net.spec) and model_name(net).endswith("make")
    own = create_model(text, 7, 3, 16, model_options=dict(hidden=4, act="sigmoid"))
    assert same(own, by_hand(4, nn.Sigmoid, 3, 7), (2, 3, 16, 16)) and own.spec["num_classes"] == 7
    assert model_name(own).endswith("make(hidden=4, act=sigmoid)")


@pytest.mark.quick
def test_what_a_signature_asks_for_is_given(home):
    assert create_model("own.py:seeded", seed=5)[0].out_channels == 6
    assert create_model("own.py:Net", 7, 1, 8).spec["num_classes"] == 7
    assert create_model("own.py:fixed", 3).spec["num_classes"] == 10  # it is asked by an image, not by the argument
    assert create_model("torchvision.models:squeezenet1_1", 3, 3, 32,
                        model_options=dict(num_classes=5))(torch.rand(1, 3, 32, 32)).shape == (1, 5)


@pytest.mark.quick
def test_mean_and_std(home):
    x = torch.rand(4, 1, 8, 8)
    wrapped = create_model("own.py:fixed", model_options=dict(mean=.2, std=.4))
    with torch.no_grad():
        torch.testing.assert_close(wrapped(x), wrapped.network((x - .2)/.4))
        assert torch.equal(create_model("own.py:fixed", mean=.2, std=.4)(x), wrapped(x))
    train = load_data("digits", "train")
    assert model_for("own.py:measured", train).seen == tuple(channel_stats(train))  # it asks for them
    assert not isinstance(model_for("own.py:fixed", train), Normalized)  # it takes images in [0, 1]
    assert isinstance(model_for("cnn2", train), Normalized)
    with pytest.raises(ValueError, match="both `mean` and `std`"): create_model("own.py:fixed", mean=.5)
    assert create_model("own.py:fixed", resize=16)(x).shape == (4, 10)


@pytest.mark.quick
def test_global_random_state_and_modules_stay(home):
    before, paths = torch.get_rng_state(), list(sys.path)
    create_model("own.py:make")
    assert torch.equal(before, torch.get_rng_state()) and sys.path == paths


@pytest.mark.quick
def test_a_network_on_the_hub(tmp_path, monkeypatch):
    "From Hugging Face's cache, laid out as a download leaves it."
    import timm
    from huggingface_hub import constants
    source = timm.create_model("test_resnet", num_classes=7)
    place = tmp_path/"models--someone--net"
    source.pretrained_cfg = dict(source.pretrained_cfg, mean=[.1, .2, .3], std=[.5, .5, .5])
    timm.models.save_for_hf(source, place/"snapshots"/"abc")
    (place/"refs").mkdir()
    (place/"refs"/"main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    net = create_model("timm:hf-hub:someone/net", 7, 3, 32, weights="imagenet")
    assert net.spec["mean"] == [.1, .2, .3]
    with torch.no_grad():
        x = torch.rand(2, 3, 32, 32)
        z = (x - torch.tensor([.1, .2, .3])[:, None, None])/.5
        torch.testing.assert_close(net(x), source.eval()(z))
    new = create_model("timm:hf-hub:someone/net", 4, 1, 32, seed=1)
    assert new(torch.rand(1, 1, 32, 32)).shape == (1, 4)
    path = save_checkpoint(new, tmp_path/"net.safetensors")
    with pytest.raises(ValueError, match="may not fetch.*--model timm:hf-hub:someone/net"): load_checkpoint(path)
    assert model_hash(load_checkpoint(path, "timm:hf-hub:someone/net")) == model_hash(new)
    with pytest.raises(ConnectionError, match="could not be fetched from the Hugging Face Hub"):
        create_model("timm:hf-hub:someone/nothing")


@pytest.mark.quick
def test_a_repository_that_torch_hub_has(home, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(home/"torch"))
    (home/"torch"/"hub").mkdir(parents=True)
    (home/"hub").rename(home/"torch"/"hub"/"someone_nets_v1")
    assert same(create_model("torch.hub:someone/nets:v1:make"), by_hand())


@pytest.mark.quick
def test_a_checkpoint_alone_or_with_code(home):
    zoo = create_model("cnn2", seed=3)
    path = save_checkpoint(zoo, "zoo.safetensors")
    assert model_hash(create_model(str(path))) == model_hash(zoo) == model_hash(create_model(path))
    own, source = create_model("own.py:make", seed=4), by_hand()
    torch.save(source.state_dict(), "own.pth")
    save_file(source.state_dict(), "own.safetensors")
    for file in ("own.pth", "own.safetensors"):
        assert same(create_model("own.py:make", weights=file), source) and not same(own, source)
        assert same(load_checkpoint(file, "own.py:make"), source)
        assert same(open_model("own.py:make", load_data("digits"), file), source)
        with pytest.raises(ValueError, match=f"--model net.py:make --weights {file}"): create_model(file)
    with pytest.raises(ValueError, match="missing"): create_model("own.py:Net", weights="own.pth")


# --- reading executes nothing, and weights belong to their code

@pytest.mark.quick
def test_a_checkpoint_of_own_code_is_loaded_by_name(home):
    net = create_model("nets/own.py:make", seed=2, model_options=dict(hidden=4))
    path = save_checkpoint(net, home/"a.safetensors")
    (home/"ran.txt").unlink()
    with pytest.raises(ValueError, match="`own.py:make`, which is built by code, which a file may not run.*--model"):
        load_checkpoint(path)
    assert not (home/"ran.txt").exists()
    again = load_checkpoint(path, "own.py:make")  # moved, with the options that the file says
    assert same(again, net) and model_hash(again) == model_hash(net)
    with pytest.raises(ValueError, match="`model_options` {'hidden': 4}, but got {'hidden': 5}"):
        load_checkpoint(path, "own.py:make", model_options=dict(hidden=5))
    (home/"blocks.py").write_text(BLOCKS.replace("relu=nn.ReLU", "relu=nn.Tanh"))  # the same shapes, other answers
    for call in (lambda: load_checkpoint(path, "own.py:make"), lambda: open_model("own.py:make", load_data("digits"),
                                                                                   path)):
        with pytest.raises(ValueError, match="trained when the code of `own.py:make`.* was another"): call()


@pytest.mark.quick
@pytest.mark.parametrize("spec", [dict(name="own.py:make"), dict(name="own:make"), dict(name="torch.hub:hub:make"),
                                  dict(name="own.py:make", code="0", model_options={}), dict(name="other.safetensors"),
                                  dict(name="timm:test_vit", model_options=dict(pretrained=True)),
                                  dict(name="cnn2", model_options=dict(width=10**9))],
                         ids=["file", "module", "hub", "own", "checkpoint", "options", "width"])
def test_a_file_cannot_ask_for_code(home, spec):
    state = {k: v.clone() for k, v in create_model("cnn2").state_dict().items()}
    save_file(state, "other.safetensors", metadata=dict(spec=json.dumps(dict(name="cnn2")), facts="{}"))
    save_file(state, "trap.safetensors", metadata=dict(spec=json.dumps(spec), facts="{}"))
    with pytest.raises(ValueError, match="which a file may not run|may not do|too small"):
        load_checkpoint("trap.safetensors")
    assert not (home/"ran.txt").exists()


# --- a wrong text says what was tried

@pytest.mark.quick
@pytest.mark.parametrize("text, options, words", [
    ("own.py:mkae", {}, "no `mkae` in `own.py`. Did you mean 'make'"), ("lost.py:make", {}, "No file `lost.py`"),
    ("own.py", {}, "say what builds the network, as `own.py:make`. It has"), ("lost.pth", {}, "No checkpoint at"),
    ("nothing.at.all:make", {}, "No module `nothing.at.all`"), ("torch.hub:lost:make", {}, "No folder `lost`"),
    ("resnet81", {}, "Did you mean 'resnet18'"), ("own.py:words", {}, "to return a torch.nn.Module, but got str"),
    ("own.py:make", dict(hiden=3), "It takes hidden, act"), ("own.py:make", dict(hidden=len), "`model_options`"),
    ("own.py:wide", {}, "`own.py:wide` cannot take images of 1 channel and 8×8 pixels"),
    ("broken.py:make", {}, "not valid Python: line 1"), ("fails.py:make", {}, "line 2: ZeroDivisionError"),
    ("cnn2", dict(hidden=3), "Unknown `model_options of cnn2`"), ("timm:resnt18", {}, "Did you mean"),
    ("zoo.safetensors", dict(hidden=3), "`model_options` are for code"),
    ("x"*5000 + ".py:make", {}, "No file"), ("x"*5000, {}, "Unknown `model`"), ("cnn" + "9"*5000, {}, "at most 999"),
], ids=lambda v: v if isinstance(v, str) and len(v) < 24 else "")
def test_a_wrong_text_says_what_was_tried(home, text, options, words):
    (home/"broken.py").write_text("def make(: pass")
    (home/"fails.py").write_text("def make(): pass\nmake = 1/0")
    save_checkpoint(create_model("cnn2"), home/"zoo.safetensors")
    with pytest.raises((ValueError, TypeError, OSError, ImportError)) as told:
        create_model(text, model_options=options)
    assert words in str(told.value), str(told.value)


@pytest.mark.quick
def test_looking_does_not_run_the_code(home):
    find_architecture("own.py:make")
    check_code("nets/own.py:Net")
    code_digest_of("torch.hub:hub:make")
    assert not (home/"ran.txt").exists()


@pytest.mark.quick
def test_options_in_one_line():
    assert read_options("depth=3, act=relu,ok=True,sizes=[3, 5],w=0.5,none=None") == dict(
        depth=3, act="relu", ok=True, sizes=[3, 5], w=.5, none=None)
    assert read_options('{"depth": 3}') == dict(depth=3)


# --- one question or another

def change(file, old, new):
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.quick
def test_other_constants_are_another_question_a_moved_file_is_not(home):
    template = find_template("model_report")
    asked = lambda text, **more: run_identity(template, dict(model=text, **more), home)
    first = asked("own.py:make")
    assert first == asked("nets/own.py:make") == asked("~/own.py:make") and str(home) not in json.dumps(
        [first["parameters"], first["contents"]])
    assert first["parameters"]["model"] == "own.py:make" in first["contents"]
    assert first != asked("own.py:make", model_options=dict(hidden=4)) and first != asked("own.py:fixed")
    change(home/"own.py", "WIDTH = 8", "WIDTH = 9")
    assert first != asked("own.py:make") and first == asked("nets/own.py:make")
    change(home/"nets"/"blocks.py", "relu=nn.ReLU", "relu=nn.Tanh")
    assert first != asked("nets/own.py:make")
    both = run_identity(find_template("depth_comparison"), dict(models=["own.py:make", "nets/own.py:make"]), home)
    assert len(set(both["parameters"]["models"])) == 2


@pytest.mark.quick
def test_the_file_of_this_moment_is_what_is_loaded(home):
    net = create_model("own.py:make")
    change(home/"own.py", "WIDTH = 8", "WIDTH = 5")
    assert (net[0].out_channels, create_model("own.py:make")[0].out_channels) == (8, 5)
    change(home/"blocks.py", "nn.Conv2d(c, hidden, 3)", "nn.Conv2d(c, hidden, 5)")
    assert create_model("own.py:make")[0].kernel_size == (5, 5)
    assert create_model("nets/own.py:make")[0].kernel_size == (3, 3)  # its own `blocks`
    assert load_code("own.py:make") is load_code("own.py:make")


def test_training_resumes_and_other_code_does_not(home):
    how = dict(n=200, epochs=1, progress=False, model_options=dict(hidden=4))
    log = train_model("own.py:make", "out", **how)
    assert log.attrs["model"] == "own.py:make(hidden=4)"
    assert train_model("nets/own.py:make", "out", **how).model_hash == log.model_hash  # done, and moved
    net = load_checkpoint("out/model.safetensors", "own.py:make")
    assert model_hash(net) == log.attrs["model_hash"]
    change(home/"blocks.py", "relu=nn.ReLU", "relu=nn.Tanh")
    with pytest.raises(ValueError, match="holds another training"): train_model("own.py:make", "out", **how)
    again = train_model("cnn2", "start", n=200, epochs=1, progress=False)
    onward = train_model("cnn2", "onward", n=200, epochs=1, progress=False, weights="start/model.safetensors")
    assert float(onward.loss[0]) < float(again.loss[0])


def test_the_result_says_which_code(home):
    net = create_model("own.py:make", model_options=dict(hidden=4))
    attrs = stress_sweep(net, load_data("digits", n=20), GaussianNoise(), (0, 1), progress=False).attrs
    assert attrs["model"] == "own.py:make(hidden=4)" and attrs["model_code"] == code_digest_of("own.py:make")
    assert json.loads(attrs["model_options"]) == dict(hidden=4)


def test_matrix_of_own_code(home):
    data = (load_data("digits", "train", n=100), load_data("digits", n=20))
    ask = lambda: train_test_matrix("own.py:make", data, GaussianNoise(), [0, 2], epochs=1, searches=(), folder="m",
                                    network=dict(model_options=dict(hidden=4)), progress=False)
    first = ask()
    kept = set(Path("m").iterdir())
    np.testing.assert_array_equal(ask().pred, first.pred)
    assert set(Path("m").iterdir()) == kept and first.attrs["model"] == "own.py:make(hidden=4)"
    change(home/"own.py", "WIDTH = 8", "WIDTH = 9")
    ask()
    assert set(Path("m").iterdir()) > kept


# --- study files

STUDY = """template = "train_test_matrix"
[axes]
model = ["nets/own.py:make", "nets/own.py:fixed"]
[parameters]
epochs = 1
n = 20
n_train = 100
levels = [0, 2]
searches = []
"""


@pytest.mark.quick
def test_a_study_file_names_own_code(home, monkeypatch):
    (home/"study.toml").write_text(STUDY)
    monkeypatch.chdir("/")  # relative paths start at the study file
    runs = load_study(home/"study.toml").runs
    assert [r.name.rpartition("_")[0] for r in runs] == ["model=own.py-make", "model=own.py-fixed"]
    check_study(home/"study.toml")
    change(home/"nets"/"own.py", "WIDTH = 8", "WIDTH = 9")
    assert {r.fingerprint for r in load_study(home/"study.toml").runs}.isdisjoint({r.fingerprint for r in runs})
    for wrong, words in (("nets/own.py:mkae", "Did you mean 'make'"), ("nets/lost.py:make", "No file `nets/lost.py`"),
                         ("lost.modul:make", "No module")):
        (home/"wrong.toml").write_text(STUDY.replace("nets/own.py:fixed", wrong))
        with pytest.raises((ValueError, OSError, ImportError), match=words): check_study(load_study(home/"wrong.toml"))
    assert not (home/"ran.txt").exists() and not Path("/ran.txt").exists()


# --- real runs

def fragility(home, *words):
    "The command that a user types."
    command = [sys.executable, "-c", "from fragility_nb.cli import app; app()", *map(str, words)]
    return subprocess.run(command, cwd=home, env=environment(OMP_NUM_THREADS="1", MPLBACKEND="agg"), text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=300)


SHORT = ["--data", "digits", "--n", "20", "--thresholds", "3", "--snapshots", "0", "--device", "cpu"]


def told(*words):
    "Exit status and words of a command that ends at once."
    done = CliRunner().invoke(app, [*map(str, words)])
    return done.exit_code, done.output


@pytest.mark.quick
def test_the_command_says_what_to_type(home):
    torch.save(by_hand().state_dict(), "own.pth")
    for words, say in ((["own.pth"], "--model net.py:make --weights own.pth"), (["own.py:mkae"], "Did you mean 'make'"),
                       (["own.py:make", "--model-options", "depth"], "like name=value"),
                       (["lost.pth"], "No checkpoint")):
        code, output = told("run", "--model", *words, "--out", "r", *SHORT)
        assert code == 2 and say in output and "Traceback" not in output, output
    code, output = told("train", "--model", "own.py:mkae", "--out", "r")
    assert code == 2 and "Did you mean 'make'" in output
    assert not Path("r/run.json").exists() and not Path("ran.txt").exists()


def test_run_with_weights_does_not_train(home):
    "The report of a file of weights and the code that they are for; and of the same network in memory."
    train_model("own.py:make", "t", epochs=2, lr=.02, batch_size=32, progress=False)
    trained, digits = load_checkpoint("t/model.safetensors", "own.py:make"), load_data("digits", n=FEW["n"])
    torch.save(trained.state_dict(), "own.pth")
    page = run_model("own.py:make", "r", weights="own.pth", progress=False, device="cpu", **FEW)
    assert not Path("r/training").exists()
    result = load_result("r/result.nc")
    right = (predict(trained, digits).argmax(1) == digits.labels).double().mean()
    assert float(result["filters"].reference_accuracy[0]) == pytest.approx(float(right))
    identity = json.loads(Path("r/run.json").read_text())["model_report"]["identity"]
    assert identity["contents"]["own.py:make"] == code_digest_of("own.py:make")
    again = report(trained, digits, "same", device="cpu", **{k: v for k, v in FEW.items() if k != "n"})
    own = load_result("same/result.nc")
    for part in ("stress", "filters", "scores"):
        for name, values in result[part].data_vars.items():
            np.testing.assert_array_equal(values.values, own[part][name].values, err_msg=name)
    assert page.read_text().count("image/png") == again.read_text().count("image/png") > 2


def test_run_trains_own_code(home):
    words = ["run", "--model", "nets/own.py:make", "--model-options", "hidden=16", "--epochs", "4", "--lr", "0.02",
             "--out", "r", *SHORT]
    done = fragility(home, *words)
    assert done.returncode == 0, done.stderr
    given = json.loads(Path("r/run.json").read_text())["model_report"]["identity"]["parameters"]
    assert is_done("r", "model_report", **given | dict(model="nets/own.py:make"))
    assert not is_done("r", "model_report", **given | dict(model="nets/own.py:fixed"))
    assert load_result("r/result.nc")["filters"].attrs["model"] == "own.py:make(hidden=16)"


def test_a_template_with_own_code(home):
    options = dict(model="nets/own.py:make", model_options=dict(hidden=16), epochs=4, lr=.02, snapshots=1, sections=[],
                   report=FEW | dict(landscape_thresholds=3, landscape_images=30))
    for name in ("with_coverage", "with_batchnorm", "with_kernels"): options["report"].pop(name)
    page = run_study("train_and_report", "r", progress=False, **options)
    assert "own.py:make(hidden=16)" in page.read_text()
    assert is_done("r", "train_and_report", **options) and "landscape" in load_result("r/result.nc").children
    Path("nets").rename("moved")
    assert is_done("r", "train_and_report", **options | dict(model="moved/own.py:make"))
    change(Path("moved/blocks.py"), "relu=nn.ReLU", "relu=nn.Tanh")
    assert not is_done("r", "train_and_report", **options | dict(model="moved/own.py:make"))


def test_a_grid_over_own_code(home):
    (home/"study.toml").write_text(STUDY)
    done = fragility(home.parent, "grid", home/"study.toml", "--workers", "2")
    assert done.returncode == 0, done.stderr + done.stdout
    models = {load_result(p).attrs["model"] for p in home.glob("study/runs/*/result.nc")}
    assert models == {"own.py:make", "own.py:fixed"}
    again = fragility(home.parent, "grid", home/"study.toml", "--dry-run")
    assert "2 done" in again.stdout


def test_differential_of_own_code(home):
    train_model("own.py:make", "a", epochs=1, lr=.02, progress=False)
    words = ["differential", "--models", "own.py:make=a/model.safetensors", "own.py:Net", "--epochs", "1", "--n", "20",
             "--constraint", "none", "--steps", "2", "--device", "cpu", "--out", "d"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert list(load_result("d/result.nc")["none"].model.values) == ["own.py:make", "own.py:Net"]
    bad = CliRunner().invoke(app, [*words[:2], "own.py:make=lost.pth", *words[3:]])
    assert bad.exit_code == 2 and "No checkpoint at `lost.pth`" in bad.output


# --- in a notebook

class Handmade(nn.Module):
    "As one writes it in a notebook."
    def __init__(self, act=torch.relu):
        super().__init__()
        self.conv, self.head, self.act = nn.Conv2d(1, 8, 3), nn.Linear(8*36, 10), act

    def forward(self, x): return self.head(self.act(self.conv(x)).flatten(1))


def test_report_of_a_network_in_memory(tmp_path):
    import matplotlib.pyplot as plt

    from fragility_nb.models.training import fit
    net, digits = Handmade(), load_data("digits", n=30)
    fit(net, load_data("digits", "train", n=600), epochs=2, lr=.005, batch_size=32, progress=False)
    net.train()
    few = {k: v for k, v in FEW.items() if k != "n"}
    before, mine, style = model_hash(net), plt.figure().number, dict(plt.rcParams)
    page = report(net, digits, tmp_path, **few)
    assert net.training and model_hash(net) == before
    assert plt.get_fignums() == [mine] and dict(plt.rcParams) == style
    plt.close("all")
    run = json.loads((tmp_path/"run.json").read_text())["model_report"]
    assert run["identity"]["network"]["weights"] == before and "Handmade" in page.read_text()
    assert "image/png" in page.read_text() and not (tmp_path/".work").exists()
    made = (tmp_path/"result.nc").stat().st_mtime_ns
    pair = (digits.images, digits.labels)
    assert report(net, digits, tmp_path, **few) == page and (tmp_path/"result.nc").stat().st_mtime_ns == made
    net.act = torch.sigmoid  # the same weights, other answers
    with pytest.warns(UserWarning, match="not used again"): report(net, digits, tmp_path, **few)
    assert (tmp_path/"result.nc").stat().st_mtime_ns != made
    with pytest.raises(ValueError, match="Did you mean 'thresholds'"): report(net, pair, tmp_path, tresholds=3)
    with pytest.raises(ValueError, match="has learned nothing yet"): report("cnn2", digits, tmp_path, **few)


def test_a_report_that_fails_says_where(tmp_path):
    net = Handmade()  # it guesses
    with torch.no_grad(): net.head.weight.zero_()
    with pytest.raises(RuntimeError, match="Cell .* of `model_report.ipynb` failed: ValueError: .*random guess"):
        report(net, load_data("digits", n=40), tmp_path, **{k: v for k, v in FEW.items() if k != "n"})
    assert (tmp_path/"model_report.failed.ipynb").is_file() and not (tmp_path/"result.nc").exists()
