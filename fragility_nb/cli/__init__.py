"""The command line."""
# Made by tools/public_names.py from the modules' `__all__`; a name is imported when it is first used.
import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
