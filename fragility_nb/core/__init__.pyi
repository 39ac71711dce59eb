# Made by tools/public_names.py.
from . import checks, copies, docments, identity, kept, lazy_help, owner, results, streams, whole
from .checks import unknown_name, check_choice, check_number, Registry
from .identity import stable_seed, array_hash
from .results import SCHEMA, write_atomic, provenance, save_result, check_kind, load_result, PartStore
from .streams import CounterStreams, poisson_quantile
from .docments import help_text
from .owner import own_folder, owner_of
from .kept import free_path, time_name, put_aside, write_kept

__all__ = [
    "unknown_name", "check_choice", "check_number", "Registry", "stable_seed", "array_hash", "SCHEMA",
    "write_atomic", "provenance", "save_result", "check_kind", "load_result", "PartStore", "CounterStreams",
    "poisson_quantile", "help_text", "own_folder", "owner_of", "free_path", "time_name", "put_aside", "write_kept",
]
