"""Scripts that run as one process of a training, or as several."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch


def trained_weights(script: Path, processes: int) -> list[dict[str, Any]]:
    """Return what each process of a training saved at the path of its first argument."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    several = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ends = [script.with_name(f"{processes}-{rank}.pt") for rank in range(processes)]
    started = []
    for rank, end in enumerate(ends):
        own = several | {"RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        command = [sys.executable, str(script), str(end)]
        started.append(subprocess.Popen(command, env=shared | own))
    assert [process.wait(timeout=300) for process in started] == [0] * processes
    return [torch.load(end) for end in ends]
