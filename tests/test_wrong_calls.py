"""Wrong calls, made from the signatures of public functions: each is one clear error that names its argument.

Every parameter of every function below is given values that cannot be meant, one at a time. A call is *clear* if our
own check refuses it and names the argument; *raw* if another error comes out, or one without the name; *silent* if none
comes. `LATER` lists what is not clear yet: it may only become shorter.
"""
import contextlib
import importlib
import inspect
import re
import signal
import traceback
import warnings
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import xarray as xr
from conftest import ROOT

matplotlib.use("agg")
pytestmark = pytest.mark.filterwarnings("ignore")
NAN, INF = float("nan"), float("inf")


# Valid arguments, made once: a tiny network, ten images, small results

def get(name):
    "A public thing by its place: `stress.FGSM`."
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(f"fragility_nb.{package}"), attribute)


@cache
def subject():
    "A small network that knows some digits, and ten images of them."
    data, train = get("data.load_data")("digits", n=10), get("data.load_data")("digits", "train", n=300)
    model = get("models.create_model")("cnn3")
    get("models.fit")(model, train, epochs=2, lr=3e-3, batch_size=30, progress=False, device="cpu")
    return model, data


def model(): return subject()[0]
def other(): return get("models.create_model")("cnn3", seed=1)
def data(): return subject()[1]
def images(): return data().batch(0, 10)
def noise(): return get("stress.GaussianNoise")()
def fgsm(): return get("stress.FGSM")(0.05)


@cache
def stressed():
    return get("measure.stress_sweep")(model(), data(), [noise(), fgsm()], (0, 1, 2), seeds=(0, 1), progress=False)


@cache
def corrupted():
    few = [get("stress.Brightness")("cifar"), get("stress.Contrast")("cifar")]
    return get("measure.stress_sweep")(model(), data(), few, (0, 1, 2, 3, 4, 5), progress=False)


@cache
def filtered():
    return get("measure.filter_sweep")(model(), data(), layers=["conv2", "linear"], thresholds=5, attack=fgsm(),
                                       progress=False)


@cache
def scored(): return get("measure.synaptic_scores")(filtered(), n_boot=100)


@cache
def least(): return get("stress.minimal_perturbation")(model(), data(), progress=False)


@cache
def theta(): return next(model().parameters()).detach()


