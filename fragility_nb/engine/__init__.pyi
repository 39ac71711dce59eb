# Made by tools/public_names.py.
from . import engine, graph, job, network, passes, steps
from .engine import EditEngine
from .job import Edits

__all__ = [
    "Edits", "EditEngine",
]
