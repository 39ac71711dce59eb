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
        "DATASETS check_images check_labels ImageData as_data generator RandomStreams data_root load_data "
        "load_digits load_mnist pick_device "
    ),
    "models": (
        "MODELS BLOCK Normalized PlainCNN resnet18 ShortcutBlock CifarResNet LeNet list_models create_model "
        "channel_stats model_name model_hash evaluating in_blocks predict match save_checkpoint read_safetensors "
        "load_checkpoint checkpoint_facts "
    ),
    "training": "OPTIMIZERS epoch_order snapshot_path list_snapshots fit",
    "activations": "WEIGHTED Layer find_layers layer_table record_activations unit_table kernels",
    "stressors": "STRESSORS Stressor GaussianNoise GaussianBlur Rotation apply_stress stress_id",
    "attacks": "ATTACKS Attack cross_entropy FGSM PGD frozen attack_images loss_gradient find_epsilon",
    "filters": "FILTERS high_pass low_pass pulse threshold_grid FilterPlan plan_filter baseline",
    "engine": "Edits EditEngine",
    "sweeps": "stress_sweep filter_sweep filter_landscape",
    "scores": (
        "KINDS RULES resampled_means interval stress_summary area_weights relative_performance label_scores "
        "synaptic_scores relabel scale_scores score_summary compactness smallest_fraction result_summary "
        "auc_difference "
    ),
    "plots": (
        "COLOURS SERIES MARKERS SYMBOLS LANDSCAPE SIGNS house_style plot_training plot_stress plot_comparison "
        "plot_filter_response plot_scores plot_depth plot_landscape plot_compactness "
    ),
    "studies": (
        "list_templates find_template template_parameters check_parameters is_done run_study notebook_page "
        "run_model summary_table run_demo "
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
