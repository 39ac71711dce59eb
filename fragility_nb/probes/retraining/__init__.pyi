# Made by tools/public_names.py.
from . import plots, probe
from .probe import (
    FREEZE_RULES, split_holdout, score_layers, layer_norms, selective_fit, compare_retraining, retraining_gain,
)
from .plots import plot_frozen, plot_periods, plot_retraining, plot_gain

__all__ = [
    "FREEZE_RULES", "split_holdout", "score_layers", "layer_norms", "selective_fit", "compare_retraining",
    "retraining_gain", "plot_frozen", "plot_periods", "plot_retraining", "plot_gain",
]
