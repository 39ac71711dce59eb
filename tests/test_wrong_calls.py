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
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import torch
import xarray as xr
from conftest import ROOT
from right_calls import CALLS, UNTRIED, data, fgsm, filtered, get, images, landscape_scores, model, noise, other
from right_calls import scratch, stressed

matplotlib.use("agg")
pytestmark = pytest.mark.filterwarnings("ignore")
NAN, INF = float("nan"), float("inf")
QUICK = dict(progress=False)


# What cannot be meant, by the type that a signature names

FREE = {"what", "where", "words", "title"} # texts of any kind, for errors and pages
OPEN = {"download", "progress", "cache", "lazy", "clip", "random_start", "bounds", "integer", "deep", "extra"}
NUMBERS = {"nan": NAN, "inf": INF, "text": "x", "bool": True, "empty": []}
NEGATIVE = set("n bins n_boot batch_size thresholds band ci share most first epsilon sigma k p steps step max_epsilon "
               "min_epsilon tolerance grid halvings restarts severity image_size num_classes highest side tilt "
               "image_size in_chans rows cols seed stress_seed epochs every tries combine orders points round_size "
               "workers threads groups depth kind kernel w_in w_out maps width num_features inits cores gpus timeout "
               "patience top lr resize padding epoch weight_decay momentum eps n_perm held_out snapshots control "
               "n_train wait size probes digits images weights memory draw init".split())
ZERO = set("n bins n_boot batch_size ci share most first restarts steps grid image_size num_classes in_chans epochs "
           "every tries combine orders points round_size workers threads groups depth kind kernel w_in w_out maps "
           "width num_features inits cores timeout top lr resize n_perm probes memory".split())
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
    attack={"number": 3, "text": "no_such_name", "stressor": lambda: noise()},
    stressor={"number": 3, "text": "noise", "none": None},
    stressors={"number": 3, "empty": [], "of text": ["no_such_name"], "none": None,
               "twice": lambda: [noise(), noise()]},
    names={"unknown": ["no_such_name"], "empty": [], "numbers": [3], "number": 3},
    numbers={"nan": [NAN], "inf": [INF], "empty": [], "text": "x", "texts": ["x"], "bool": [True], "number": None},
    name={"unknown": "no_such_name", "number": 3, "no text": ""},
    word={"number": 3, "none": None},
    ax={"number": 3, "text": "x"},
    array={"text": "x", "none": None, "number": 3},
    flag={"text": "no", "number": 3},
    function={"number": 3, "text": "no_such_name", "none": None},
    mapping={"number": 3, "text": "x", "list": [1], "none": None},
    table={"number": 3, "text": "x", "none": None, "empty": lambda: pd.DataFrame()},
    tree={"number": 3, "text": "x", "none": None, "empty": lambda: xr.DataTree()},
    study={"number": 3, "none": None, "unknown": "no/such/study.toml", "no text": ""},
    template={"number": 3, "none": None, "unknown": "no_such_name", "no text": ""},
    snapshots={"number": 3.5, "none": None, "empty": {}, "nothing there": {1: "no/such/file"}, "text": "x"},
    kernels={"nan": [NAN], "empty": [], "text": "x", "unknown": [99], "twice": [0, 0], "number": 3,
             "another kind": lambda: xr.Dataset(attrs=dict(kind="another"))},
)
KINDS = { # by the name of the parameter, where the type does not say it
    "model": "model", "data": "data", "train": "data", "test": "data", "held": "data", "source": "data",
    "result": "result", "scores": "result", "a": "result", "b": "result",
    "results": "results", "device": "device", "attack": "attack", "stressor": "stressor", "stressors": "stressors",
    "attacks": "stressors", "transforms": "stressors", "tests": "stressors", "study": "study", "template": "template",
    "ax": "ax", "axs": "ax", "path": "path", "resume": "path", "layers": "names", "filters": "names",
    "severities": "numbers", "seeds": "numbers", "images": "array", "labels": "array", "image": "array", "x": "array",
    "theta": "array", "u": "array", "rate": "array", "logits": "array", "y": "array", "array": "array", "low": "array",
    "high": "array", "draws": "array", "pairs": "array", "filtered": "array", "unfiltered": "array", "arrays": "array",
    "sources": "results", "models": "results", "index": "numbers", "stages": "stressors", "search": "name",
    "snapshots": "snapshots", "kernels": "kernels", "levels": "numbers", "test_levels": "numbers", "runs": "results",
    "report": "mapping", "values": "numbers",
}
TYPES = [ # by the type, where the name does not say it; the first that fits
    ("DataTree", "tree"), ("Mapping[str, xarray", "results"), ("Dataset", "result"), ("DataArray", "result"),
    ("DataFrame", "table"), ("Attack", "attack"), ("Callable", "function"), ("Mapping", "mapping"), ("dict", "mapping"),
    ("Module", "model"), ("Tensor", "array"), ("ndarray", "array"), ("Axes", "ax"), ("Sequence[str]", "names"),
    ("Iterable[str", "names"), ("Sequence[float]", "numbers"), ("tuple[float", "numbers"),
    ("Sequence[int]", "numbers"),
]


