# Made by tools/public_names.py.
from . import checks, docments, identity, lazy_help, options, results, streams
from .checks import unknown_name, check_choice, check_number, Registry
from .identity import stable_seed, array_hash
from .results import SCHEMA, write_atomic, provenance, save_result, check_kind, load_result, PartStore
from .streams import CounterStreams, poisson_quantile
from .docments import help_text
from .options import OPTIONS, Option, check_option, find_option, check_options

__all__ = [
    "unknown_name", "check_choice", "check_number", "Registry", "stable_seed", "array_hash", "SCHEMA",
    "write_atomic", "provenance", "save_result", "check_kind", "load_result", "PartStore", "CounterStreams",
    "poisson_quantile", "help_text", "OPTIONS", "Option", "check_option", "find_option", "check_options",
]
