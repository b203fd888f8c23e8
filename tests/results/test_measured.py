"""What `claims.yml` says was measured outside of the evaluations."""

import pytest
import skimage.data
import torch
from torch.utils.flop_counter import FlopCounterMode

from cnf.replication import releases
from cnf.replication.results.rows import RESULTS
from cnf.resample import low_resolution


@pytest.fixture(scope="module")
def flow():
    return releases.load(RESULTS / "sr-flow-cpu-s0" / "weights.safetensors").eval()


@pytest.fixture(scope="module")
def pair():
    """y (1,3,96,96) and its half."""
    y = torch.from_numpy(skimage.data.chelsea()[100:196, 150:246]).permute(2, 0, 1)[None].float()
    return y, low_resolution(y, False)


def reach(latent, y):
    """How many pixels of y, across, the middle of a latent (1,C,H,W) depends on: all of them, and
    those that hold 99 % of the gradient."""
    middle = latent[0, 0, latent.shape[2] // 2, latent.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, y, retain_graph=True)
    across = gradient[0].abs().sum((0, 2)).double()
    felt = across.nonzero()
    share = across.cumsum(0) / across.sum()
    inner = ((share >= 0.005) & (share.roll(1) < 0.995)).sum()
    return int(felt.max() - felt.min()) + 1, int(inner)


def test_latents_behind_two_squeezes_feel_more_of_the_picture(flow, pair):
    y = pair[0].clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    latents, _ = flow.encode(y, flow.condition(pair[1]), generator)
    sides = {latent.shape[2]: reach(latent, y)[1] for latent in latents}
    near, far = sides[y.shape[2] // 2], sides[y.shape[2] // 4]
    assert far > 1.3 * near  # measured: 14 and 25 pixels of y hold 99 % of the gradient
    assert near < 48  # else the picture is too small to tell


def test_a_sample_costs_what_a_likelihood_costs(flow, pair):
    y, x = pair
    counts = []
    for work in (lambda: flow.log_prob(y, x), lambda: flow.sample(x)):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            work()
        counts.append(counter.get_total_flops())
    # the same networks on the same sizes; inverses of the 1x1 matrices are all that differs
    assert counts[1] == pytest.approx(counts[0], rel=0.02)
