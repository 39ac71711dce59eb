# Made by tools/public_names.py.
from . import base, coverage, live, runs, scores
from .base import Explorer, check_result, figure_png
from .coverage import CoverageExplorer, explore_coverage
from .live import (
    BatchNormExplorer,
    KernelsExplorer,
    LiveExplorer,
    StressExplorer,
    attribute,
    explore_batchnorm,
    explore_kernels,
    explore_stress,
    warn_of_another,
)
from .runs import RunsExplorer, explore_runs, run_table
from .scores import ScoresExplorer, explore_scores, point_scores

__all__ = [
    "figure_png", "check_result", "Explorer", "point_scores", "ScoresExplorer", "explore_scores",
    "CoverageExplorer", "explore_coverage", "run_table", "RunsExplorer", "explore_runs", "LiveExplorer",
    "attribute", "StressExplorer", "explore_stress", "warn_of_another", "KernelsExplorer", "explore_kernels",
    "BatchNormExplorer", "explore_batchnorm",
]
