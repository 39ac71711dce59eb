# Made by tools/public_names.py.
from . import (
    card, cluster, collect, comparison, dask_engine, demo, estimate, gate, grid, in_memory, machine, model_runs,
    parameters, pictures, probe_words, report, studies, study_files, trained,
)
from .machine import cpu_count, thread_share, list_gpus, pick_gpus, kernel_interpreter, check_kernel
from .cluster import WorkerDied, Engine, LocalEngine, stop_on_interrupt
from .dask_engine import DaskEngine, slurm_options, slurm_script
from .parameters import (
    list_templates, find_template, template_parameters, check_parameters, is_shipped, check_template, plain_value,
    expand_paths, parameter_contents, report_source, own_modules, training_params, training_folders,
)
from .studies import run_modules, is_done, changed_since, notebook_page, run_study, warm_up, run_cells
from .study_files import load_study, check_study
from .grid import PRELOAD, study_status, time_left, run_grid
from .collect import collect_study, study_table, save_collection, report_study
from .report import (
    percent, percent_interval, points, told_interval, inside_brackets, plain_words, page_link, stress_words,
    data_words, facts_table, show_text, show_table, markdown_table, check_list, check_numbers, check_levels,
    section_switches, check_report, label_counts, overview_table, clean_scores, layers_with, stress_sentence,
    weights_sentence, attacks_sentences, found_text, half_words, stress_table, compactness_table, beside_table,
)
from .comparison import (
    load_reports, report_group, comparison_table, verdict_sentence, layers_sentence, beside_sentence,
    layer_differences, layers_beside, differences_table, telling_stress, difference_sentence, place_sentence,
    best_trainings, minimal_text,
)
from .card import model_card, save_model_card
from .gate import compare_results, comparison_markdown, save_comparison
from .estimate import Estimate, estimate_report, estimate_if_long
from .model_runs import run_model, estimate_run, summary_table
from .probe_words import (
    coverage_sentence, recalibration_sentence, kernels_sentence, retraining_sentence, coverage_columns,
    kernels_text, targeting_text, frozen_text, gain_table, left_out_lines,
)
from .pictures import images_of, disagreements, disagreement_rows, separations, separation_rows
from .demo import run_demo
from .trained import training_words, inits_text, inits_table

__all__ = [
    "cpu_count", "thread_share", "list_gpus", "pick_gpus", "kernel_interpreter", "check_kernel", "WorkerDied",
    "Engine", "LocalEngine", "stop_on_interrupt", "DaskEngine", "slurm_options", "slurm_script", "list_templates",
    "find_template", "template_parameters", "check_parameters", "is_shipped", "check_template", "plain_value",
    "expand_paths", "parameter_contents", "report_source", "own_modules", "training_params", "training_folders",
    "run_modules", "is_done", "changed_since", "notebook_page", "run_study", "warm_up", "run_cells", "load_study",
    "check_study", "PRELOAD", "study_status", "time_left", "run_grid", "collect_study", "study_table",
    "save_collection", "report_study", "percent", "percent_interval", "points", "told_interval",
    "inside_brackets", "plain_words", "page_link", "stress_words", "data_words", "facts_table", "show_text",
    "show_table", "markdown_table", "check_list", "check_numbers", "check_levels", "section_switches",
    "check_report", "label_counts", "overview_table", "clean_scores", "layers_with", "stress_sentence",
    "weights_sentence", "attacks_sentences", "found_text", "half_words", "stress_table", "compactness_table",
    "beside_table", "load_reports", "report_group", "comparison_table", "verdict_sentence", "layers_sentence",
    "beside_sentence", "layer_differences", "layers_beside", "differences_table", "telling_stress",
    "difference_sentence", "place_sentence", "best_trainings", "minimal_text", "model_card", "save_model_card",
    "compare_results", "comparison_markdown", "save_comparison", "Estimate", "estimate_report",
    "estimate_if_long", "run_model", "estimate_run", "summary_table", "coverage_sentence",
    "recalibration_sentence", "kernels_sentence", "retraining_sentence", "coverage_columns", "kernels_text",
    "targeting_text", "frozen_text", "gain_table", "left_out_lines", "images_of", "disagreements",
    "disagreement_rows", "separations", "separation_rows", "run_demo", "training_words", "inits_text",
    "inits_table",
]
