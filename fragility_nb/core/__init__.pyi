# Made by tools/public_names.py.
from . import checks, docments, identity, lazy_help, results, streams
from .checks import F, unknown_name, check_choice, check_number, checked, Registry
from .identity import (
    RESULTS_VERSION, READ_AT_MOST, stable_seed, array_hash, installed_version, result_versions, user_cache,
    file_digests, folder_digest, remember_folders, remembered, text_digest, CannotDescribe, code_digest, as_array,
    describe_structure, describe, changed_fields, description_changes, Rows, Near, row_digests,
)
from .results import SCHEMA, write_atomic, provenance, save_result, check_kind, load_result, question_folder, PartStore
from .streams import CounterStreams, poisson_quantile
from .docments import help_text

__all__ = [
    "F", "unknown_name", "check_choice", "check_number", "checked", "Registry", "RESULTS_VERSION", "READ_AT_MOST",
    "stable_seed", "array_hash", "installed_version", "result_versions", "user_cache", "file_digests",
    "folder_digest", "remember_folders", "remembered", "text_digest", "CannotDescribe", "code_digest", "as_array",
    "describe_structure", "describe", "changed_fields", "description_changes", "Rows", "Near", "row_digests",
    "SCHEMA", "write_atomic", "provenance", "save_result", "check_kind", "load_result", "question_folder",
    "PartStore", "CounterStreams", "poisson_quantile", "help_text",
]
