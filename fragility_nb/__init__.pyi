# The front door: at most 120 chosen names. Everything else is in the sub-packages (`fragility_nb.models.swap_norm`).
from . import cli, core, data, engine, explore, figures, measure, models, probes, run, stress
from .core import load_result, save_result
from .data import ImageData, as_data, load_data
from .models import (
    Normalized, channel_stats, create_model, find_layers, fit, fit_inits, list_models, list_snapshots, load_checkpoint,
    model_table, predict, record_activations, save_checkpoint, swap_norm, train_model,
)
from .stress import (
    FGSM, PGD, Attack, Chain, GaussianBlur, GaussianNoise, Hue, Occlusion, Perspective, RandomNoise, Rotation,
    Scale, Shear, Stressor, Translation, apply_stress, attack_images, check_attack, common_corruptions,
    find_epsilon, minimal_perturbation,
)
from .engine import EditEngine
from .measure import (
    CutMix, MixUp, StressPolicy, WorstOf, auc_difference, average_inits, calibration, compactness,
    corruption_error, filter_landscape, filter_sweep, matrix_summary, relabel, result_summary,
    score_summary, smallest_fraction, stress_summary, stress_sweep, synaptic_scores, train_test_matrix,
)
from .figures import (
    house_style, plot_compactness, plot_comparison, plot_corruption_error, plot_depth, plot_examples,
    plot_filter_response, plot_landscape, plot_learning, plot_matrix, plot_minimal, plot_reliability, plot_scores,
    plot_severity, plot_smallest_fraction, plot_stress, plot_targets, plot_training,
)
from .probes import (
    KMNC, NBC, NC, SNAC, TKNC, TKNP, adversarial_targeting, bn_probe, compare_retraining, coverage_table,
    generate_differential, kernel_dropout, neuron_coverage, plot_coverage_map, plot_generated, plot_growth,
    plot_kernel_dropout, plot_retraining, plot_statistic_gap, plot_targeting, rebalance, recalibration,
    residual_features, selective_fit, statistic_gap, statistic_stress,
)
from .explore import explore_batchnorm, explore_coverage, explore_kernels, explore_runs, explore_scores, explore_stress
from .run import DaskEngine, LocalEngine, collect_study, list_templates, report_study, run_grid, run_study
from .run.in_memory import report

__version__: str

__all__ = [
    "load_result", "save_result", "ImageData", "as_data", "load_data", "Normalized", "channel_stats",
    "create_model", "find_layers", "fit", "fit_inits", "list_models", "list_snapshots", "load_checkpoint",
    "model_table", "predict", "record_activations", "save_checkpoint", "swap_norm", "train_model", "FGSM", "PGD",
    "Attack", "Chain", "GaussianBlur", "GaussianNoise", "Hue", "Occlusion", "Perspective", "RandomNoise",
    "Rotation", "Scale", "Shear", "Stressor", "Translation", "apply_stress", "attack_images", "check_attack",
    "common_corruptions", "find_epsilon", "minimal_perturbation", "EditEngine", "CutMix", "MixUp", "StressPolicy",
    "WorstOf", "auc_difference", "average_inits", "calibration", "compactness", "corruption_error",
    "filter_landscape", "filter_sweep", "matrix_summary", "relabel", "result_summary", "score_summary",
    "smallest_fraction", "stress_summary", "stress_sweep", "synaptic_scores", "train_test_matrix", "house_style",
    "plot_compactness", "plot_comparison", "plot_corruption_error", "plot_depth", "plot_examples",
    "plot_filter_response", "plot_landscape", "plot_learning", "plot_matrix", "plot_minimal", "plot_reliability",
    "plot_scores", "plot_severity", "plot_smallest_fraction", "plot_stress", "plot_targets", "plot_training",
    "KMNC", "NBC", "NC", "SNAC", "TKNC", "TKNP", "adversarial_targeting", "bn_probe", "compare_retraining",
    "coverage_table", "generate_differential", "kernel_dropout", "neuron_coverage", "plot_coverage_map",
    "plot_generated", "plot_growth", "plot_kernel_dropout", "plot_retraining", "plot_statistic_gap",
    "plot_targeting", "rebalance", "recalibration", "residual_features", "selective_fit", "statistic_gap",
    "statistic_stress", "explore_batchnorm", "explore_coverage", "explore_kernels", "explore_runs",
    "explore_scores", "explore_stress", "DaskEngine", "LocalEngine", "collect_study", "list_templates",
    "report_study", "run_grid", "run_study", "report",
]