QUICK = dict(progress=False)
FEW = dict(n_boot=100)
CALLS = {
    # floor: what is called, with which valid arguments; the parameters are those of its signature
    "core.check_kind": lambda: dict(result=stressed(), kind="stress_sweep"),
    "core.save_result": lambda: dict(result=stressed(), path=scratch() / "result.nc"),
    "core.load_result": lambda: dict(path=get("core.save_result")(stressed(), scratch() / "saved.nc")),
    "core.array_hash": lambda: dict(arrays=dict(a=np.zeros(3))),
    "core.poisson_quantile": lambda: dict(u=torch.rand(3), rate=torch.rand(3)),
    "data.ImageData": lambda: dict(images=images(), labels=data().labels, classes=data().classes,
                                   index=torch.arange(10)),
    "data.LazyImages": lambda: dict(files=[picture()], shape=(1, 8, 8), share=0.5),
    "data.as_data": lambda: dict(data=(images(), data().labels), classes=data().classes),
    "data.channel_moments": lambda: dict(data=data()),
    "data.check_images": lambda: dict(images=images()),
    "data.check_labels": lambda: dict(labels=data().labels, n=10, num_classes=10),
    "data.unit_pixels": lambda: dict(image=images()),
    "data.load_data": lambda: dict(name="digits", n=10, image_size=8, **QUICK),
    "data.load_digits": lambda: dict(split="test"),
    "data.list_corruptions": lambda: dict(name=str(corruptions())),
    "data.data_root": lambda: dict(root="data"),
    "data.cache_folder": lambda: dict(root="data"),
    "data.pick_device": lambda: dict(device="cpu"),
    "models.create_model": lambda: dict(name="cnn3"),
    "models.predict": lambda: dict(model=model(), data=data()),
    "stress.GaussianNoise": dict, "stress.GaussianBlur": dict, "stress.Rotation": dict, "stress.Translation": dict,
    "stress.Scale": dict, "stress.Shear": dict, "stress.Perspective": dict, "stress.Hue": dict,
    "stress.Occlusion": dict, "stress.RandomNoise": dict, "stress.FGSM": dict, "stress.PGD": dict,
    "stress.Brightness": dict, "stress.Fog": dict,
    "stress.GradientWalk": dict, "stress.FGSMSearch": dict,
    "stress.Chain": lambda: dict(stages=(noise(), get("stress.Rotation")())),
    "stress.apply_stress": lambda: dict(stressor=noise(), x=images(), severity=1., index=range(10)),
    "stress.attack_images": lambda: dict(model=model(), data=data(), attack=fgsm()),
    "stress.check_attack": lambda: dict(model=model(), data=data(), attack=fgsm(), n=8),
    "stress.find_epsilon": lambda: dict(model=model(), data=data(), attack=fgsm(), max_epsilon=0.5, **QUICK),
    "stress.minimal_perturbation": lambda: dict(model=model(), data=data(), **QUICK),
    "stress.loss_gradient": lambda: dict(model=model(), data=data()),
    "stress.plan_filter": lambda: dict(theta=theta(), filter="high_pass", thresholds=4, alpha_range=(0, 1)),
    "stress.threshold_grid": lambda: dict(low=0., high=1., n=3),
    "stress.common_corruptions": dict,
    "stress.high_pass": lambda: dict(theta=theta(), alpha=0.1),
    "stress.low_pass": lambda: dict(theta=theta(), alpha=0.1),
    "stress.pulse": lambda: dict(theta=theta(), alpha=0.1, step=0.1),
    "stress.gaussian_filter": lambda: dict(x=images(), sigma=1.),
    "stress.pad_border": lambda: dict(x=images(), rows=1, cols=1, border="mirror"),
    "stress.cross_entropy": lambda: dict(logits=torch.rand(10, 10), y=data().labels),
    "measure.stress_sweep": lambda: dict(model=model(), data=data(), stressors=[noise()], severities=(0, 1), **QUICK),
    "measure.filter_sweep": lambda: dict(model=model(), data=data(), layers=["conv2"], thresholds=3, **QUICK),
    "measure.synaptic_scores": lambda: dict(result=filtered(), **FEW),
    "measure.relabel": lambda: dict(scores=scored(), band=0.02),
    "measure.score_summary": lambda: dict(scores=scored()),
    "measure.scale_scores": lambda: dict(scores=scored()),
    "measure.auc_difference": lambda: dict(a=stressed(), b=stressed(), **FEW),
    "measure.stress_differences": lambda: dict(a=stressed(), b=stressed(), **FEW),
    "measure.score_differences": lambda: dict(a=filtered(), b=filtered(), **FEW),
    "measure.compactness": lambda: dict(result=filtered()),
    "measure.smallest_fraction": lambda: dict(result=filtered()),
    "measure.relative_performance": lambda: dict(result=filtered()),
    "measure.stress_summary": lambda: dict(result=stressed(), **FEW),
    "measure.calibration": lambda: dict(result=stressed(), **FEW),
    "measure.flip_rate": lambda: dict(result=stressed(), **FEW),
    "measure.minimal_summary": lambda: dict(result=least(), **FEW),
    "measure.corruption_error": lambda: dict(result=corrupted(), **FEW),
    "measure.area_weights": lambda: dict(n=3),
    "measure.label_scores": lambda: dict(low=np.zeros(3), high=np.ones(3)),
    "measure.look_slices": lambda: dict(n=300),
    "measure.interval": lambda: dict(draws=np.random.default_rng(0).random((20, 3))),
    "measure.resampled_means": lambda: dict(x=np.zeros((5, 2)), n_boot=9),
    "measure.count_pairs": lambda: dict(filtered=np.ones((2, 5), bool), unfiltered=np.ones(5, bool)),
    "measure.accuracy_ratio": lambda: dict(pairs=np.ones((2, 4))),
    "measure.ratio_interval": lambda: dict(pairs=np.ones((2, 4))),
    "measure.MixUp": dict, "measure.CutMix": dict,
    "measure.StressPolicy": lambda: dict(stressors=(noise(),), severities=(1., 2.)),
    "measure.WorstOf": lambda: dict(stressors=(noise(),), severities=(1., 2.)),
    "figures.plot_stress": lambda: dict(result=stressed()),
    "figures.plot_stress_map": lambda: dict(result=stressed()),
    "figures.plot_reliability": lambda: dict(result=stressed(), stress=str(stressed().stress.values[0])),
    "figures.plot_filter_response": lambda: dict(result=filtered(), layer="conv2"),
    "figures.plot_scores": lambda: dict(scores=scored()),
    "figures.plot_compactness": lambda: dict(result=filtered(), layer="conv2"),
    "figures.plot_areas": lambda: dict(results=dict(a=stressed(), b=stressed())),
    "figures.plot_comparison": lambda: dict(results=dict(a=stressed(), b=stressed())),
    "figures.plot_severity": lambda: dict(results=dict(a=stressed())),
    "figures.plot_minimal": lambda: dict(results=dict(a=least())),
    "figures.plot_corruption_error": lambda: dict(
        results=get("measure.corruption_error")(corrupted(), **FEW), measure="error"),
    "probes.compare_sources": lambda: dict(models=[model(), other()], data=data(), sources=dict(a=images())),
    "probes.recalibrate": lambda: dict(model=model(), data=data(), n=8, stressor=noise(), severity=1.),
}


