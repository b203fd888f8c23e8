"""The tasks of the replication, a module each; `Task` says what each has to say."""

from cnf.replication.tasks.super_resolution import SR
from cnf.replication.tasks.task import Kind, Task
from cnf.replication.tasks.vessels import VESSELS

__all__ = ["SR", "TASKS", "VESSELS", "Kind", "Task", "of_kind"]

TASKS = {task.name: task for task in (SR, VESSELS)}


def of_kind(kind: Kind) -> Task:
    """The first task that reads image sets of a kind: whose references are told without a model."""
    return next(task for task in TASKS.values() if task.kind == kind)
