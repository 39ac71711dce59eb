# Made by tools/public_names.py.
from . import external, matrix, mce, runner, scores, sequential, severity, simultaneous, sweeps, targeted
from .external import stress_scores
from .matrix import CutMix, MixUp, StressPolicy, WorstOf, matrix_row, train_test_matrix
from .mce import ALEXNET, ALEXNET_CLEAN, corruption_error, corruption_scores
from .scores import (
    KINDS,
    area_weights,
    average_inits,
    chance_level,
    compactness,
    control_performance,
    interval,
    label_scores,
    labels_by_baseline,
    relabel,
    relative_performance,
    resampled_means,
    result_summary,
    scale_scores,
    score_summary,
    smallest_fraction,
    synaptic_scores,
)
from .sequential import PAIRS, accuracy_ratio, count_pairs, look_slices, ratio_interval
from .severity import (
    auc_difference,
    calibration,
    flip_rate,
    matrix_minimal,
    matrix_summary,
    minimal_summary,
    stress_summary,
    worst_class,
)
from .simultaneous import lowest_set, simultaneous_interval, spread_of
from .sweeps import filter_landscape, filter_sweep, stress_sweep
from .targeted import targeted_mask, targeted_weights

__all__ = [
    "PAIRS", "count_pairs", "accuracy_ratio", "ratio_interval", "look_slices", "stress_sweep", "filter_sweep",
    "filter_landscape", "spread_of", "simultaneous_interval", "lowest_set", "KINDS", "resampled_means",
    "interval", "area_weights", "relative_performance", "label_scores", "chance_level", "control_performance",
    "synaptic_scores", "relabel", "scale_scores", "labels_by_baseline", "score_summary", "average_inits",
    "compactness", "smallest_fraction", "result_summary", "calibration", "worst_class", "stress_summary",
    "auc_difference", "flip_rate", "minimal_summary", "matrix_summary", "matrix_minimal", "StressPolicy", "MixUp",
    "CutMix", "WorstOf", "train_test_matrix", "matrix_row", "targeted_weights", "targeted_mask", "stress_scores",
    "ALEXNET", "ALEXNET_CLEAN", "corruption_scores", "corruption_error",
]
