# Made by tools/public_names.py.
from . import cluster, collect, comparison, dask_engine, grid, machine, parameters, report, studies, study_files
from .cluster import Engine, LocalEngine, WorkerDied, stop_on_interrupt
from .collect import collect_study, report_study, save_collection, study_table
from .comparison import (
    best_trainings,
    comparison_table,
    difference_sentence,
    load_reports,
    minimal_text,
    place_sentence,
    report_group,
)
from .dask_engine import DaskEngine, slurm_options, slurm_script
from .grid import PRELOAD, run_grid, study_status, time_left
from .machine import cpu_count, kernel_interpreter, list_gpus, pick_gpus, thread_share
from .parameters import (
    check_parameters,
    check_template,
    expand_paths,
    find_template,
    is_shipped,
    list_templates,
    own_modules,
    parameter_contents,
    plain_value,
    template_parameters,
)
from .report import (
    beside_table,
    check_levels,
    check_list,
    check_numbers,
    check_report,
    clean_scores,
    compactness_table,
    coverage_columns,
    coverage_sentence,
    data_words,
    facts_table,
    found_text,
    frozen_text,
    gain_table,
    inside_brackets,
    kernels_sentence,
    kernels_text,
    label_counts,
    layers_with,
    overview_table,
    page_link,
    percent,
    percent_interval,
    plain_words,
    points,
    recalibration_sentence,
    retraining_sentence,
    section_switches,
    show_table,
    show_text,
    stress_sentence,
    stress_table,
    stress_words,
    targeting_text,
    told_interval,
    weights_sentence,
)
from .studies import (
    changed_since,
    is_done,
    notebook_page,
    run_cells,
    run_demo,
    run_model,
    run_modules,
    run_study,
    summary_table,
    warm_up,
)
from .study_files import check_study, load_study

__all__ = [
    "cpu_count", "thread_share", "list_gpus", "pick_gpus", "kernel_interpreter", "WorkerDied", "Engine",
    "LocalEngine", "stop_on_interrupt", "DaskEngine", "slurm_options", "slurm_script", "list_templates",
    "find_template", "template_parameters", "check_parameters", "is_shipped", "check_template", "plain_value",
    "expand_paths", "parameter_contents", "own_modules", "run_modules", "is_done", "changed_since",
    "notebook_page", "run_study", "warm_up", "run_cells", "run_model", "summary_table", "run_demo", "load_study",
    "check_study", "PRELOAD", "study_status", "time_left", "run_grid", "collect_study", "study_table",
    "save_collection", "report_study", "percent", "percent_interval", "points", "told_interval",
    "inside_brackets", "plain_words", "page_link", "stress_words", "data_words", "facts_table", "show_text",
    "show_table", "check_list", "check_numbers", "check_levels", "section_switches", "check_report",
    "label_counts", "overview_table", "clean_scores", "layers_with", "stress_sentence", "weights_sentence",
    "coverage_sentence", "recalibration_sentence", "kernels_sentence", "retraining_sentence", "found_text",
    "stress_table", "compactness_table", "beside_table", "coverage_columns", "kernels_text", "targeting_text",
    "frozen_text", "gain_table", "load_reports", "report_group", "comparison_table", "difference_sentence",
    "place_sentence", "best_trainings", "minimal_text",
]
