"""Flow matching and diffusion: densities of their paths, and what every registered model does."""

import itertools
import math

import pytest
import torch
from torch import nn

import cnf
from cnf import noise
from cnf.replication import plugs
from cnf.replication.config import build, load_config
from tests.laws.cases import randomise

nets, ode, paths = (plugs.module("families", part) for part in ("nets", "ode", "paths"))
MU, SIGMA = 0.7, 0.4
ONE = torch.zeros(1, 1, 1, 1).double()  # h of one sample


class OfGaussian(nn.Module):
    """E[w | x] of v ~ N(MU, SIGMA^2), times `wrong`."""

    def __init__(self, wrong: float = 1.0):
        super().__init__()
        self.last, self.wrong = nn.Linear(1, 1).double(), wrong

    def forward(self, x, phi, h):
        c, s = phi.cos().view(-1, 1, 1, 1), phi.sin().view(-1, 1, 1, 1)
        slope = s * c * (SIGMA**2 - 1) / ((c * SIGMA) ** 2 + s**2)
        return self.wrong * (s * MU + slope * (x - c * MU))


class Unscaled(paths.Path):
    def mean_w(self, x, phi, out, known):
        return torch.zeros_like(x) if out is None else out


def gaussian(steps: int = 8, bound: bool = False, wrong: float = 1.0):
    return Unscaled(1, OfGaussian(wrong), steps, bound)


def truth(v):
    at = torch.tensor([MU, SIGMA], dtype=torch.float64)
    return torch.distributions.Normal(*at).log_prob(v).flatten(1).sum(1)


def small_path(channels: int):
    """A network of random weights, not small: its density is far from normal."""
    torch.manual_seed(0)
    net = nets.VelocityNet(channels, 1, 8, 1, 1, 0).double()
    for p in net.parameters():
        nn.init.normal_(p, 0, 0.2)
    return paths.Path(channels, net, 8, False).double()


@pytest.mark.parametrize("channels", [1, 2])
def test_the_density_of_a_path_integrates_to_one(channels):
    path, n = small_path(channels), {1: 201, 2: 41}[channels]
    line = torch.linspace(-8, 8, n).double()
    v = torch.cartesian_prod(*[line] * channels).view(-1, channels, 1, 1)
    log_p = path.log_prob(v, ONE, ode.units(v), 16)
    cell = (16 / (n - 1)) ** channels
    # kinks of ReLU leave the solver an error of its step squared, 1e-3
    assert log_p.exp().sum().item() * cell == pytest.approx(1, abs=5e-3)
    assert (log_p.exp() - paths.standard_normal(v).exp()).abs().max() > 0.05


def test_the_exact_velocity_gives_the_closed_form_and_the_solver_has_order_four():
    v = torch.linspace(-1, 2, 7).double().view(-1, 1, 1, 1)
    errors = [
        (gaussian().log_prob(v, ONE, ode.units(v), steps) - truth(v)).abs().max().item()
        for steps in (16, 32, 64)
    ]
    assert errors[0] < 1e-3
    for coarse, fine in itertools.pairwise(errors):
        assert 12 < coarse / fine < 24  # 16 as steps get small


def test_the_divergence_is_the_trace_of_the_jacobian_and_signs_give_it_in_the_mean():
    path = small_path(2)
    x, phi = torch.randn(1, 2, 1, 2).double(), torch.tensor([0.4]).double()

    def field(x):
        return path.field(x, phi, ONE.expand(1, 1, 1, 2), None)

    jacobian = torch.autograd.functional.jacobian(field, x).reshape(4, 4)
    assert ode.with_divergence(field, x, ode.units(x))[1].item() == pytest.approx(
        jacobian.trace().item(), rel=1e-10
    )
    draws = []
    for bits in itertools.product((0.0, 1.0), repeat=4):  # all signs there are
        probe = ode.signs(torch.tensor(bits).double().view_as(x))
        draws.append(ode.with_divergence(field, x, probe)[1].item())
    draws = torch.tensor(draws)
    assert draws.mean().item() == pytest.approx(jacobian.trace().item(), rel=1e-6)
    symmetric = (jacobian + jacobian.T) / 2
    off = symmetric.square().sum() - symmetric.diagonal().square().sum()
    assert draws.var(correction=0).item() == pytest.approx(2 * off.item(), rel=1e-5)
    assert off > 0.01


