# Made by tools/public_names.py.
from . import engine, graph, job, network, passes, steps, tuning, ways
from .job import Edits
from .engine import EditEngine

__all__ = [
    "Edits", "EditEngine",
]
