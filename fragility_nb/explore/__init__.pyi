# Made by tools/public_names.py.
from . import (
    base, board, breaking, choices, coverage, live, live_batchnorm, live_kernels, live_stress, recipes, runs,
    score_chart, score_data, scores, sweeps, views,
)
from .base import check_result
from .views import view_page, live_notebook, View
from .score_data import point_scores
from .scores import ScoresExplorer, explore_scores
from .breaking import Breaks, breaks_of, BreakingExplorer, explore_breaking
from .coverage import CoverageExplorer, explore_coverage
from .runs import run_table, RunsExplorer, explore_runs
from .sweeps import SweepExplorer, explore_sweep, MatrixExplorer, explore_matrix, GapsExplorer, explore_gaps
from .live import LiveExplorer
from .live_stress import attribute, StressExplorer, explore_stress
from .live_kernels import warn_of_another, KernelsExplorer, explore_kernels
from .live_batchnorm import BatchNormExplorer, explore_batchnorm

__all__ = [
    "check_result", "view_page", "live_notebook", "View", "point_scores", "ScoresExplorer", "explore_scores",
    "Breaks", "breaks_of", "BreakingExplorer", "explore_breaking", "CoverageExplorer", "explore_coverage",
    "run_table", "RunsExplorer", "explore_runs", "SweepExplorer", "explore_sweep", "MatrixExplorer",
    "explore_matrix", "GapsExplorer", "explore_gaps", "LiveExplorer", "attribute", "StressExplorer",
    "explore_stress", "warn_of_another", "KernelsExplorer", "explore_kernels", "BatchNormExplorer",
    "explore_batchnorm",
]
