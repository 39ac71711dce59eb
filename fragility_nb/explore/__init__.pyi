# Made by tools/public_names.py.
from . import (
    base, board, choices, coverage, live, live_batchnorm, live_kernels, live_stress, recipes, runs, scores, views,
)
from .base import figure_png, check_result, one_of_a_cell, Explorer
from .views import (
    DIGITS, VEGA, TEXT, Packed, pack_numbers, unpack_expr, digits_param, view_config, whole_spec, menu_param,
    slider_param, vega_script, page_script, chart_html, view_page, live_notebook, table_html, png_of, View,
)
from .scores import point_scores, ScoresExplorer, explore_scores
from .coverage import CoverageExplorer, explore_coverage
from .runs import run_table, RunsExplorer, explore_runs
from .live import LiveExplorer
from .live_stress import attribute, StressExplorer, explore_stress
from .live_kernels import warn_of_another, KernelsExplorer, explore_kernels
from .live_batchnorm import BatchNormExplorer, explore_batchnorm

__all__ = [
    "figure_png", "check_result", "one_of_a_cell", "Explorer", "DIGITS", "VEGA", "TEXT", "Packed", "pack_numbers",
    "unpack_expr", "digits_param", "view_config", "whole_spec", "menu_param", "slider_param", "vega_script",
    "page_script", "chart_html", "view_page", "live_notebook", "table_html", "png_of", "View", "point_scores",
    "ScoresExplorer", "explore_scores", "CoverageExplorer", "explore_coverage", "run_table", "RunsExplorer",
    "explore_runs", "LiveExplorer", "attribute", "StressExplorer", "explore_stress", "warn_of_another",
    "KernelsExplorer", "explore_kernels", "BatchNormExplorer", "explore_batchnorm",
]
