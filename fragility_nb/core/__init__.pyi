# Made by tools/public_names.py.
from . import checks, code, copies, docments, identity, kept, lazy_help, options, owner, results, streams, whole
from .checks import F, unknown_name, check_choice, check_number, checked, Registry, named_parts, named_text
from .identity import (
    RESULTS_VERSION, READ_AT_MOST, stable_seed, array_hash, installed_version, result_versions, user_cache,
    file_digests, folder_digest, remember_folders, remembered, text_digest, CannotDescribe, code_digest, as_array,
    plain_network, describe_structure, describe, changed_fields, description_changes, Rows, row_digests,
)
from .results import (
    SCHEMA, write_atomic, provenance, save_result, check_single, check_kind, of_kind, load_result, Near,
    question_folder, PartStore,
)
from .streams import CounterStreams, poisson_quantile
from .docments import help_text
from .options import OPTIONS, BUILD, TRAINING, Option, check_option, find_option, check_options
from .owner import own_folder, owner_of
from .kept import free_path, time_name, put_aside, write_kept
from .code import title_of, own_files, code_digest_of, check_code, load_code, takes, call_code, read_options

__all__ = [
    "F", "unknown_name", "check_choice", "check_number", "checked", "Registry", "named_parts", "named_text",
    "RESULTS_VERSION", "READ_AT_MOST", "stable_seed", "array_hash", "installed_version", "result_versions",
    "user_cache", "file_digests", "folder_digest", "remember_folders", "remembered", "text_digest",
    "CannotDescribe", "code_digest", "as_array", "plain_network", "describe_structure", "describe",
    "changed_fields", "description_changes", "Rows", "row_digests", "SCHEMA", "write_atomic", "provenance",
    "save_result", "check_single", "check_kind", "of_kind", "load_result", "Near", "question_folder", "PartStore",
    "CounterStreams", "poisson_quantile", "help_text", "OPTIONS", "BUILD", "TRAINING", "Option", "check_option",
    "find_option", "check_options", "own_folder", "owner_of", "free_path", "time_name", "put_aside", "write_kept",
    "title_of", "own_files", "code_digest_of", "check_code", "load_code", "takes", "call_code", "read_options",
]
