"""A continuous flow p(y|x) of the strokes of one_file.py, in one file: a velocity u(v, t, h) is
learned by flow matching, a differential equation carries noise (t = 0) to data (t = 1), and its
divergence gives the likelihood. `python continuous.py` trains it as many minutes of a core as
one_file_full.py takes for its flow, and writes continuous.safetensors; `load` reads that file."""

import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

if __package__:
    from book.one_file import BinaryDequantization, Flow, strokes
    from book.one_file import train as train_couplings
else:
    from one_file import BinaryDequantization, Flow, strokes
    from one_file import train as train_couplings

FILE = Path(__file__).with_name("continuous.safetensors")
SCALE = 3.6  # v - 1/2 is about 3 to one side or the other: divided by this, its square is about 1


class Block(nn.Module):  # adds to a what two convolutions make of it, at time t and given x
    def __init__(self, width, num_h):
        super().__init__()
        self.at_t = nn.Linear(16, width)
        self.first = nn.Conv2d(width + num_h, width, 3, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def forward(self, a, h, waves):
        inner = self.first(torch.cat([F.silu(a), h], 1)) + self.at_t(waves)[:, :, None, None]
        return a + self.last(F.silu(inner))


class Velocity(nn.Module):  # u(v, t, h) at 16x16; computes at 8x8 and at 4x4
    def __init__(self, width=32, num_h=8):
        super().__init__()
        self.into = nn.Conv2d(4, width, 3, padding=1)
        self.fine = nn.ModuleList([Block(width, num_h) for _ in range(2)])
        self.down = nn.Conv2d(width, width, 2, stride=2)
        self.coarse = nn.ModuleList([Block(width, num_h) for _ in range(2)])
        self.out = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, v, t, h):
        rate = torch.arange(1, 9, dtype=v.dtype) * math.pi / 2
        waves = torch.cat([(t[:, None] * rate).sin(), (t[:, None] * rate).cos()], 1)
        a = self.fine[0](self.into(F.pixel_unshuffle(v, 2)), h[8], waves)
        b = self.down(a)
        for block in self.coarse:
            b = block(b, h[4], waves)
        a = self.fine[1](a + F.interpolate(b, scale_factor=2), h[8], waves)
        return F.pixel_shuffle(self.out(F.silu(a)), 2)


class ContinuousFlow(nn.Module):
    def __init__(self, width=32, num_h=8):
        super().__init__()
        self.at_4, self.at_8 = (nn.Conv2d(n, num_h, 3, padding=1) for n in (1, num_h))
        self.noise, self.u = BinaryDequantization(), Velocity(width, num_h)

    def features(self, x):  # {size: h}, as in one_file.py
        h = self.at_4(x).relu()
        return {4: h, 8: self.at_8(F.interpolate(h, scale_factor=2)).relu()}

    def dequantized(self, y):  # (v, about of mean 0 and variance 1, and its term of log P)
        v, term = self.noise(y, None)
        return (v - 0.5) / SCALE, term - v[0].numel() * math.log(SCALE)

    def matching_loss(self, y, x):  # a regression: nothing is solved, no determinant
        v, _ = self.dequantized(y)
        noise, t = torch.randn_like(v), torch.rand(len(v)).sqrt()
        along = t.view(-1, 1, 1, 1) * v + (1 - t).view(-1, 1, 1, 1) * noise
        return (self.u(along, t, self.features(x)) - (v - noise)).square().mean()

    def log_prob(self, y, x, steps=20, probe=None):  # by one draw of noise, and of the probe
        v, term = self.dequantized(y)
        probe = torch.randn_like(v).sign() if probe is None else probe
        h = self.features(x)

        def slope(v, t):
            u, change = torch.func.jvp(lambda v: self.u(v, t, h), (v,), (probe,))
            return u, (probe * change).flatten(1).sum(1)

        z, divergence = solve(slope, v, 1.0, 0.0, steps)
        log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).flatten(1).sum(1)
        return term + log_p + divergence  # which was gathered from 1 to 0: minus the integral

    @torch.no_grad()
    def sample(self, x, tau=1.0, steps=20):
        h, z = self.features(x), tau * torch.randn(len(x), 1, 16, 16)
        v, _ = solve(lambda v, t: (self.u(v, t, h), 0.0), z, 0.0, 1.0, steps)
        return self.noise.back(SCALE * v + 0.5, h, tau)


def solve(slope, v, start, stop, steps):
    """v at `stop`, from v at `start`, and the integral of the second output of slope(v, t), by
    the classical Runge-Kutta method."""
    total, dt = 0.0, (stop - start) / steps
    for n in range(steps):
        t = torch.full((len(v),), start + n * dt, dtype=v.dtype)
        k1, r1 = slope(v, t)
        k2, r2 = slope(v + dt / 2 * k1, t + dt / 2)
        k3, r3 = slope(v + dt / 2 * k2, t + dt / 2)
        k4, r4 = slope(v + dt * k3, t + dt)
        v = v + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total = total + dt / 6 * (r1 + 2 * r2 + 2 * r3 + r4)
    return v, total


def train(flow, steps=600, batch=64, rate=3e-3):  # yields the matching loss
    optimizer = torch.optim.Adam(flow.parameters(), betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / 50) * (1 - step / steps)
        loss = flow.matching_loss(*strokes(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def load(path=FILE):
    """(flow, curve): the flow, and rows (minutes of a core, bits per pixel) of its training."""
    kept = load_file(path)
    curve, flow = kept.pop("curve"), ContinuousFlow()
    flow.load_state_dict({name: tensor.float() for name, tensor in kept.items()})
    return flow.requires_grad_(False), curve


def seconds(steps):
    """(how many, seconds of a core) of the steps of a training but its first, which is slow."""
    next(steps)
    start = time.process_time()
    return sum(1 for _ in steps), time.process_time() - start


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    count, took = seconds(train_couplings(Flow(), 200))
    budget = 6_000 * took / count
    count, took = seconds(train(ContinuousFlow(), 200))
    steps = round(budget * count / took)
    print(f"{budget / 60:.1f} minutes: {steps} steps")
    flow, curve, used = ContinuousFlow(), [], 0.0
    marks = {round(steps * 2.0**-k) for k in range(8)}
    start = time.process_time()
    for step, _ in enumerate(train(flow, steps), 1):
        if step in marks:
            used += time.process_time() - start
            with torch.no_grad():
                nats = -flow.log_prob(*strokes(512), steps=10).mean().item()
            curve.append((used / 60, nats / (256 * math.log(2))))
            print(
                f"step {step}, minute {curve[-1][0]:.2f}: {curve[-1][1]:.4f} bits per pixel",
                flush=True,
            )
            start = time.process_time()
    kept = {name: tensor.half().contiguous() for name, tensor in flow.state_dict().items()}
    save_file(kept | {"curve": torch.tensor(curve)}, FILE)
