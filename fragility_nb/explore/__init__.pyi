# Made by tools/public_names.py.
from . import base, breaking, coverage, live, live_batchnorm, runs, score_chart, score_data, scores, views
from .base import figure_png, check_result, Explorer
from .views import view_page, live_notebook, View
from .coverage import CoverageExplorer, explore_coverage
from .runs import run_table, RunsExplorer, explore_runs
from .live import (
    LiveExplorer, attribute, StressExplorer, explore_stress, warn_of_another, KernelsExplorer, explore_kernels,
)
from .live_batchnorm import BatchNormExplorer, explore_batchnorm
from .score_data import point_scores
from .scores import ScoresExplorer, explore_scores
from .breaking import Breaks, breaks_of, BreakingExplorer, explore_breaking

__all__ = [
    "figure_png", "check_result", "Explorer", "view_page", "live_notebook", "View", "CoverageExplorer",
    "explore_coverage", "run_table", "RunsExplorer", "explore_runs", "LiveExplorer", "attribute",
    "StressExplorer", "explore_stress", "warn_of_another", "KernelsExplorer", "explore_kernels",
    "BatchNormExplorer", "explore_batchnorm", "point_scores", "ScoresExplorer", "explore_scores", "Breaks",
    "breaks_of", "BreakingExplorer", "explore_breaking",
]
