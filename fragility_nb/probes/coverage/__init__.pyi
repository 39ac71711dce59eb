# Made by tools/public_names.py.
from . import compare, constraints, criteria, differential, plots, probe, sources, transformed, units
from .units import Output, find_outputs, coverage_units, Units, UnitReader
from .criteria import NEVER, CRITERIA, Criterion, NC, KMNC, NBC, SNAC, TKNC, TKNP
from .probe import Coverage, neuron_coverage, activation_profile, merge_coverage
from .compare import coverage_growth, coverage_table
from .constraints import CONSTRAINTS, Constraint, Light, Occl, Blackout, joint_objective
from .differential import OUTCOMES, generate_differential, generated_data, save_generated
from .transformed import DEEPTEST, generate_transformed
from .sources import input_sources, compare_sources
from .plots import criterion_label, plot_growth, plot_coverage_map, plot_generated, plot_sources, plot_coverage_scores

__all__ = [
    "Output", "find_outputs", "coverage_units", "Units", "UnitReader", "NEVER", "CRITERIA", "Criterion", "NC",
    "KMNC", "NBC", "SNAC", "TKNC", "TKNP", "Coverage", "neuron_coverage", "activation_profile", "merge_coverage",
    "coverage_growth", "coverage_table", "CONSTRAINTS", "Constraint", "Light", "Occl", "Blackout",
    "joint_objective", "OUTCOMES", "generate_differential", "generated_data", "save_generated", "DEEPTEST",
    "generate_transformed", "input_sources", "compare_sources", "criterion_label", "plot_growth",
    "plot_coverage_map", "plot_generated", "plot_sources", "plot_coverage_scores",
]
