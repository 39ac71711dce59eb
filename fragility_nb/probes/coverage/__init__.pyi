# Made by tools/public_names.py.
from . import compare, constraints, criteria, differential, plots, probe, sources, transformed, units
from .compare import coverage_growth, coverage_table
from .constraints import CONSTRAINTS, Blackout, Constraint, Light, Occl, joint_objective
from .criteria import CRITERIA, KMNC, NBC, NC, NEVER, SNAC, TKNC, TKNP, Criterion
from .differential import OUTCOMES, generate_differential, generated_data, save_generated
from .plots import criterion_label, plot_coverage_map, plot_coverage_scores, plot_generated, plot_growth, plot_sources
from .probe import Coverage, activation_profile, merge_coverage, neuron_coverage
from .sources import compare_sources, input_sources
from .transformed import DEEPTEST, generate_transformed
from .units import Output, UnitReader, Units, coverage_units, find_outputs

__all__ = [
    "Output", "find_outputs", "coverage_units", "Units", "UnitReader", "NEVER", "CRITERIA", "Criterion", "NC",
    "KMNC", "NBC", "SNAC", "TKNC", "TKNP", "Coverage", "neuron_coverage", "activation_profile", "merge_coverage",
    "coverage_growth", "coverage_table", "CONSTRAINTS", "Constraint", "Light", "Occl", "Blackout",
    "joint_objective", "OUTCOMES", "generate_differential", "generated_data", "save_generated", "DEEPTEST",
    "generate_transformed", "input_sources", "compare_sources", "criterion_label", "plot_growth",
    "plot_coverage_map", "plot_generated", "plot_sources", "plot_coverage_scores",
]
