import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Two threads on shared cores are slower than one, and sum in another order."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """Every test starts from the same global seed: its draws do not depend on which tests ran."""
    torch.manual_seed(0)
