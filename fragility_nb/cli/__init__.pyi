# Made by tools/public_names.py.
from . import base, disagreement, listing, main, reports, studies, training
from .reports import demo, run
from .training import train
from .listing import list_names
from .disagreement import differential
from .studies import grid, status, collect, report
from .main import GROUPS, app

__all__ = [
    "demo", "run", "train", "list_names", "differential", "grid", "status", "collect", "report", "GROUPS", "app",
]