@cache
def scratch():
    import tempfile
    return Path(tempfile.mkdtemp())


@cache
def picture():
    from PIL import Image
    Image.new("L", (8, 8)).save(scratch() / "picture.png")
    return str(scratch() / "picture.png")


@cache
def corruptions():
    "A corrupted set."
    (scratch() / "own-C" / "fog" / "1").mkdir(parents=True)
    return scratch() / "own-C"


# What cannot be meant, by the type that a signature names

FREE = {"what", "where"} # texts of any kind, for errors
OPEN = {"download", "progress", "cache", "lazy", "clip", "random_start", "bounds", "integer", "deep", "extra"}
NUMBERS = {"nan": NAN, "inf": INF, "text": "x", "bool": True, "empty": []}
NEGATIVE = set("n bins n_boot batch_size thresholds band ci share most first epsilon sigma k p steps step max_epsilon "
               "min_epsilon tolerance grid halvings restarts severity image_size num_classes highest side tilt "
               "image_size in_chans rows cols".split())
ZERO = set("n bins n_boot batch_size ci share most first restarts steps grid image_size num_classes in_chans".split())
BAD = dict(
    model={"number": 3, "none": None, "text": "cnn3"},
    data={"number": 3, "none": None, "empty list": [], "no folder": "no/such/folder", "no text": "",
          "nan": lambda: (images() * NAN, data().labels), "three dimensions": lambda: (images()[:, 0], data().labels),
          "other labels": lambda: (images(), data().labels[:3]), "float labels": lambda: (images(), data().labels / 2)},
    result={"number": 3, "none": None, "empty": lambda: xr.Dataset(), "mapping": {"a": 3},
            "another kind": lambda: xr.Dataset(attrs=dict(kind="another"))},
    results={"number": 3, "none": None, "empty": {}, "of numbers": {"a": 3}, "of empty": lambda: {"a": xr.Dataset()}},
    path={"number": 3, "none": None, "no text": ""},
    device={"unknown": "gpu", "number": 3.5, "not there": "cuda:99"},
    attack={"number": 3, "text": "fgsm", "stressor": lambda: noise()},
    stressor={"number": 3, "text": "noise", "none": None},
    stressors={"number": 3, "empty": [], "of text": ["no_such_name"], "none": None,
               "twice": lambda: [noise(), noise()]},
    names={"unknown": ["no_such_name"], "empty": [], "numbers": [3], "number": 3},
    numbers={"nan": [NAN], "inf": [INF], "empty": [], "text": "x", "texts": ["x"], "bool": [True], "number": None},
    name={"unknown": "no_such_name", "number": 3, "no text": ""},
    ax={"number": 3, "text": "x"},
    array={"text": "x", "none": None, "number": 3},
    flag={"text": "no", "number": 3},
)
KINDS = { # by the name of the parameter, where the type does not say it
    "model": "model", "data": "data", "train": "data", "result": "result", "scores": "result", "a": "result",
    "b": "result",
    "results": "results", "device": "device", "attack": "attack", "stressor": "stressor", "stressors": "stressors",
    "ax": "ax", "axs": "ax", "path": "path", "resume": "path", "layers": "names", "filters": "names",
    "severities": "numbers", "seeds": "numbers", "images": "array", "labels": "array", "image": "array", "x": "array",
    "theta": "array", "u": "array", "rate": "array", "logits": "array", "y": "array", "array": "array", "low": "array",
    "high": "array", "draws": "array", "pairs": "array", "filtered": "array", "unfiltered": "array", "arrays": "array",
    "sources": "results", "models": "results", "index": "numbers", "stages": "stressors", "search": "name",
}


