import os

import pytest
import torch


def pytest_collection_modifyitems(config, items):
    """Tests marked `slow` run where they are asked for, as by `make slow`."""
    if "slow" in config.option.markexpr:
        return
    for item in items:
        if mark := item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason=f"`make slow` checks {mark.args[0]}"))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on shared cores are slower than one, and sum in another order; `make portable`
    asks for that."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global seed: its draws do not depend on which tests ran."""
    torch.manual_seed(0)
