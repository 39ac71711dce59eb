"""How and where an image classifier breaks: under stress on its inputs and on its weights."""
__version__ = "0.1.0"

from importlib import import_module as _import_module

# Module -> public names. Nothing is imported before it is used, so `import fragility_nb` costs next to nothing.
# The table is written by tools/public_names.py from the modules' `__all__`; `make export` runs it.
_PUBLIC = {
    "core": (
        "SCHEMA unknown check_choice check_number Registry stable_seed array_hash write_atomic provenance "
        "save_result load_result check_kind PartStore "
    ),
    "data": (
        "DATASETS CORRUPTED IN_MEMORY LazyImages check_images check_labels ImageData channel_moments as_data "
        "generator data_root load_data load_digits load_mnist load_fashion_mnist load_cifar10 load_cifar100 "
        "cache_folder load_tiny_imagenet load_imagenet load_cifar10_jpeg list_corruptions pick_device "
    ),
    "models": (
        "MODELS NORM_KINDS BLOCK Normalized Architecture PlainCNN ShortcutBlock CifarResNet LeNet conv_module "
        "InceptionModule residual_module ModuleNet architecture list_models least_size create_model NoNorm "
        "swap_norm model_table channel_stats model_name model_hash evaluating in_blocks predict match "
        "save_checkpoint read_safetensors load_checkpoint checkpoint_facts "
    ),
    "training": (
        "OPTIMIZERS SCHEDULES AUGMENTS image_uniform RandomCrop HorizontalFlip as_augment epoch_order "
        "snapshot_path list_snapshots snapshot_epochs fit StopTraining fit_inits init_snapshots train_model "
    ),
    "activations": "WEIGHTED Layer find_layers layer_table record_activations unit_table kernel_weights",
    "streams": "CounterStreams poisson_quantile",
    "sequential": "PAIRS count_pairs ratio ratio_interval looks",
    "stressors": (
        "STRESSORS BARTSCHAT_SIGMAS BARTSCHAT_NOISE BARTSCHAT_BLUR Stressor GaussianNoise border_index pad_border "
        "gaussian_filter GaussianBlur Rotation Translation Scale Shear Perspective Occlusion Hue apply_stress "
        "stress_id Chain "
    ),
    "attacks": (
        "ATTACKS NORMS SEARCHES Attack check_unit cross_entropy FGSM PGD RandomNoise frozen attack_images "
        "loss_gradient AttackWarning check_attack FGSMSearch GradientWalk minimal_perturbation find_epsilon "
    ),
    "filters": "FILTERS high_pass low_pass pulse threshold_grid FilterPlan plan_filter baseline",
    "corruptions": (
        "COMMON EXTRA Corruption GaussianNoiseC ShotNoise ImpulseNoise SpeckleNoise GaussianBlurC DefocusBlur "
        "GlassBlur MotionBlur ZoomBlur Snow Frost Fog Rain Spatter Brightness Contrast Saturate Elastic Pixelate "
        "JPEG common_corruptions "
    ),
    "engine": "Edits EditEngine",
    "sweeps": "stress_sweep filter_sweep filter_landscape",
    "scores": (
        "KINDS RULES resampled_means interval area_weights relative_performance label_scores synaptic_scores "
        "relabel scale_scores score_summary average_inits compactness smallest_fraction result_summary "
    ),
    "severity": (
        "ALEXNET ALEXNET_CLEAN stress_summary auc_difference flip_rate corruption_scores corruption_error "
        "calibration minimal_summary matrix_summary matrix_minimal "
    ),
    "matrix": "StressPolicy MixUp CutMix WorstOf train_test_matrix matrix_row",
    "bn_scores": "PROBED BASELINES probe_summary emission_effect statistic_baseline statistic_scores",
    "kernel_scores": (
        "LABELS CELLS label_kernels fragile_kernels kernel_set kernel_shares permutation_test superiority "
        "targeting_scores kernel_groups rebalance_gain "
    ),
    "batchnorm": (
        "BN_PROBES find_batchnorms residual_features statistic_gap statistic_stress batch_statistics recalibrate "
        "recalibration bn_probe "
    ),
    "kernels": "STRESSES kernel_dropout kernel_history adversarial_targeting rebalance",
    "coverage": (
        "ACTIVATIONS NEVER CRITERIA Output find_outputs coverage_units Units UnitReader Criterion NC KMNC NBC SNAC "
        "TKNC TKNP Coverage neuron_coverage activation_profile merge_coverage coverage_growth coverage_table "
    ),
    "differential": (
        "CONSTRAINTS OUTCOMES DEEPTEST Constraint Light Occl Blackout joint_objective generate_differential "
        "generated_data save_generated generate_transformed input_sources compare_sources "
    ),
    "retraining": (
        "FREEZE_RULES NORMS_OF_FROZEN hold_out score_layers layer_norms selective_fit compare_retraining "
        "retraining_gain "
    ),
    "plots": (
        "COLOURS SERIES MARKERS SYMBOLS LANDSCAPE SIGNS house_style plot_training plot_stress plot_comparison "
        "plot_filter_response plot_scores plot_depth plot_landscape plot_learning plot_targets plot_compactness "
        "plot_smallest_fraction "
    ),
    "stress_plots": (
        "MEASURES ERRORS UNITS plot_stress_map plot_severity plot_areas plot_corruption_error plot_examples "
        "plot_reliability plot_matrix plot_matrix_lines plot_minimal plot_matrix_minimal "
    ),
    "coverage_plots": "criterion_label plot_growth plot_coverage_map plot_generated plot_sources plot_coverage_scores",
    "batchnorm_plots": (
        "GAPS MODES STATISTICS plot_statistic_gap plot_channel_gaps plot_residual plot_emitted "
        "plot_statistic_stress plot_statistic_scores plot_batch_statistics plot_recalibration "
    ),
    "kernel_plots": (
        "LABEL_COLOURS LABEL_MARKERS EDGES plot_kernel_dropout plot_kernels plot_targeting plot_targeting_kernels "
        "plot_rebalance plot_kernel_history plot_kernel_shares "
    ),
    "retraining_plots": "FROZEN plot_frozen plot_periods plot_retraining plot_gain",
    "explorers": (
        "DARK figure_png check_result Explorer point_scores ScoresExplorer explore_scores CoverageExplorer "
        "explore_coverage run_table RunsExplorer compare_runs "
    ),
    "live_explorers": (
        "ATTRIBUTIONS LiveExplorer attribute StressExplorer explore_stress warn_of_another KernelsExplorer "
        "explore_kernels BatchNormExplorer explore_batchnorm "
    ),
    "studies": (
        "list_templates find_template template_parameters check_parameters plain_value is_done run_study "
        "notebook_page warm_up run_cells run_model summary_table run_demo "
    ),
    "cluster": (
        "cpu_count thread_share list_gpus pick_gpus WorkerDied Engine LocalEngine stop_on_interrupt DaskEngine "
        "slurm_options slurm_script "
    ),
    "grid": (
        "PRELOAD load_study check_study study_status time_left run_grid collect_study study_table save_collection "
        "report_study "
    ),
    "cli": "",
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names.split()}


def __getattr__(name):
    if name in _PUBLIC: return _import_module(f"{__name__}.{name}")
    if name not in _WHERE: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value


def __dir__(): return sorted({*globals(), *_PUBLIC, *_WHERE})


__all__ = ["__version__", *_WHERE]
