# Made by tools/public_names.py.
from . import checks, copies, docments, identity, kept, lazy_help, options, owner, results, streams, whole
from .checks import F, Registry, check_choice, check_number, checked, unknown_name
from .docments import help_text
from .identity import (
    READ_AT_MOST,
    RESULTS_VERSION,
    CannotDescribe,
    Near,
    Rows,
    array_hash,
    as_array,
    changed_fields,
    code_digest,
    describe,
    describe_structure,
    description_changes,
    file_digests,
    folder_digest,
    installed_version,
    remember_folders,
    remembered,
    result_versions,
    row_digests,
    stable_seed,
    text_digest,
    user_cache,
)
from .kept import free_path, put_aside, time_name, write_kept
from .options import OPTIONS, Option, check_option, check_options, find_option
from .owner import own_folder, owner_of
from .results import SCHEMA, PartStore, check_kind, load_result, provenance, question_folder, save_result, write_atomic
from .streams import CounterStreams, poisson_quantile

__all__ = [
    "F", "unknown_name", "check_choice", "check_number", "checked", "Registry", "RESULTS_VERSION", "READ_AT_MOST",
    "stable_seed", "array_hash", "installed_version", "result_versions", "user_cache", "file_digests",
    "folder_digest", "remember_folders", "remembered", "text_digest", "CannotDescribe", "code_digest", "as_array",
    "describe_structure", "describe", "changed_fields", "description_changes", "Rows", "Near", "row_digests",
    "SCHEMA", "write_atomic", "provenance", "save_result", "check_kind", "load_result", "question_folder",
    "PartStore", "CounterStreams", "poisson_quantile", "help_text", "OPTIONS", "Option", "check_option",
    "find_option", "check_options", "own_folder", "owner_of", "free_path", "time_name", "put_aside", "write_kept",
]