def numbers_for(name, kind):
    "Wrong values of a number."
    more = {k: v for k, v in dict(negative=-1, zero=0).items() if name in (NEGATIVE if k == "negative" else ZERO)}
    return NUMBERS | more | ({"fraction": 2.5} if "float" not in kind else {})


def kind_of(name, kind):
    "Which of the wrong values fit a parameter; \"\": none of `BAD`."
    if name in OPEN or kind == "bool" or "'bool'" in kind: return "flag"
    if kind in ("<class 'str'>", "str"): return "name"
    if name in ("attack", "model") and "str" in kind: return "function" if "Callable" in kind else "name"
    if name in KINDS and kind not in ("<class 'int'>", "<class 'float'>"): return KINDS[name]
    typed = next((of for word, of in TYPES if word in kind), "names" if name == "classes" else "")
    if typed or "float" in kind or "int" in kind or "Path" in kind: return typed
    return "name" if "str" in kind else ""


def wrong_values(parameter):
    "Names of wrong values of a parameter -> the values."
    name, kind = parameter.name, str(parameter.annotation)
    if name in FREE or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD): return {}
    if name in ("low", "high") and "ndarray" not in kind: return NUMBERS
    of = kind_of(name, kind)
    number = not of and ("float" in kind or "int" in kind)
    found = BAD[of] if of else numbers_for(name, kind) if number else {"number": 3} if "Path" in kind else {}
    return {k: v for k, v in found.items() if parameter.default is not None or v is not None} # None may be meant


def parameters(name):
    "The parameters of a public function or class."
    return inspect.signature(get(name)).parameters.values()


WRONG = [(name, p.name, label) for name in CALLS for p in parameters(name) for label in wrong_values(p)]


# How a call ends

DATA = "data|images|labels|name|dataset|folder"
ALIASES = {"data": DATA, "train": f"train|{DATA}", "test": f"test|{DATA}", "held": f"held|{DATA}",
           "source": f"source|{DATA}", "names": "names|layers|model", "tests": "tests|stressors",
           "transforms": "transforms|stressor", "snapshots": "snapshots|checkpoint", "layer": "layers?",
           "result": "result|scores|kind", "scores": "scores|result",
           "stressors": "stressors?|stress", "stages": "stages?|stressor", "severities": "severit(y|ies)",
           "seeds": "seeds?", "filters": "filters?", "layers": "layers?", "results": "results?|result",
           "models": "models?", "sources": "sources?", "name": "name|dataset|model|data set|attack",
           "theta": "theta|weights",
           "path": "path|result|No result|Cannot write", "a": "a|result", "b": "b|result", "kind": "kind",
           "index": "index|rows", "image": "images?", "n": "n|thresholds|held_out",
           "needs": "needs|result", "rules": "rules?", "classes": "classes|num_classes"}


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
            done = get(name)(**arguments)
            if isinstance(done, contextlib.AbstractContextManager):
                with done: pass
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


