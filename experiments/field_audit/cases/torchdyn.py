import torch
from torch import nn
from torch.distributions import MultivariateNormal
from torchdyn.core import NeuralODE
from torchdyn.models import CNF, autograd_trace, hutch_trace
from torchdyn.numerics import odeint

from cnf.testing_ode import standard_normal, trace
from experiments.field_audit.audit import Cases, ode

LIBRARY = "torchdyn"
MATRIX = torch.tensor([[0.5, -1.0, 0.3], [0.7, -0.2, 0.9], [-0.4, 0.6, 1.1]])


def twisted(t, x):
    return torch.tanh(x @ MATRIX.to(x)) + (0.5 - t) * x


def convolution():
    return nn.Conv2d(3, 3, 3, padding=1)


def traced(estimator, shape, net=None):
    """The divergence, as `CNF` computes it before a path is followed."""

    def make():
        layer = net() if net else nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
        law = MultivariateNormal(torch.zeros(3), torch.eye(3))
        cnf = CNF(layer, trace_estimator=estimator, noise_dist=law)

        def divergence(t, x):
            cnf.noise = law.sample(x[:, 0].shape).movedim(-1, 1)  # NeuralODE does it for every path
            first = torch.zeros(len(x), 1, *x.shape[2:])
            return 0 - cnf(torch.cat([first, x.detach()], 1))[:, 0].reshape(len(x), -1).sum(1)

        return {"velocity": lambda t, x: layer(x), "divergence": divergence}

    return ode(make, shape)


def paths(estimator=None):
    """Base at the end of its path, as in its tutorials."""

    def make():
        net = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        law = MultivariateNormal(torch.zeros(2), torch.eye(2))
        cnf = CNF(net, trace_estimator=estimator, noise_dist=estimator and law)
        how = {"solver": "dopri5", "sensitivity": "autograd", "atol": 1e-6, "rtol": 1e-6}
        solve = NeuralODE(cnf, return_t_eval=False, **how)

        def log_prob(x):
            end = solve(torch.cat([torch.zeros(len(x), 1), x.detach()], 1))[-1]
            return standard_normal(end[:, 1:]) - end[:, 0]

        return {"velocity": lambda t, x: net(x), "log_prob": log_prob}

    return ode(make, (2,), times=(1.0, 0.0))


def ordered(solver, order):
    def make():
        def rate(t, y):
            v, d = trace(twisted, float(t), y[:, 1:], None)
            return torch.cat([d[:, None], v], 1)

        def in_steps(x, n):
            start = torch.cat([torch.zeros(len(x), 1), x], 1)
            end = odeint(rate, start, torch.linspace(1, 0, n + 1), solver)[1][-1]
            return standard_normal(end[:, 1:]) + end[:, 0]

        return {"velocity": twisted, "in_steps": in_steps}

    return ode(make, (3,), order=order)


CASES: Cases = {
    "autograd_trace": traced(autograd_trace, (3,)),
    "hutch_trace": traced(hutch_trace, (3,)),
    "autograd_trace of pictures": traced(autograd_trace, (3, 2, 4), convolution),
    "hutch_trace of pictures": traced(hutch_trace, (3, 2, 4), convolution),
    "CNF": paths(),
    "CNF hutch_trace": paths(hutch_trace),
    "order of euler": ordered("euler", 1),
    "order of midpoint": ordered("midpoint", 2),
    "order of rk4": ordered("rk4", 4),
}
