"""The seconds of a processor until the library and its commands say something."""

import os
import subprocess
import sys

import pytest

IMPORT = """
import time, torch
start = time.process_time()
import cnf
cnf.glow
print(time.process_time() - start)
"""
FIRST_WORD = """
import io, os, sys, time
from cnf.__main__ import main

class Output(io.TextIOWrapper):
    def write(self, text):
        os.write(1, f"{time.process_time()}".encode())
        os._exit(0)

sys.stdout = Output(io.BytesIO(), "utf-8")
main(sys.argv[1:])
"""


def seconds(folder, code, *words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    return float(done.stdout)


@pytest.mark.slow("the seconds until the library and its commands say something")
def test_the_library_and_its_commands_answer_soon(tmp_path):
    assert seconds(tmp_path, IMPORT) < 0.3
    assert seconds(tmp_path, FIRST_WORD, "--help") < 1
    for task in ("sr", "vessels"):
        assert seconds(tmp_path, FIRST_WORD, "train", task) < 3