# Silent, and meant so: (function, parameter, value; "*": every value): why
ALLOWED = {
    ("models.pick_layers", "layers", "number"): "so many layers, spread over the depth",
    **{(f"run.{name}", "gpus", "empty"): "no GPU, on purpose" for name in ("LocalEngine", "DaskEngine", "pick_gpus")},
    ("data.ImageData", "numbers", "no text"): "classes are names, as usual",
    ("data.ImageData", "name", "unknown"): "a title, any text",
    ("data.ImageData", "name", "no text"): "a title, may be empty",
    ("data.as_data", "name", "unknown"): "a title, any text",
    ("stress.Chain", "stages", "twice"): "the same stress twice is a stronger one",
    ("measure.StressPolicy", "stressors", "twice"): "drawn twice as often as another",
    ("measure.WorstOf", "stressors", "twice"): "drawn twice as often as another",
    ("models.Architecture", "options", "unknown"): "looked up when a network is made",
    ("models.Architecture", "options", "no text"): "looked up when a network is made",
    ("data.load_data", "memory", "zero"): "no image is kept",
    ("stress.as_stressors", "stressors", "empty"): "no stress, as a report without natural stress has",
    ("stress.as_stressors", "stressors", "twice"): "who measures them refuses it",
    ("stress.high_pass", "step", "negative"): "this filter has no width; the argument is for all to have one form",
    ("stress.low_pass", "step", "negative"): "this filter has no width; the argument is for all to have one form",
    ("stress.magnitude", "step", "negative"): "this filter has no width; the argument is for all to have one form",
    ("stress.baseline", "weights", "number"): "the scope has that many",
    ("measure.corruption_scores", "clean", "number"): "one error is a number",
    ("measure.corruption_scores", "reference_clean", "number"): "one error is a number",
    ("probes.generate_transformed", "transforms", "twice"): "drawn twice as often as another",
    ("explore.explore_batchnorm", "stressors", "twice"): "one entry of a menu",
    ("explore.explore_stress", "stressors", "twice"): "one entry of a menu",
    ("probes.input_sources", "stressors", "twice"): "one source by its name",
    ("models.as_augment", "augment", "none"): "no augmentation",
    ("core.file_digests", "paths", "empty"): "no file, no digest",
    ("core.put_aside", "names", "unknown"): "what is not there need not be moved",
    ("core.put_aside", "names", "empty"): "nothing to move",
    ("core.unknown_name", "known", "*"): "an error is told whatever is known",
    ("core.installed_version", "package", "unknown"): "none is installed",
    ("core.question_folder", "about", "*"): "any words",
    ("core.PartStore", "about", "*"): "any words",
    ("core.CounterStreams", "index", "empty"): "no image, no stream",
    ("core.Near", "values", "*"): "holds what a network answered, NaN too",
    ("models.question_of", "kind", "unknown"): "any kind of work",
    ("models.Architecture", "first", "unknown"): "looked up when weights are asked for",
    ("models.Architecture", "size", "negative"): "a note for the table of networks",
    ("models.Architecture", "source", "no folder"): "a note for the table of networks",
    ("models.train_model", "root", "unknown"): "the digits are built in: no folder is looked at",
    ("run.run_model", "root", "unknown"): "the digits are built in: no folder is looked at",
    ("engine.Edits", "paths", "unknown"): "an engine that gets them knows the network",
    ("run.check_kernel", "name", "unknown"): "the interpreter that asks is taken, as Jupyter does",
    ("run.compare_results", "fail_if", "empty"): "no rules",
    ("run.markdown_table", "table", "empty"): "a table without rows",
    ("run.kernel_interpreter", "name", "unknown"): "no such kernel is an answer: the run will say so",
    ("run.LocalEngine", "preload", "*"): "imports what it can: the call that needs it will tell",
    ("run.DaskEngine", "preload", "*"): "modules of the workers, which may have others",
    ("run.slurm_options", "*", "unknown"): "the cluster's own words",
    ("run.slurm_options", "*", "empty"): "no further lines",
    ("run.check_report", "own", "*"): "names that are compared, if there are any",
    ("run.left_out_lines", "results", "of empty"): "an empty result leaves nothing out",
    ("run.show_table", "table", "empty"): "shows no rows",
    ("run.study_table", "results", "empty"): "no run is done yet",
    ("run.found_text", "images", "number"): "three images",
    ("run.label_counts", "of", "no text"): "the published baseline",
    ("run.section_switches", "sections", "empty"): "a report without sections",
    ("run.time_left", "axes", "empty"): "a study without axes",
    ("explore.check_result", "needs", "empty"): "needs no more than its kind has",
    ("explore.view_page", "parts", "unknown"): "any HTML", ("explore.view_page", "parts", "empty"): "an empty page",
    ("explore.live_notebook", "source", "*"): "an address as a page reads it",
    ("explore.warn_of_another", "result", "*"): "a result without a hash is of no known network",
    **{(name, parameter, "*"): "any text" for name, parameter in (
        ("core.put_aside", "occasion"), ("core.provenance", "kind"), ("core.text_digest", "text"),
        ("models.Architecture", "family"), ("models.describe_model", "weights"), ("stress.overstated_sign", "name"),
        ("figures.plot_disagreements", "titles"), ("run.beside_sentence", "name"), ("run.beside_sentence", "first"),
        ("run.comparison_markdown", "old"), ("run.comparison_markdown", "new"), ("run.save_comparison", "old"),
        ("run.save_comparison", "new"), ("run.differences_table", "first"), ("run.differences_table", "second"),
        ("run.layers_sentence", "name"), ("run.model_card", "name"), ("run.model_card", "card"),
        ("run.save_model_card", "name"), ("run.verdict_sentence", "name"), ("run.verdict_sentence", "first"),
        ("models.answers_differ", "then"), ("models.answers_differ", "now"),
        ("stress.RandomOrders", "names"), ("stress.random_ranks", "names"), ("probes.criterion_label", "name"),
        ("run.data_words", "name"), ("run.difference_sentence", "name"), ("run.difference_sentence", "first"),
        ("run.found_text", "sentences"), ("run.kernels_sentence", "layer"), ("run.kernels_text", "layer"),
        ("run.kernels_text", "below"), ("run.targeting_text", "below"), ("run.minimal_text", "search"),
        ("run.page_link", "text"), ("run.page_link", "path"), ("run.place_sentence", "name"),
        ("run.plain_value", "name"), ("run.show_text", "text"), ("run.stress_words", "name"))},
}
LATER: set[tuple[str, str, str]] = set() # not clear yet; may only become shorter


