"""The tasks of the replication, a folder each; `Task` says what each has to say."""

from cnf.replication.tasks.super_resolution import SR
from cnf.replication.tasks.task import TASKS, Task, find_task, of_kind, register
from cnf.replication.tasks.vessels import VESSELS

__all__ = ["SR", "TASKS", "VESSELS", "Task", "find_task", "of_kind", "register"]
