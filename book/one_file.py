"""A conditional flow p(y|x) in one file. layer(y, h) returns what it passes on and its term of
log p(y|x), (B,), in nats; layer.back(z, h, tau) returns y. h: features of x at the resolution of
the layer. tau: the temperature of samples. `python one_file.py` trains the flow, and samples."""

import torch
import torch.nn.functional as F
from torch import nn


def strokes(n):  # n random curves y (n, 1, 16, 16), and the means x of their quarters (n, 1, 4, 4)
    a, b, c = (15 * torch.rand(3, n, 1, 2)).unbind()  # a curve from a to c, drawn towards b
    t = torch.linspace(0, 1, 24)[:, None]
    curve = a * (1 - t) ** 2 + b * 2 * t * (1 - t) + c * t**2
    pixels = torch.cartesian_prod(torch.arange(16.0), torch.arange(16.0))
    y = (torch.cdist(pixels, curve).amin(2) < 1.1).float().view(n, 1, 16, 16)
    return y, F.interpolate(F.avg_pool2d(y, 8), scale_factor=2)


def network(channels_in, channels_out, width=32):
    last = nn.Conv2d(width, channels_out, 3, padding=1)
    nn.init.zeros_(last.weight)  # at first, scales and shifts depend on nothing
    first, middle = nn.Conv2d(channels_in, width, 3, padding=1), nn.Conv2d(width, width, 1)
    return nn.Sequential(first, nn.ReLU(), middle, nn.ReLU(), last)


class BinaryDequantization(nn.Module):  # v > 1/2 where y = 1, v < 1/2 where y = 0
    def forward(self, y, h):
        eps = torch.rand_like(y).logit(eps=1e-6)  # logistic noise; rand may return 0
        w = 3 + eps  # 3: few v come near the threshold
        log_q = F.logsigmoid(eps) + F.logsigmoid(-eps) - F.logsigmoid(w)
        return 0.5 + (2 * y - 1) * F.softplus(w), -log_q.flatten(1).sum(1)

    def back(self, v, h, tau):
        return (v > 0.5).to(v)


class Squeeze(nn.Module):  # each block of 2x2 positions becomes four channels
    def forward(self, y, h):
        return F.pixel_unshuffle(y, 2), y.new_zeros(len(y))

    def back(self, z, h, tau):
        return F.pixel_shuffle(z, 2)


class ActNorm(nn.Module):  # z = exp(l) (y + b); the first batch leaves with mean 0, variance 1
    def __init__(self, channels):
        super().__init__()
        self.l, self.b = (nn.Parameter(torch.zeros(channels, 1, 1)) for _ in range(2))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, y, h):
        if self.training and not self.started:
            std, mean = torch.std_mean(y.detach(), (0, 2, 3), keepdim=True)
            self.l.data, self.b.data, self.started = -std[0].log(), -mean[0], torch.tensor(True)
        return self.l.exp() * (y + self.b), (y[0, 0].numel() * self.l.sum()).expand(len(y))

    def back(self, z, h, tau):
        return z * (-self.l).exp() - self.b


class Conv1x1(nn.Module):  # z = W y at each position
    def __init__(self, channels):
        super().__init__()
        self.W = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])

    def forward(self, y, h):
        log_det = y[0, 0].numel() * torch.linalg.slogdet(self.W)[1]
        return F.conv2d(y, self.W[:, :, None, None]), log_det.expand(len(y))

    def back(self, z, h, tau):
        return F.conv2d(z, self.W.inverse()[:, :, None, None])


class Coupling(nn.Module):  # z_a = y_a, z_b = s y_b + t; log s, in (-m, m), and t from y_a and h
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


class Prior(Coupling):  # the same network; scores y_b under N(mu, sigma^2), and passes y_a on
    def forward(self, y, h):
        y_a, y_b, log_sigma, mu = self.parts(y, h)
        log_p = torch.distributions.Normal(mu, log_sigma.exp()).log_prob(y_b)
        return y_a, log_p.flatten(1).sum(1)

    def back(self, z, h, tau):
        y_a, _, log_sigma, mu = self.parts(z, h)
        return torch.cat([y_a, mu + tau * log_sigma.exp() * torch.randn_like(mu)], 1)


class Flow(nn.Module):
    def __init__(self, steps=6, num_h=8):
        super().__init__()
        self.at_4, self.at_8 = (nn.Conv2d(n, num_h, 3, padding=1) for n in (1, num_h))
        self.layers = nn.ModuleList([BinaryDequantization()])
        for n, half, kept in ((4, 2, 2), (8, 4, 0)):  # channels; the last prior keeps none of them
            flow = [(ActNorm(n), Conv1x1(n), Coupling(half, half, num_h)) for _ in range(steps)]
            self.layers.extend([Squeeze(), *sum(flow, ()), Prior(kept, n - kept, num_h, m=6)])

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


def train(flow, steps=600, batch=64, rate=3e-3):  # yields bits per pixel
    optimizer = torch.optim.Adam(flow.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 50) * (1 - step / steps)
        loss = -flow.log_prob(*strokes(batch)).mean() / (256 * torch.tensor(2.0).log())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


if __name__ == "__main__":
    torch.manual_seed(0)
    flow = Flow()
    for step, loss in enumerate(train(flow)):
        print(f"step {step}: {loss:.3f} bits per pixel") if step % 50 == 49 else None
    y, x = strokes(1)
    for row in torch.cat([y, *(flow.sample(x) for _ in range(3))], 3)[0, 0]:
        print("".join(".#"[int(label)] for label in row))
