# Made by tools/public_names.py.
from . import plots, probe, scores, targeting
from .scores import (
    label_kernels, fragile_kernels, kernel_set, kernel_shares, permutation_test, superiority, kernel_groups,
    targeting_scores, rebalance_gain,
)
from .probe import kernel_dropout, kernel_history
from .targeting import adversarial_targeting, rebalance
from .plots import (
    LABEL_COLOURS, plot_kernel_dropout, plot_kernels, plot_targeting, plot_targeting_kernels, plot_rebalance,
    plot_kernel_history, plot_kernel_shares,
)

__all__ = [
    "label_kernels", "fragile_kernels", "kernel_set", "kernel_shares", "permutation_test", "superiority",
    "kernel_groups", "targeting_scores", "rebalance_gain", "kernel_dropout", "kernel_history",
    "adversarial_targeting", "rebalance", "LABEL_COLOURS", "plot_kernel_dropout", "plot_kernels",
    "plot_targeting", "plot_targeting_kernels", "plot_rebalance", "plot_kernel_history", "plot_kernel_shares",
]
