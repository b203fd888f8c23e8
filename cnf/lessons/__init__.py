"""What the lessons share: the drawings of strokes, a small network, the flow that your classes make
so far, and the checks of `my_flow.py`."""

from cnf.lessons.answers import check
from cnf.lessons.so_far import bits, flow_so_far, kept_strokes, train
from cnf.lessons.tiny import TinyFlow, all_strokes, train_tiny
from cnf.lessons.verdicts import check_lesson
from cnf.lessons.world import TRUTH, network, strokes

__all__ = [
    "TRUTH",
    "TinyFlow",
    "all_strokes",
    "bits",
    "check",
    "check_lesson",
    "flow_so_far",
    "kept_strokes",
    "network",
    "strokes",
    "train",
    "train_tiny",
]
