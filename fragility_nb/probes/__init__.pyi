# Made by tools/public_names.py.
from . import batchnorm, coverage, kernels, retraining
from .batchnorm import (
    probe_summary, emission_effect, statistic_baseline, statistic_scores, find_batchnorms, norms_after,
    residual_features, statistic_gap, statistic_stress, BN_PROBES, batch_statistics, recalibrate, recalibration,
    bn_probe, plot_statistic_gap, plot_channel_gaps, plot_residual, plot_emitted, plot_statistic_stress,
    plot_statistic_scores, plot_batch_statistics, plot_recalibration,
)
from .kernels import (
    label_kernels, fragile_kernels, kernel_set, kernel_shares, permutation_test, superiority, kernel_groups,
    targeting_scores, rebalance_gain, kernel_dropout, kernel_history, adversarial_targeting, rebalance,
    LABEL_COLOURS, plot_kernel_dropout, plot_kernels, plot_targeting, plot_targeting_kernels, plot_rebalance,
    plot_kernel_history, plot_kernel_shares,
)
from .coverage import (
    Output, find_outputs, coverage_units, Units, UnitReader, NEVER, CRITERIA, Criterion, NC, KMNC, NBC, SNAC,
    TKNC, TKNP, Coverage, neuron_coverage, activation_profile, merge_coverage, coverage_growth, coverage_table,
    CONSTRAINTS, Constraint, Light, Occl, Blackout, joint_objective, OUTCOMES, generate_differential,
    generated_data, save_generated, DEEPTEST, generate_transformed, input_sources, compare_sources,
    criterion_label, plot_growth, plot_coverage_map, plot_generated, plot_sources, plot_coverage_scores,
)
from .retraining import (
    FREEZE_RULES, split_holdout, score_layers, layer_norms, selective_fit, compare_retraining, retraining_gain,
    plot_frozen, plot_periods, plot_retraining, plot_gain,
)

__all__ = [
    "probe_summary", "emission_effect", "statistic_baseline", "statistic_scores", "find_batchnorms",
    "norms_after", "residual_features", "statistic_gap", "statistic_stress", "BN_PROBES", "batch_statistics",
    "recalibrate", "recalibration", "bn_probe", "plot_statistic_gap", "plot_channel_gaps", "plot_residual",
    "plot_emitted", "plot_statistic_stress", "plot_statistic_scores", "plot_batch_statistics",
    "plot_recalibration", "label_kernels", "fragile_kernels", "kernel_set", "kernel_shares", "permutation_test",
    "superiority", "kernel_groups", "targeting_scores", "rebalance_gain", "kernel_dropout", "kernel_history",
    "adversarial_targeting", "rebalance", "LABEL_COLOURS", "plot_kernel_dropout", "plot_kernels",
    "plot_targeting", "plot_targeting_kernels", "plot_rebalance", "plot_kernel_history", "plot_kernel_shares",
    "Output", "find_outputs", "coverage_units", "Units", "UnitReader", "NEVER", "CRITERIA", "Criterion", "NC",
    "KMNC", "NBC", "SNAC", "TKNC", "TKNP", "Coverage", "neuron_coverage", "activation_profile", "merge_coverage",
    "coverage_growth", "coverage_table", "CONSTRAINTS", "Constraint", "Light", "Occl", "Blackout",
    "joint_objective", "OUTCOMES", "generate_differential", "generated_data", "save_generated", "DEEPTEST",
    "generate_transformed", "input_sources", "compare_sources", "criterion_label", "plot_growth",
    "plot_coverage_map", "plot_generated", "plot_sources", "plot_coverage_scores", "FREEZE_RULES",
    "split_holdout", "score_layers", "layer_norms", "selective_fit", "compare_retraining", "retraining_gain",
    "plot_frozen", "plot_periods", "plot_retraining", "plot_gain",
]