def is_allowed(name, parameter, label):
    "Whether a value is meant after all; numbers are never a text."
    if label in ("number", "numbers", "none") and ALLOWED.get((name, parameter, "*")) == "any text": return False
    return any((name, p, v) in ALLOWED for p in (parameter, "*") for v in (label, "*"))


# Public, and not called here
EXCEPTIONS = {
    "checks and lookups, which name what they are told to": "core.check_choice core.check_number core.check_option "
        "core.check_options core.check_kind core.check_single core.named_parts core.of_kind core.find_option "
        "run.check_levels run.check_list run.check_numbers",
    "takes anything": "core.as_array core.changed_fields core.description_changes core.describe core.row_digests "
        "core.stable_seed data.generator models.image_uniform models.forward_in_blocks run.expand_paths "
        "run.plain_words core.remember_folders run.stop_on_interrupt probes.merge_coverage core.result_versions "
        "core.time_name core.user_cache",
    "takes nothing": "data.imagenet_classes models.list_models run.cpu_count run.list_gpus run.list_templates "
        "run.warm_up "
        "figures.house_style",
    "formats what it is given, as an f-string does": "core.named_text run.half_words run.percent "
        "run.percent_interval run.points run.told_interval "
        "run.inside_brackets",
    "an error or a warning": "core.CannotDescribe models.StopTraining stress.AttackWarning run.WorkerDied",
    "what others derive from": "stress.Stressor stress.Corruption probes.Criterion probes.Constraint run.Engine "
        "explore.LiveExplorer explore.View",
    "without settings": "probes.NBC probes.SNAC probes.Light",
    "made by the package, for itself": "models.Layer probes.Output probes.UnitReader probes.Units stress.FilterPlan "
        "stress.ControlPlan core.Option core.plain_network data.ClassOrder models.attention_parts models.is_attention "
        "models.part_rows "
        "stress.BlockAttack stress.ForeignAttack stress.beside_attack run.training_folders run.training_params "
        "run.Estimate",
    "made by among, which is called": "models.SomeClasses",
    "about code by its name, for create_model, which is called": "core.call_code core.check_code core.code_digest_of "
        "core.load_code core.own_files core.read_options core.takes core.title_of models.check_says "
        "models.is_own_code models.model_question models.network_titles models.open_model models.sizes_of "
        "run.report_source",
    "made by explore_…, which is called": "explore.BatchNormExplorer explore.CoverageExplorer explore.KernelsExplorer "
        "explore.RunsExplorer explore.ScoresExplorer explore.StressExplorer explore.BreakingExplorer explore.Breaks "
        "explore.SweepExplorer explore.MatrixExplorer explore.GapsExplorer",
    "a colour map": "figures.LANDSCAPE", "a type": "core.F", "options go to slurm_options": "run.slurm_script",
}


