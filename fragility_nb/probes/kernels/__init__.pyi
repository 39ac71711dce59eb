# Made by tools/public_names.py.
from . import plots, probe, scores, targeting
from .plots import (
    LABEL_COLOURS,
    plot_kernel_dropout,
    plot_kernel_history,
    plot_kernel_shares,
    plot_kernels,
    plot_rebalance,
    plot_targeting,
    plot_targeting_kernels,
)
from .probe import kernel_dropout, kernel_history
from .scores import (
    fragile_kernels,
    kernel_groups,
    kernel_set,
    kernel_shares,
    label_kernels,
    permutation_test,
    rebalance_gain,
    superiority,
    targeting_scores,
)
from .targeting import adversarial_targeting, rebalance

__all__ = [
    "label_kernels", "fragile_kernels", "kernel_set", "kernel_shares", "permutation_test", "superiority",
    "kernel_groups", "targeting_scores", "rebalance_gain", "kernel_dropout", "kernel_history",
    "adversarial_targeting", "rebalance", "LABEL_COLOURS", "plot_kernel_dropout", "plot_kernels",
    "plot_targeting", "plot_targeting_kernels", "plot_rebalance", "plot_kernel_history", "plot_kernel_shares",
]
