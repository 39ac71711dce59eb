# Made by tools/public_names.py.
from . import (
    differences, external, fractions, matrix, mce, runner, scores, sequential, severity, similarity, simultaneous,
    summary, sweeps, targeted, trends,
)
from .sequential import PAIRS, count_pairs, accuracy_ratio, ratio_interval, look_slices
from .sweeps import stress_sweep, filter_sweep, filter_landscape
from .simultaneous import spread_of, simultaneous_interval, lowest_set
from .scores import (
    KINDS, resampled_means, interval, area_weights, relative_performance, label_scores, chance_level,
    control_performance, synaptic_scores, relabel, scale_scores, labels_by_baseline, score_summary, average_inits,
)
from .severity import (
    calibration, worst_class, stress_summary, auc_difference, flip_rate, minimal_summary, matrix_summary,
    matrix_minimal,
)
from .matrix import StressPolicy, MixUp, CutMix, WorstOf, train_test_matrix, matrix_row
from .targeted import targeted_weights, targeted_mask
from .external import stress_scores
from .mce import ALEXNET, ALEXNET_CLEAN, corruption_scores, corruption_error
from .differences import stress_differences, score_differences, differences_by_baseline, init_differences
from .fractions import compactness, smallest_fraction
from .trends import depth_trend
from .similarity import landscape_similarity, score_convergence, similarity_matrix
from .summary import result_summary

__all__ = [
    "PAIRS", "count_pairs", "accuracy_ratio", "ratio_interval", "look_slices", "stress_sweep", "filter_sweep",
    "filter_landscape", "spread_of", "simultaneous_interval", "lowest_set", "KINDS", "resampled_means",
    "interval", "area_weights", "relative_performance", "label_scores", "chance_level", "control_performance",
    "synaptic_scores", "relabel", "scale_scores", "labels_by_baseline", "score_summary", "average_inits",
    "calibration", "worst_class", "stress_summary", "auc_difference", "flip_rate", "minimal_summary",
    "matrix_summary", "matrix_minimal", "StressPolicy", "MixUp", "CutMix", "WorstOf", "train_test_matrix",
    "matrix_row", "targeted_weights", "targeted_mask", "stress_scores", "ALEXNET", "ALEXNET_CLEAN",
    "corruption_scores", "corruption_error", "stress_differences", "score_differences", "differences_by_baseline",
    "init_differences", "compactness", "smallest_fraction", "depth_trend", "landscape_similarity",
    "score_convergence", "similarity_matrix", "result_summary",
]
