"""A my_flow.py that is right, from `python -m cnf start` to lesson 9: try yours first.

The contract: layer(y, h) returns what it passes on and its term of log p(y|x), (B,), in nats;
layer.back(z, h, tau) goes back: a bijection undoes itself, a prior draws what it had scored with
tau times its deviation, a dequantization gives labels. h (B, num_h, H, W) are features of x at the
resolution of the layer. PerPixel, WeightedBernoulli and Flow have log_prob(y, x) and sample(x)."""

import torch
import torch.nn.functional as F
from torch import nn

from cnf.lessons import network


class PerPixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network(1, 16)

    def logits(self, x):  # of the label 1, (B, 1, 16, 16)
        return F.pixel_shuffle(self.net(x), 4)

    def log_prob(self, y, x):
        return F.logsigmoid((2 * y - 1) * self.logits(x)).flatten(1).sum(1)

    def sample(self, x):
        return torch.bernoulli(torch.sigmoid(self.logits(x)))


class ActNorm(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.l, self.b = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, y, h):
        if self.training and not self.started:
            std, mean = torch.std_mean(y.detach(), (0, 2, 3), keepdim=True)
            self.l.data, self.b.data = -std[0].log(), -mean[0]
            self.started.fill_(True)
        return self.l.exp() * (y + self.b), (y[0, 0].numel() * self.l.sum()).expand(len(y))

    def back(self, z, h, tau):
        return z * (-self.l).exp() - self.b


class Coupling(nn.Module):
    def __init__(self, num_a, num_b, num_h, m=1.5):
        super().__init__()
        self.num_a, self.m, self.net = num_a, m, network(num_a + num_h, 2 * num_b)

    def parts(self, y, h):
        y_a, y_b = y[:, : self.num_a], y[:, self.num_a :]
        raw, t = self.net(torch.cat([y_a, h], 1)).chunk(2, 1)
        return y_a, y_b, self.m * torch.tanh(raw / self.m), t

    def forward(self, y, h):
        y_a, y_b, log_s, t = self.parts(y, h)
        return torch.cat([y_a, y_b * log_s.exp() + t], 1), log_s.flatten(1).sum(1)

    def back(self, z, h, tau):
        z_a, z_b, log_s, t = self.parts(z, h)
        return torch.cat([z_a, (z_b - t) * (-log_s).exp()], 1)


class Conv1x1(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.W = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])

    def forward(self, y, h):
        log_det = y[0, 0].numel() * torch.linalg.slogdet(self.W)[1]
        return F.conv2d(y, self.W[:, :, None, None]), log_det.expand(len(y))

    def back(self, z, h, tau):
        return F.conv2d(z, self.W.inverse()[:, :, None, None])


class Squeeze(nn.Module):
    def forward(self, y, h):
        return F.pixel_unshuffle(y, 2), y.new_zeros(len(y))

    def back(self, z, h, tau):
        return F.pixel_shuffle(z, 2)


class Prior(Coupling):  # the same network: its two outputs are log sigma and mu
    def forward(self, y, h):
        y_a, y_b, log_sigma, mu = self.parts(y, h)
        log_p = torch.distributions.Normal(mu, log_sigma.exp()).log_prob(y_b)
        return y_a, log_p.flatten(1).sum(1)

    def back(self, z, h, tau):
        y_a, _, log_sigma, mu = self.parts(z, h)
        return torch.cat([y_a, mu + tau * log_sigma.exp() * torch.randn_like(mu)], 1)


class UniformDequantization(nn.Module):
    def __init__(self, levels):
        super().__init__()
        self.levels = levels

    def forward(self, y, h):
        log_q = y[0].numel() * y.new_tensor(self.levels).log()
        return (y + torch.rand_like(y)) / self.levels, -log_q.expand(len(y))

    def back(self, v, h, tau):
        return (v * self.levels).floor().clamp(0, self.levels - 1)


class BinaryDequantization(nn.Module):
    def forward(self, y, h):
        eps = torch.rand_like(y).logit(eps=1e-6)  # logistic noise; rand may return 0
        w = 3 + eps
        log_q = F.logsigmoid(eps) + F.logsigmoid(-eps) - F.logsigmoid(w)
        return 0.5 + (2 * y - 1) * F.softplus(w), -log_q.flatten(1).sum(1)

    def back(self, v, h, tau):
        return (v > 0.5).to(v)


class WeightedBernoulli(PerPixel):
    def __init__(self, beta):
        super().__init__()
        self.beta = beta

    def logits(self, x):  # of q
        a = super().logits(x)
        return (1 - self.beta) * F.softplus(a) - self.beta * F.softplus(-a)


class Flow(nn.Module):
    def __init__(self, steps=6, num_h=8):
        super().__init__()
        self.at_4, self.at_8 = (nn.Conv2d(n, num_h, 3, padding=1) for n in (1, num_h))
        self.layers = nn.ModuleList([BinaryDequantization()])
        for n, kept in ((4, 2), (8, 0)):  # channels; the last prior keeps none of them
            self.layers.append(Squeeze())
            for _ in range(steps):
                self.layers.extend([ActNorm(n), Conv1x1(n), Coupling(n // 2, n // 2, num_h)])
            self.layers.append(Prior(kept, n - kept, num_h, m=6))

    def features(self, x):  # {size of y: h}
        h = self.at_4(x).relu()
        return {4: h, 8: self.at_8(F.interpolate(h, scale_factor=2)).relu(), 16: None}

    def log_prob(self, y, x):  # by one draw of noise; its mean is a lower bound of log P(y|x)
        h, log_p = self.features(x), 0
        for layer in self.layers:
            y, term = layer(y, h[y.shape[-1]])
            log_p = log_p + term
        return log_p

    @torch.no_grad()
    def sample(self, x, tau=1.0):
        h, y = self.features(x), x[:, :0]  # 4x4, no channels yet
        for layer in reversed(self.layers):
            y = layer.back(y, h[y.shape[-1]], tau)
        return y


class Motion(nn.Module):
    def __init__(self, u, D):
        super().__init__()
        self.u, self.D = u, D

    def matching_loss(self, v, h):
        noise, t = torch.randn_like(v), torch.rand(len(v)).to(v)
        v_t = t[:, None] * v + (1 - t[:, None]) * noise
        return (self.u(v_t, t, h) - (v - noise)).square().mean()

    def moved(self, slope, v, start, stop, steps):  # by Runge-Kutta; slope gives (u, divergence)
        total, dt = 0, (stop - start) / steps
        for k in range(steps):
            t = v.new_full((len(v),), start + k * dt)
            k1, r1 = slope(v, t)
            k2, r2 = slope(v + dt / 2 * k1, t + dt / 2)
            k3, r3 = slope(v + dt / 2 * k2, t + dt / 2)
            k4, r4 = slope(v + dt * k3, t + dt)
            v = v + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            total = total + dt / 6 * (r1 + 2 * r2 + 2 * r3 + r4)
        return v, total

    def log_prob(self, v, h, steps=20):
        e = torch.randn_like(v).sign()

        def slope(v, t):
            u, Je = torch.func.jvp(lambda v: self.u(v, t, h), (v,), (e,))
            return u, (e * Je).sum(1)

        z, gathered = self.moved(slope, v, 1.0, 0.0, steps)  # from 1 to 0: minus the integral
        return torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + gathered

    @torch.no_grad()
    def sample(self, h, tau=1.0, steps=20):
        z = tau * torch.randn(len(h), self.D).to(h)
        return self.moved(lambda v, t: (self.u(v, t, h), 0), z, 0.0, 1.0, steps)[0]
