"""How and where an image classifier breaks: under stress on its inputs and on its weights."""
__version__ = "0.1.0"

from importlib import import_module as _import_module

# Module -> public names. Nothing is imported before it is used, so `import fragility_nb` costs next to nothing.
# The table is written by tools/public_names.py from the modules' `__all__`; `make export` runs it.
_PUBLIC = {
    "core": (
        "SCHEMA unknown check_choice check_number Registry stable_seed array_hash write_atomic provenance "
        "save_result load_result check_kind "
    ),
    "data": (
        "DATASETS check_images check_labels ImageData as_data generator RandomStreams data_root load_data "
        "load_digits load_mnist pick_device "
    ),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names.split()}


def __getattr__(name):
    if name in _PUBLIC: return _import_module(f"{__name__}.{name}")
    if name not in _WHERE: raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(_import_module(f"{__name__}.{_WHERE[name]}"), name)
    return value


def __dir__(): return sorted({*globals(), *_PUBLIC, *_WHERE})


__all__ = ["__version__", *_WHERE]
