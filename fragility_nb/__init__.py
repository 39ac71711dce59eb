"""How and where an image classifier breaks: under stress on its inputs and on its weights."""
from importlib import import_module as _import_module

import lazy_loader as _lazy

from .core.lazy_help import explain_imports as _explain_imports

__version__ = "0.1.0"

# `f?`, Shift+Tab and `help(f)` show the comments of each signature.
_explain_imports(__name__)

# The front door: the names of __init__.pyi, each imported when it is first used. All others are reached through their
# sub-package.
_front, __dir__, _listed = _lazy.attach_stub(__name__, __file__)

# Names that were public in 0.1.0 and are called otherwise today.
_RENAMED = dict(
    unknown="unknown_name", match="match_data", in_blocks="forward_in_blocks", looks="look_slices",
    ratio="accuracy_ratio", hold_out="split_holdout",
    frozen="frozen_parameters", architecture="find_architecture", compare_runs="explore_runs",
    Explorer="LiveExplorer",
)
# Tables of one module each, which were public, too.
_TABLES = dict(
    ACTIVATIONS="probes.coverage.units:_ACTIVATIONS", ATTRIBUTIONS="explore.live_stress:_ATTRIBUTIONS",
    BASELINES="probes.batchnorm.scores:_BASELINES", CELLS="probes.kernels.scores:_CELLS",
    DARK="explore.scores:_DARK", EDGES="probes.kernels.plots:_EDGES", ERRORS="figures.stress:_ERRORS",
    figure_png="explore.views:png_of",
    FROZEN="probes.retraining.plots:_FROZEN", GAPS="probes.batchnorm.plots:_GAPS",
    LABELS="probes.kernels.scores:LABELS", LABEL_MARKERS="probes.kernels.plots:_LABEL_MARKERS",
    MARKERS="figures.style:_MARKERS", MEASURES="figures.stress:_MEASURES",
    MODES="probes.batchnorm.plots:_MODES", NORMS_OF_FROZEN="probes.retraining.probe:_NORMS_OF_FROZEN",
    NORM_KINDS="models.norms:_NORM_KINDS", PROBED="probes.batchnorm.scores:_PROBED",
    RULES="measure.scores:_RULES", STATISTICS="probes.batchnorm.plots:_STATISTICS",
    STRESSES="probes.kernels.probe:_STRESSES", UNITS="figures.stress:_UNITS",
    WEIGHTED="models.activations:WEIGHTED",
)
_PACKAGES = ("core", "data", "models", "stress", "engine", "measure", "figures", "probes", "explore", "run", "cli")

__all__ = [name for name in _listed if name not in _PACKAGES]  # `import *` must not fill a notebook with packages


def _elsewhere(name):
    "A name that is not at the front door, from the sub-package that lists it; none is imported to find out."
    name = _RENAMED.get(name, name)
    if name in _TABLES:
        module, _, table = _TABLES[name].partition(":")
        return getattr(_import_module(f"{__name__}.{module}"), table)
    for package in _PACKAGES[:-1]:
        listed = _import_module(f"{__name__}.{package}")
        if name in listed.__all__: return getattr(listed, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __getattr__(name):
    if name in _listed: return _front(name)
    if name.startswith("__"): raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _elsewhere(name)