def test_a_sample_goes_back_to_its_noise():
    path, h = small_path(2), ONE.expand(3, 1, 2, 2)
    generator = noise.keyed(0, range(3))
    v = path.sample(None, h, 1.0, generator)
    z = noise.normal(v.shape, noise.keyed(0, range(3)), v)

    def slope(x, phi):
        return -path.field(x, x.new_tensor([phi]), h, None), 0.0

    back = ode.rk4(slope, v, paths.times(paths.SAMPLE_STEPS))[0]
    assert (v - z).abs().max() > 0.3
    torch.testing.assert_close(back, z, rtol=0, atol=0.02)  # eight steps each way, over kinks


def test_the_variational_bound_is_tight_for_the_exact_velocity_and_lower_for_another():
    v = MU + SIGMA * torch.randn(8000, 1, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    means = []
    for wrong in (1.0, 0.5):
        path = gaussian(64, True, wrong)
        _, bound = path(v, ONE, torch.Generator().manual_seed(1))
        gap = (truth(v) - bound).double()
        means.append((gap.mean().item(), gap.std().item() / len(v) ** 0.5))
    assert abs(means[0][0]) < 4 * means[0][1] < 0.02
    assert means[1][0] > 0.02 + 4 * means[1][1]


def test_labels_of_an_untrained_network_have_the_probability_of_independent_labels():
    model = small("vessels", "flow-matching").double()
    model.layers[-1].steps = 24
    with torch.no_grad():
        model.layers[-1].head.last.bias.copy_(torch.tensor([-3.0, -1.0, 0.5, 2.0]))
    y, x = pair(model)
    h = model.condition(x)
    logit = torch.nn.functional.pixel_shuffle(model.layers[-1].known(h[1]), 2)
    expected = torch.nn.functional.logsigmoid((2 * y - 1) * logit).flatten(1).sum(1)
    found = torch.stack([model.log_prob(y, x, noise.keyed(s, [0, 1])) for s in range(4)])
    # noise of half-lines is not quite Gaussian near the threshold: 1e-3 of a nat a label
    torch.testing.assert_close(found.mean(0), expected, rtol=0, atol=1e-3 * y[0].numel())


def small(task: str, name: str):
    sets = [
        "width=8",
        "blocks=1",
        "deep=8",
        "steps=4",
        "features.channels=4",
        f"kind=families/{name}",
    ]
    config = load_config(
        f"experiments/families/runs/{task}-{name}.yml", [f"model.{s}" for s in sets]
    )
    torch.manual_seed(0)
    return build(config).eval()


def pair(model):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (2, 3, 16 // model.factor, 16 // model.factor), generator=generator)
    channels = 3 if model.factor == 2 else 1
    bins = 256 if model.factor == 2 else 2
    y = torch.randint(bins, (2, channels, 16, 16), generator=generator)
    return y.double(), x.double()


@pytest.mark.parametrize("task", ["sr", "vessels"])
@pytest.mark.parametrize("name", ["flow-matching", "diffusion"])
def test_a_registered_model_is_saved_keyed_and_the_same_in_any_batch(task, name, tmp_path):
    model = randomise(small(task, name)).eval().double()
    y, x = pair(model)
    log_p = model.log_prob(y, x, noise.keyed(0, [0, 1]))
    assert log_p.isfinite().all() and not model.exact
    alone = torch.cat([model.log_prob(y[[i]], x[[i]], noise.keyed(0, [i])) for i in (0, 1)])
    torch.testing.assert_close(alone, log_p, rtol=1e-10, atol=0)
    assert (model.log_prob(y, x, noise.keyed(1, [0, 1])) != log_p).all()
    assert (model.log_prob(y, x.flip(0), noise.keyed(0, [0, 1])) != log_p).all()
    model.save(tmp_path / "model.safetensors")
    loaded = cnf.load(tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded.log_prob(y, x, noise.keyed(0, [0, 1])), log_p)
    drawn = model.sample(x, 2, 1.0, noise.keyed(0, [0, 1]))
    assert drawn.shape == (2, *y.shape) and torch.equal(drawn, drawn.round())
    second = model.sample(x[[1]], 2, 1.0, noise.keyed(0, [1]))
    torch.testing.assert_close(second, drawn[:, [1]])


@pytest.mark.parametrize("task", ["sr", "vessels"])
def test_the_loss_reports_the_bound_that_diffusion_scores(task):
    model = randomise(small(task, "diffusion")).double().eval()
    model.layers[-1].steps = 64
    y, x = pair(model)
    y, x = (t[:1].repeat(64, 1, 1, 1) for t in (y, x))
    with torch.no_grad():
        nats = model.loss(y, x, torch.Generator().manual_seed(0))[1]["nats"].item()
        log_p = model.log_prob(y[:1], x[:1], torch.Generator().manual_seed(1))
    assert nats == pytest.approx(-log_p.mean().item() / y[0].numel(), rel=0.05)
    assert math.isfinite(nats)
