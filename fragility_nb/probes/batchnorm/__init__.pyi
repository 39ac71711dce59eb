# Made by tools/public_names.py.
from . import layers, plots, probe, residual, scores, statistics
from .scores import probe_summary, emission_effect, statistic_baseline, statistic_scores
from .layers import find_batchnorms, norms_after
from .residual import residual_features
from .statistics import statistic_gap, statistic_stress
from .probe import BN_PROBES, batch_statistics, recalibrate, recalibration, bn_probe
from .plots import (
    plot_statistic_gap, plot_channel_gaps, plot_residual, plot_emitted, plot_statistic_stress,
    plot_statistic_scores, plot_batch_statistics, plot_recalibration,
)

__all__ = [
    "probe_summary", "emission_effect", "statistic_baseline", "statistic_scores", "find_batchnorms",
    "norms_after", "residual_features", "statistic_gap", "statistic_stress", "BN_PROBES", "batch_statistics",
    "recalibrate", "recalibration", "bn_probe", "plot_statistic_gap", "plot_channel_gaps", "plot_residual",
    "plot_emitted", "plot_statistic_stress", "plot_statistic_scores", "plot_batch_statistics",
    "plot_recalibration",
]
