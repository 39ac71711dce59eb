# Made by tools/public_names.py.
from . import plots, probe
from .plots import plot_frozen, plot_gain, plot_periods, plot_retraining
from .probe import (
    FREEZE_RULES,
    compare_retraining,
    layer_norms,
    retraining_gain,
    score_layers,
    selective_fit,
    split_holdout,
)

__all__ = [
    "FREEZE_RULES", "split_holdout", "score_layers", "layer_norms", "selective_fit", "compare_retraining",
    "retraining_gain", "plot_frozen", "plot_periods", "plot_retraining", "plot_gain",
]