def wrong_values(parameter):
    "Names of wrong values of a parameter -> the values."
    name, kind = parameter.name, str(parameter.annotation)
    if parameter.default is None: # then it is meant
        return {k: v for k, v in wrong_values(parameter.replace(default=parameter.empty)).items()
                if v is not None}
    if name in FREE or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD): return {}
    if name in ("low", "high") and "ndarray" not in kind: return NUMBERS
    if name in KINDS: return BAD[KINDS[name]]
    if name in OPEN or kind == "bool" or "'bool'" in kind: return BAD["flag"]
    if "Sequence[float]" in kind or "tuple[float" in kind or "Sequence[int]" in kind: return BAD["numbers"]
    if "Sequence[str]" in kind or "Iterable[str" in kind or name == "classes": return BAD["names"]
    if "float" in kind or "int" in kind:
        more = {"negative": -1} if name in NEGATIVE else {}
        more |= {"zero": 0} if name in ZERO else {}
        return NUMBERS | more | ({"fraction": 2.5} if "float" not in kind else {})
    if "PathLike" in kind: return {"number": 3}
    return BAD["name"] if "str" in kind else {}


def parameters(name):
    "The parameters of a public function or class."
    return inspect.signature(get(name)).parameters.values()


WRONG = [(name, p.name, label) for name in CALLS for p in parameters(name) for label in wrong_values(p)]


# How a call ends

ALIASES = {"data": "data|images|labels|name|dataset|folder", "result": "result|scores|kind", "scores": "scores|result",
           "stressors": "stressors?|stress", "stages": "stages?|stressor", "severities": "severit(y|ies)",
           "seeds": "seeds?", "filters": "filters?", "layers": "layers?", "results": "results?|result",
           "models": "models?", "sources": "sources?", "name": "name|dataset|model|data set", "theta": "theta|weights",
           "path": "path|result|No result|Cannot write", "a": "a|result", "b": "b|result", "kind": "kind",
           "index": "index|rows", "image": "images?", "n": "n|thresholds", "classes": "classes|num_classes"}


@contextlib.contextmanager
def time_limit(seconds):
    "A call that does not return is an error."
    def stop(*_): raise TimeoutError("it did not return")
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try: yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def ending(name, parameter, label):
    "'clear', or how a wrong call ends."
    value = wrong_values(next(p for p in parameters(name) if p.name == parameter))[label]
    if callable(value) and getattr(value, "__name__", "") == "<lambda>": value = value()
    arguments = CALLS[name]() | {parameter: value}
    try:
        with time_limit(20), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            get(name)(**arguments)
    except Exception as error: return judged(error, parameter)
    finally: close_figures()
    return "silent"


def close_figures():
    import matplotlib.pyplot as plt
    plt.close("all")


def judged(error, parameter):
    "Whether an error is ours and names the parameter."
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(frame.filename).is_relative_to(ROOT / "fragility_nb") and type(error).__name__ in (
        "ValueError", "TypeError", "FileNotFoundError", "OSError")
    first = str(error).splitlines()[0] if str(error) else ""
    named = re.search(rf"\b({ALIASES.get(parameter, parameter)})\b", first)
    if ours and named: return "clear"
    return f"{'unnamed' if ours else 'raw'}: {type(error).__name__} {first[:80]}"


# Silent, and meant so: (function, parameter, value): why
ALLOWED = {
    ("data.ImageData", "name", "unknown"): "a title, any text",
    ("data.ImageData", "name", "no text"): "a title, may be empty",
    ("data.ImageData", "numbers", "no text"): "classes are names, as usual",
    ("data.as_data", "name", "unknown"): "a title, any text",
    ("stress.Chain", "stages", "twice"): "the same stress twice is a stronger one",
    ("measure.StressPolicy", "stressors", "twice"): "drawn twice as often as another",
    ("measure.WorstOf", "stressors", "twice"): "drawn twice as often as another",
    ("stress.high_pass", "step", "negative"): "this filter has no width; the argument is for all to have one form",
    ("stress.low_pass", "step", "negative"): "this filter has no width; the argument is for all to have one form",
}
LATER: set[tuple[str, str, str]] = set() # not clear yet; may only become shorter


def test_the_calls_are_many_and_of_all_floors():
    assert len(WRONG) >= 400
    assert {name.split(".")[0] for name in CALLS} >= {"core", "data", "models", "stress", "measure", "figures"}
    assert {*ALLOWED, *LATER} <= {*WRONG}
    assert len(LATER) == 0


