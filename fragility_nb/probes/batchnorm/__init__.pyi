# Made by tools/public_names.py.
from . import layers, plots, probe, residual, scores, statistics
from .layers import find_batchnorms
from .plots import (
    plot_batch_statistics,
    plot_channel_gaps,
    plot_emitted,
    plot_recalibration,
    plot_residual,
    plot_statistic_gap,
    plot_statistic_scores,
    plot_statistic_stress,
)
from .probe import BN_PROBES, batch_statistics, bn_probe, recalibrate, recalibration
from .residual import residual_features
from .scores import emission_effect, probe_summary, statistic_baseline, statistic_scores
from .statistics import statistic_gap, statistic_stress

__all__ = [
    "probe_summary", "emission_effect", "statistic_baseline", "statistic_scores", "find_batchnorms",
    "residual_features", "statistic_gap", "statistic_stress", "BN_PROBES", "batch_statistics", "recalibrate",
    "recalibration", "bn_probe", "plot_statistic_gap", "plot_channel_gaps", "plot_residual", "plot_emitted",
    "plot_statistic_stress", "plot_statistic_scores", "plot_batch_statistics", "plot_recalibration",
]
