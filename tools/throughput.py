"""Pictures a second that several processes train, against one. Needs cores that nothing else uses.

    python tools/throughput.py [PROCESSES] [KEY=VALUE ...]   two, and the preset as it is otherwise

Three set-ups of the cpu preset take turns: one process; as many with the same batch each; as many
that share the batch of one. Start and validation do not count.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from cnf import runs
from cnf.config import load_config

ROUNDS, STEPS = 5, 20


def pictures_a_second(processes: int, batch: int, overrides: list[str]) -> float:
    """Over the second half of a short run, measured by the run itself."""
    options = [f"training.batch_size={batch}", f"training.validate_every={STEPS}"]
    words = [w for o in [*options, "training.validate_images=1", *overrides] for w in ("--set", o)]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, *launcher[: 4 * (processes > 1)], "-m", "cnf", "train", "sr"]
        command += ["--preset", "cpu", "--steps", str(2 * STEPS), "--out", folder, *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        first, second = runs.read_history(Path(folder))
    return STEPS * batch / (second["seconds"] - first["seconds"])


def main() -> None:
    processes = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 2
    overrides = [word for word in sys.argv[1:] if "=" in word]
    batch = load_config("sr", "flow", "cpu", overrides).training.batch_size
    setups = [(1, batch), (processes, processes * batch), (processes, batch)]
    rounds = [[pictures_a_second(*s, overrides) for s in setups] for _ in range(ROUNDS)]
    for number, (count, size) in enumerate(setups):
        speeds = [found[number] for found in rounds]
        ratios = [found[number] / found[0] for found in rounds]
        print(
            f"{count} process(es), batch {size:4d}: {median(speeds):7.1f} pictures/s, "
            f"{median(ratios):.2f} times one process ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