def test_an_error_from_elsewhere_or_without_the_name_is_not_clear():
    "The judge itself."
    def ending_of(call):
        try: call()
        except Exception as error: return judged(error, "n")
    check = get("core.check_number")
    assert ending_of(lambda: check("n", -1, low=0)) == "clear"
    assert ending_of(lambda: check("m", -1, low=0)).startswith("unnamed")
    assert ending_of(lambda: int("n")).startswith("raw") and ending_of(lambda: torch.zeros(2)[3]).startswith("raw")


@pytest.mark.parametrize("name", CALLS)
def test_every_wrong_argument_is_one_clear_error(name):
    get(name)(**CALLS[name]()) # the right call first: else every call below would be an error
    close_figures()
    found = {w[1:]: how for w in WRONG if w[0] == name and w not in ALLOWED
             and (how := ending(*w)) != "clear" and w not in LATER}
    assert found == {}


@pytest.mark.parametrize("name", ["cnn999999999", "cnn" + "9" * 5000])
def test_a_call_that_would_never_return_is_refused(name):
    with time_limit(20), pytest.raises(ValueError, match="`name` to be a CNN of at most 999 layers"):
        get("models.create_model")(name)


KNOWN = {
    "a range without an end": lambda: get("measure.filter_sweep")(model(), data(), alpha_range=(0, NAN), **QUICK),
    "a range backwards": lambda: get("measure.filter_sweep")(model(), data(), alpha_range=(1, 0), **QUICK),
    "a filter twice": lambda: get("measure.filter_sweep")(model(), data(), filters=["high_pass"] * 2, **QUICK),
    "no layer": lambda: get("measure.filter_sweep")(model(), data(), layers=[], **QUICK),
    "half of the thresholds": lambda: get("measure.synaptic_scores")(filtered().isel(threshold=slice(2))),
    "one threshold": lambda: get("measure.synaptic_scores")(filtered().isel(threshold=[0])),
    "severities backwards": lambda: get("measure.stress_summary")(stressed().isel(severity=[2, 1, 0])),
    "severities out of order": lambda: get("measure.auc_difference")(stressed(), stressed().isel(severity=[0, 2, 1])),
    "a severity of nothing": lambda: get("probes.recalibrate")(model(), data(), severity=5.),
    "an unknown attribution": lambda: live("attribute")(model(), images()[:1], 0, method="x"),
    "one image twice": lambda: get("data.ImageData")(images(), data().labels, data().classes,
                                                     index=torch.zeros(10, dtype=torch.long)),
    "batches of nothing": lambda: get("measure.stress_sweep")(model(), data(), noise(), batch_size=0, **QUICK),
    "no sources": lambda: get("probes.compare_sources")([model(), other()], data(), {}),
    "NaN from a distortion": lambda: get("models.fit")(get("models.create_model")("cnn3"), data(), epochs=1, **QUICK,
                                                       distort=lambda x, seed, index: x * NAN),
    "a result of numbers": lambda: get("core.save_result")({"a": 3}, scratch() / "numbers.nc"),
    "no result": lambda: get("core.save_result")(xr.Dataset(dict(a=3)), scratch() / "plain.nc"),
}
NAMED = ["alpha_range", "alpha_range", "filters", "layers", "thresholds", "thresholds", "severities", "severities",
         "stressor", "method", "index", "batch_size", "sources", "distort", "result", "result"]


def live(name): return getattr(importlib.import_module("fragility_nb.explore.live"), name)


@pytest.mark.parametrize("call, named", [*zip(KNOWN.values(), NAMED)], ids=KNOWN)
def test_what_was_once_silent_is_refused_by_name(call, named):
    pytest.importorskip("captum") if named == "method" else None
    with pytest.raises((ValueError, TypeError), match=rf"\b{named}\b"): call()


if __name__ == "__main__":
    import sys
    only = sys.argv[1:]
    for name in CALLS:
        if only and not any(name.startswith(o) for o in only): continue
        try: get(name)(**CALLS[name]())
        except Exception as e: print("INVALID", name, repr(e)[:200])
        for _, parameter, label in [w for w in WRONG if w[0] == name]:
            how = ending(name, parameter, label)
            if how != "clear": print(f"{name}({parameter}={label})".ljust(60), how)
    print(len(WRONG))
