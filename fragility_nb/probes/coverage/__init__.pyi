# Made by tools/public_names.py.
from . import compare, constraints, criteria, differential, plots, probe, units
from .units import ACTIVATIONS, Output, find_outputs, coverage_units, Units, UnitReader
from .criteria import NEVER, CRITERIA, Criterion, NC, KMNC, NBC, SNAC, TKNC, TKNP
from .probe import Coverage, neuron_coverage, activation_profile, merge_coverage
from .compare import coverage_growth, coverage_table
from .constraints import CONSTRAINTS, Constraint, Light, Occl, Blackout, joint_objective
from .differential import (
    OUTCOMES, DEEPTEST, generate_differential, generated_data, save_generated, generate_transformed,
    input_sources, compare_sources,
)
from .plots import criterion_label, plot_growth, plot_coverage_map, plot_generated, plot_sources, plot_coverage_scores

__all__ = [
    "ACTIVATIONS", "Output", "find_outputs", "coverage_units", "Units", "UnitReader", "NEVER", "CRITERIA",
    "Criterion", "NC", "KMNC", "NBC", "SNAC", "TKNC", "TKNP", "Coverage", "neuron_coverage", "activation_profile",
    "merge_coverage", "coverage_growth", "coverage_table", "CONSTRAINTS", "Constraint", "Light", "Occl",
    "Blackout", "joint_objective", "OUTCOMES", "DEEPTEST", "generate_differential", "generated_data",
    "save_generated", "generate_transformed", "input_sources", "compare_sources", "criterion_label",
    "plot_growth", "plot_coverage_map", "plot_generated", "plot_sources", "plot_coverage_scores",
]
