"""What the lessons share: the drawings of strokes, a small network, the flow that your classes make
so far, and the checks of `my_flow.py`."""

from cnf.lessons.check import check_lesson
from cnf.lessons.so_far import bits, flow_so_far, kept_strokes, train
from cnf.lessons.world import network, strokes

__all__ = ["bits", "check_lesson", "flow_so_far", "network", "strokes", "kept_strokes", "train"]
