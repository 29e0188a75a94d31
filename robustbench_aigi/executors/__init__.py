"""Executors: run independent tasks in this process, in a pool of processes or on a Ray cluster."""

from robustbench_aigi.executors.base import Executor, ExecutorOptions, executors, load_executor
from robustbench_aigi.executors.cluster import RayExecutor
from robustbench_aigi.executors.local import IN_PROCESS, InProcessExecutor
from robustbench_aigi.executors.pool import PoolExecutor
from robustbench_aigi.executors.unsendable import find_unsendable, write_unsendable

__all__ = [
    "IN_PROCESS",
    "Executor",
    "ExecutorOptions",
    "InProcessExecutor",
    "PoolExecutor",
    "RayExecutor",
    "executors",
    "find_unsendable",
    "load_executor",
    "write_unsendable",
]
