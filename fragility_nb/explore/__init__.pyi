# Made by tools/public_names.py.
from . import base, breaking, coverage, live, live_batchnorm, runs, score_chart, score_data, scores, views
from .base import figure_png, check_result, one_of_a_cell, Explorer
from .views import (
    DIGITS, VEGA, TEXT, Packed, pack_numbers, unpack_expr, digits_param, view_config, whole_spec, literal, calc,
    menu_param, slider_param, vega_script, page_script, chart_html, view_page, live_notebook, table_html, png_of,
    loading_lines, View,
)
from .coverage import CoverageExplorer, explore_coverage
from .runs import run_table, RunsExplorer, explore_runs
from .live import (
    LiveExplorer, attribute, StressExplorer, explore_stress, warn_of_another, KernelsExplorer, explore_kernels,
)
from .live_batchnorm import BatchNormExplorer, explore_batchnorm
from .score_data import (
    SCORES, MOST, point_scores, with_epoch, filters_of, curve_errors, Subject, options_of, scores_of, series_of,
    subject_rows, curve_packing, why_no_difference, paired_differences,
)
from .score_chart import Shown, scores_spec
from .scores import scores_table, ScoresExplorer, explore_scores
from .breaking import (
    MOST_IMAGES, thumbnail, Breaks, breaks_of, breaks_table, breaking_spec, BreakingExplorer, explore_breaking,
)

__all__ = [
    "figure_png", "check_result", "one_of_a_cell", "Explorer", "DIGITS", "VEGA", "TEXT", "Packed", "pack_numbers",
    "unpack_expr", "digits_param", "view_config", "whole_spec", "literal", "calc", "menu_param", "slider_param",
    "vega_script", "page_script", "chart_html", "view_page", "live_notebook", "table_html", "png_of",
    "loading_lines", "View", "CoverageExplorer", "explore_coverage", "run_table", "RunsExplorer", "explore_runs",
    "LiveExplorer", "attribute", "StressExplorer", "explore_stress", "warn_of_another", "KernelsExplorer",
    "explore_kernels", "BatchNormExplorer", "explore_batchnorm", "SCORES", "MOST", "point_scores", "with_epoch",
    "filters_of", "curve_errors", "Subject", "options_of", "scores_of", "series_of", "subject_rows",
    "curve_packing", "why_no_difference", "paired_differences", "Shown", "scores_spec", "scores_table",
    "ScoresExplorer", "explore_scores", "MOST_IMAGES", "thumbnail", "Breaks", "breaks_of", "breaks_table",
    "breaking_spec", "BreakingExplorer", "explore_breaking",
]
