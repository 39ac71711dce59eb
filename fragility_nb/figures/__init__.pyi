# Made by tools/public_names.py.
from . import plots, stress, style
from .plots import (
    LANDSCAPE,
    SIGNS,
    plot_compactness,
    plot_comparison,
    plot_depth,
    plot_filter_response,
    plot_landscape,
    plot_learning,
    plot_scores,
    plot_smallest_fraction,
    plot_stress,
    plot_targets,
    plot_training,
)
from .stress import (
    plot_areas,
    plot_corruption_error,
    plot_examples,
    plot_matrix,
    plot_matrix_lines,
    plot_matrix_minimal,
    plot_minimal,
    plot_reliability,
    plot_severity,
    plot_stress_map,
)
from .style import COLOURS, SERIES, SYMBOLS, house_style

__all__ = [
    "COLOURS", "SERIES", "SYMBOLS", "house_style", "LANDSCAPE", "SIGNS", "plot_training", "plot_stress",
    "plot_comparison", "plot_filter_response", "plot_scores", "plot_depth", "plot_landscape", "plot_learning",
    "plot_targets", "plot_compactness", "plot_smallest_fraction", "plot_stress_map", "plot_severity",
    "plot_areas", "plot_corruption_error", "plot_examples", "plot_reliability", "plot_matrix",
    "plot_matrix_lines", "plot_minimal", "plot_matrix_minimal",
]
