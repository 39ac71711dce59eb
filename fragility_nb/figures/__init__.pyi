# Made by tools/public_names.py.
from . import comparison, plots, similarity, stress, style
from .style import COLOURS, SERIES, SYMBOLS, house_style
from .plots import (
    LANDSCAPE, SIGNS, plot_training, plot_stress, plot_comparison, plot_filter_response, plot_scores, plot_depth,
    plot_landscape, plot_learning, plot_targets, plot_compactness, plot_smallest_fraction,
)
from .stress import (
    plot_stress_map, plot_severity, plot_areas, plot_corruption_error, plot_examples, plot_reliability,
    plot_matrix, plot_matrix_lines, plot_minimal, plot_matrix_minimal,
)
from .comparison import plot_scores_together, plot_differences, plot_disagreements
from .similarity import plot_similarity

__all__ = [
    "COLOURS", "SERIES", "SYMBOLS", "house_style", "LANDSCAPE", "SIGNS", "plot_training", "plot_stress",
    "plot_comparison", "plot_filter_response", "plot_scores", "plot_depth", "plot_landscape", "plot_learning",
    "plot_targets", "plot_compactness", "plot_smallest_fraction", "plot_stress_map", "plot_severity",
    "plot_areas", "plot_corruption_error", "plot_examples", "plot_reliability", "plot_matrix",
    "plot_matrix_lines", "plot_minimal", "plot_matrix_minimal", "plot_scores_together", "plot_differences",
    "plot_disagreements", "plot_similarity",
]