PACKAGES = "core data models stress engine measure figures probes explore run".split()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_called_or_an_exception(package):
    module = importlib.import_module(f"fragility_nb.{package}")
    names = {f"{package}.{n}" for n in module.__all__ if callable(getattr(module, n)) and not isinstance(
        getattr(module, n), dict) and not inspect.ismodule(getattr(module, n))}
    left = {name for names in EXCEPTIONS.values() for name in names.split()}
    assert names - {*CALLS} - left == set()


def test_the_calls_are_many_and_of_all_floors():
    assert len(WRONG) >= 5000
    assert {name.split(".")[0] for name in CALLS} == {*PACKAGES}
    idle = [a for a in ALLOWED if "*" not in a and a not in WRONG]
    assert idle == []
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
    if name not in UNTRIED: get(name)(**CALLS[name]()) # the right call first: else each call below would be an error
    close_figures()
    found = {w[1:]: how for w in WRONG if w[0] == name and not is_allowed(*w)
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
    "scores at two ε, told": lambda: get("measure.score_summary")(of_epsilons().isel(epoch=0)),
    "scores at two ε, drawn": lambda: get("figures.plot_landscape")(of_epsilons()),
    "scores at two ε, learned": lambda: get("figures.plot_learning")(of_epsilons()),
    "a result of numbers": lambda: get("core.save_result")({"a": 3}, scratch() / "numbers.nc"),
    "no result": lambda: get("core.save_result")(xr.Dataset(dict(a=3)), scratch() / "plain.nc"),
}
NAMED = ["alpha_range", "alpha_range", "filters", "layers", "thresholds", "thresholds", "severities", "severities",
         "stressor", "method", "index", "batch_size", "sources", "distort", "epsilon", "epsilon", "epsilon",
         "result", "result"]


# Wrong combinations: each argument is right alone

def of_epsilons():
    "Scores at two ε, as of a sweep with `epsilons`."
    both = xr.concat([landscape_scores()]*2, "epsilon").assign_coords(epsilon=[0.1, 0.2])
    return both.assign_attrs(landscape_scores().attrs)


class Around(torch.nn.Module):
    "A network that hands on more than logits."
    def __init__(self, hands_on):
        super().__init__()
        self.net, self.hands_on = model(), hands_on

    def forward(self, x): return self.hands_on(self.net(x))


def quantized():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    net[1].bias.data[data().labels[0]] = 100. # it gets one image right: of others no attack asks for a gradient
    return torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear})


NETWORKS = {"a tuple": lambda: Around(lambda z: (z, z)), "a dict": lambda: Around(lambda z: dict(out=z)),
            "quantised": quantized}
ATTACKED = {"attack_images": lambda net: get("stress.attack_images")(net, data(), fgsm()),
            "check_attack": lambda net: get("stress.check_attack")(net, data(), fgsm(), n=8),
            "loss_gradient": lambda net: get("stress.loss_gradient")(net, data()),
            "minimal_perturbation": lambda net: get("stress.minimal_perturbation")(net, data(), progress=False),
            "stress_sweep": lambda net: get("measure.stress_sweep")(net, data(), fgsm(), (0, 1), progress=False)}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("call", ATTACKED)
def test_an_attack_on_what_has_no_gradient_is_one_sentence(network, call):
    words = "`model` to have gradients" if network == "quantised" else "`model` to give logits"
    with pytest.raises(ValueError, match=words): ATTACKED[call](NETWORKS[network]())


def live(name): return getattr(importlib.import_module("fragility_nb.explore"), name)


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
