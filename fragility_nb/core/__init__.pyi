# Made by tools/public_names.py.
from . import checks, docments, identity, lazy_help, results, streams
from .checks import F, unknown_name, check_choice, check_number, checked, Registry
from .identity import stable_seed, array_hash
from .results import SCHEMA, write_atomic, provenance, save_result, check_kind, load_result, PartStore
from .streams import CounterStreams, poisson_quantile
from .docments import help_text

__all__ = [
    "F", "unknown_name", "check_choice", "check_number", "checked", "Registry", "stable_seed", "array_hash",
    "SCHEMA", "write_atomic", "provenance", "save_result", "check_kind", "load_result", "PartStore",
    "CounterStreams", "poisson_quantile", "help_text",
]
