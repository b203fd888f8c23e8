"""A pytest plugin: the kernels of pages begin with the libraries in memory.

    pytest -p tools.warm_kernels --nbval ...

A page needs two seconds to import torch and what draws, sixty times over. Here a process that has
imported them is forked for each page. It has imported nothing of the package: a page loads what is
there today, and nothing of one page is seen by another. Pages that take longest come first: then no
process is left with one of them at the end.
"""

import itertools
import json
import multiprocessing
import os
import re
import socket
import subprocess
from multiprocessing.connection import Connection
from pathlib import Path

from jupyter_client.connect import LocalPortCache
from jupyter_client.provisioning import local_provisioner

LIBRARIES = ["ipykernel.kernelapp", "matplotlib_inline.backend_inline", "matplotlib.pyplot"]
LIBRARIES += ["torch", "torch._dynamo", "numpy", "pandas", "seaborn", "scipy.stats", "pydantic"]
LIBRARIES += ["skimage.data", "skimage.measure", "skimage.metrics", "skimage.morphology", "tyro"]

TIMES = Path(__file__).resolve().parents[1] / "results/pages.json"  # how long every page takes

context = multiprocessing.get_context("forkserver")


def kernel(arguments: list[str], folder: str, environment: dict[str, str], begun: Connection):
    """What a started process does: it is `python -m ipykernel_launcher ARGUMENTS` in a folder."""
    os.setsid()
    begun.send(True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    from ipykernel import kernelapp

    # it ends with the process that it was forked from, and that with pytest
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"
    kernelapp.launch_new_instance(argv=[*arguments, parent])


class Kernel:
    """Such a process, with the methods of `subprocess.Popen` that Jupyter calls."""

    stdin = stdout = stderr = None

    def __init__(self, arguments: list[str], folder: str, environment: dict[str, str]):
        receiver, sender = context.Pipe(duplex=False)
        given = arguments, folder, environment, sender
        self.process = context.Process(target=kernel, args=given)
        self.process.start()
        receiver.recv()  # it has a process group of its own, to which signals are sent
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("kernel", timeout)
        return self.process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def launch_kernel(cmd: list[str], cwd: str | None = None, env: dict | None = None, **_) -> Kernel:
    """Instead of jupyter_client's: cmd is [python, "-m", "ipykernel_launcher", "-f", FILE]."""
    return Kernel(cmd[cmd.index("ipykernel_launcher") + 1 :], cwd or ".", dict(env or os.environ))


# A port that a system finds free may be taken by another process before a kernel uses it. So every
# worker of pytest has ports of its own, below those that systems hand out.
worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
ports = itertools.count(20_000 + 1_000 * worker)


def find_available_port(self: LocalPortCache, ip: str) -> int:
    """The next port of this worker that nobody listens at."""
    while True:
        port = next(ports)
        with socket.socket() as caller:
            if caller.connect_ex((ip, port)):  # nobody answers
                return port


def pytest_configure(config):
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    context.set_forkserver_preload(LIBRARIES)
    local_provisioner.launch_kernel = launch_kernel
    LocalPortCache.find_available_port = find_available_port


def pytest_collection_modifyitems(items):
    recorded = json.loads(TIMES.read_text("utf-8"))
    seconds = {entry["page"]: entry["seconds"] for entry in recorded["pages"]}
    items.sort(key=lambda item: -seconds.get(item.path.stem, 0))
