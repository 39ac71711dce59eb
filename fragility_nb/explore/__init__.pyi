# Made by tools/public_names.py.
from . import (
    base, board, choices, coverage, live, live_batchnorm, live_kernels, live_stress, recipes, runs, score_chart,
    score_data, scores, sweeps, views,
)
from .base import figure_png, check_result, one_of_a_cell, Explorer
from .views import (
    DIGITS, VEGA, TEXT, Packed, pack_numbers, unpack_expr, digits_param, view_config, whole_spec, calc,
    menu_param, slider_param, vega_script, page_script, chart_html, view_page, live_notebook, table_html, png_of,
    View,
)
from .score_data import (
    SCORES, MOST, point_scores, with_epoch, filters_of, curve_errors, Subject, options_of, scores_of, series_of,
    subject_rows, curve_packing, why_no_difference, paired_differences,
)
from .score_chart import Shown, scores_spec
from .scores import scores_table, ScoresExplorer, explore_scores
from .coverage import CoverageExplorer, explore_coverage
from .runs import run_table, RunsExplorer, explore_runs
from .sweeps import SweepExplorer, explore_sweep, MatrixExplorer, explore_matrix, GapsExplorer, explore_gaps
from .live import LiveExplorer
from .live_stress import attribute, StressExplorer, explore_stress
from .live_kernels import warn_of_another, KernelsExplorer, explore_kernels
from .live_batchnorm import BatchNormExplorer, explore_batchnorm

__all__ = [
    "figure_png", "check_result", "one_of_a_cell", "Explorer", "DIGITS", "VEGA", "TEXT", "Packed", "pack_numbers",
    "unpack_expr", "digits_param", "view_config", "whole_spec", "calc", "menu_param", "slider_param",
    "vega_script", "page_script", "chart_html", "view_page", "live_notebook", "table_html", "png_of", "View",
    "SCORES", "MOST", "point_scores", "with_epoch", "filters_of", "curve_errors", "Subject", "options_of",
    "scores_of", "series_of", "subject_rows", "curve_packing", "why_no_difference", "paired_differences", "Shown",
    "scores_spec", "scores_table", "ScoresExplorer", "explore_scores", "CoverageExplorer", "explore_coverage",
    "run_table", "RunsExplorer", "explore_runs", "SweepExplorer", "explore_sweep", "MatrixExplorer",
    "explore_matrix", "GapsExplorer", "explore_gaps", "LiveExplorer", "attribute", "StressExplorer",
    "explore_stress", "warn_of_another", "KernelsExplorer", "explore_kernels", "BatchNormExplorer",
    "explore_batchnorm",
]
