"""A toy where everything is known: a point y near a crescent that the input x turns and thickens.

x is uniform on (-1, 1). In the crescent's own axes w, w_2 ~ N(0, 0.8^2) and
w_1 ~ N(1.5 - w_2^2 / 2, rho^2) with rho = 0.2 exp(0.6 x); y is w turned by 90 degrees times x.
"""

import math

import torch
from torch import nn
from torch.distributions import Normal
from torch.optim.lr_scheduler import OneCycleLR

from cnf.features import Features, NoFeatures
from cnf.flow import ConditionalFlow
from cnf.layers import AffineCoupling, Conv1x1, GaussianPrior

TURN, WIDTH = math.pi / 2, 0.8
ENTROPY = math.log(2 * math.pi * math.e) + math.log(WIDTH * 0.2)  # H(y|x), nats


def thickness(x):
    return 0.2 * (0.6 * x).exp()


def turned(w, angle):
    c, s = angle.cos(), angle.sin()
    a, b = w.unbind(-1)
    return torch.stack([c * a - s * b, s * a + c * b], -1)


def draw(n, g, x=None):
    """n pairs: y (n, 2), x (n,)."""
    x = 2 * torch.rand(n, generator=g) - 1 if x is None else x
    eps = torch.randn(n, 2, generator=g)
    w2 = WIDTH * eps[:, 0]
    w1 = 1.5 - w2**2 / 2 + thickness(x) * eps[:, 1]
    return turned(torch.stack([w1, w2], -1), TURN * x), x


def true_log_prob(y, x):
    """log p(y|x), nats; a rotation and a shear have determinant 1."""
    w1, w2 = turned(y, -TURN * x).unbind(-1)
    middle = Normal(1.5 - w2**2 / 2, thickness(x))
    return Normal(0.0, WIDTH).log_prob(w2) + middle.log_prob(w1)


def pack(y, x):
    """To the package's shapes: pictures of one pixel."""
    return y[:, :, None, None], x[:, None, None, None]


def at(x, n):
    """The same x for n pictures."""
    return torch.full((n, 1, 1, 1), float(x))


class Net(nn.Module):
    """(y_a, h) -> parameters; SiLU, so that densities are smooth."""

    def __init__(self, inputs, outputs, width=24, idle=True):
        super().__init__()
        sizes = [(inputs, width), (width, width), (width, outputs)]
        first, middle, last = (nn.Linear(*size) for size in sizes)
        if idle:  # start as the identity
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.body = nn.Sequential(first, nn.SiLU(), middle, nn.SiLU(), last)

    def forward(self, y_a, h):
        t = h if y_a is None else torch.cat([y_a, h], 1)
        return self.body(t.flatten(1))[:, :, None, None]


class Learned(Features):
    """h = g(x): four numbers from one, learned with the rest."""

    def __init__(self):
        super().__init__()
        self.channels = [4]
        self.g = Net(1, 4, idle=False)

    def forward(self, x):
        return [self.g(None, x)]


def build(given_x=True, seed=0):
    torch.manual_seed(seed)
    features = Learned() if given_x else NoFeatures()
    n = features.channels[0]
    layers = []
    for _ in range(4):
        layers += [AffineCoupling(2, Net(1 + n, 2)), Conv1x1(2)]
    prior = GaussianPrior(2, Net(n, 4) if n else None)
    return ConditionalFlow([*layers, prior], features)


def train(flow, steps=700, seed=1, loss=None):
    g = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(flow.parameters(), 2e-2)
    schedule = OneCycleLR(optimiser, 2e-2, steps, pct_start=0.1)
    for _ in range(steps):
        pairs = pack(*draw(256, g))
        value = loss(flow, *pairs) if loss else flow.loss(*pairs)[0]
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
    return flow.eval()


def plane():
    """A grid of the plane: points (40000, 2), and the area of one cell."""
    grid = torch.linspace(-5.5, 5.5, 200)
    return torch.cartesian_prod(grid, grid), (grid[1] - grid[0]).item() ** 2


@torch.no_grad()
def on_grid(model, x):
    """log p(y|x) on the plane, (40000,); `model` is a flow or "truth"."""
    points = plane()[0]
    x = torch.as_tensor(x, dtype=points.dtype).expand(len(points))
    if model == "truth":
        return true_log_prob(points, x)
    return model.log_prob(*pack(points, x))
