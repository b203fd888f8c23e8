"""A flow of causal transformers in place of couplings, after TarFlow (arXiv:2412.06329)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnf.arguments import Positive
from cnf.errors import ConfigError
from cnf.features import Spec, build_features, channels_of
from cnf.flow import ConditionalFlow
from cnf.glow import GlowConfig, dequantization
from cnf.layers import ActNorm, GaussianPrior, Squeeze, Squeezed
from cnf.layers.base import Bijection, check_features, log_scale, sum_except_batch
from cnf.nets import CausalConv, Network
from cnf.noise import Window
from cnf.replication.models import subband_start
from cnf.weights import kind

HEADS, MAX_LOG_SCALE = 4, 1.5
Pair = tuple[Tensor, Tensor]


class AttentionLayer(nn.Module):
    """t + causal attention, then t + MLP, each of the normalised t, (N, T, width). Given `past`,
    the keys and values of all tokens before, t (N, 1, width) is the next token."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, t: Tensor, past: Pair | None = None) -> tuple[Tensor, Pair]:
        q, k, v = self.qkv(self.norms[0](t)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        with torch.autocast(t.device.type, enabled=False):  # in bfloat16 it is slower on CPUs
            q, k, v = (part.to(self.out.weight.dtype) for part in (q, k, v))
            seen = F.scaled_dot_product_attention(q, k, v, is_causal=past is None)
        t = t + self.out(seen.transpose(1, 2).flatten(2))
        return t + self.narrow(F.relu(self.wide(self.norms[1](t)))), (k, v)


class CausalTransformer(Network):
    """(mu, log s) of every token y (N, C, h, w) of windows, from h (N, width, h, w) at its position
    and the tokens before it in raster order: it reads its four neighbours among them, then attends
    to what those before it read (so the end of a row is known one row later).
    """

    def __init__(self, channels: int, h: int, width: int, depth: int, window: int):
        super().__init__()
        self.from_h = nn.Conv2d(h, width, 1, bias=False)
        self.before = CausalConv(channels, width, 1, own=False)
        self.rows = nn.Parameter(0.02 * torch.randn(width, window, 1))
        self.columns = nn.Parameter(0.02 * torch.randn(width, 1, window))
        self.layers = nn.ModuleList(AttentionLayer(width) for _ in range(depth))
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 2 * channels, bias=False)
        nn.init.zeros_(self.last.weight)

    def given(self, h: Tensor) -> Tensor:
        with self.autocast(h.device):
            return self.from_h(h)

    def placed(self, h: Tensor) -> Tensor:
        return h + self.rows[:, : h.shape[2]] + self.columns[..., : h.shape[3]]

    def forward(self, y: Tensor, h: Tensor) -> Pair:
        with self.autocast(y.device):
            t = (self.before(y) + self.placed(h)).flatten(2).transpose(1, 2)
            for layer in self.layers:
                t = layer(t)[0]
            out = self.last(self.norm(t)).to(y.dtype)
        return params(out.transpose(1, 2).unflatten(2, y.shape[2:]))

    def inverse(self, z: Tensor, h: Tensor, inside: Tensor) -> Pair:
        """(y, log s) of z = (y - mu) / s, token after token, with keys and values kept; y = 0 where
        `inside` (N, 1, h, w) is 0. Never in bfloat16: its rounding would add up."""
        h, zero = self.placed(h), torch.zeros_like(z[..., 0, 0])
        weight = self.before.weight.flatten(2)[..., : self.before.num_visible].flatten(1)
        pasts, tokens, scales = [None] * len(self.layers), {}, []
        for place in range(z[0, 0].numel()):
            row, column = divmod(place, z.shape[3])
            near = [(row - 1, column + step) for step in (-1, 0, 1)] + [(row, column - 1)]
            t = torch.stack([tokens.get(position, zero) for position in near], dim=2).flatten(1)
            t = (F.linear(t, weight, self.before.bias) + h[..., row, column])[:, None]
            for n, layer in enumerate(self.layers):
                t, pasts[n] = layer(t, pasts[n])
            mu, log_s = params(self.last(self.norm(t[:, 0])))
            y = mu + log_s.exp() * z[..., row, column]
            tokens[row, column] = y * inside[..., row, column]
            scales.append(log_s)
        return torch.stack([*tokens.values()], 2).view_as(z), torch.stack(scales, 2).view_as(z)


def params(out: Tensor) -> Pair:
    mu, raw = out.chunk(2, dim=1)
    return mu, log_scale(raw, "bounded", MAX_LOG_SCALE)


class CausalAttention(Bijection):
    r"""Shift and scale every token, the channels of a position, given h there and the tokens before
    it in its window, in raster order or with `backward` in the opposite one.

    Forward:  z_t = (y_t - mu_t) / s_t,   (mu_t, log s_t) from net(y_<t, h_t)
    Inverse:  y_t = mu_t + s_t z_t, token after token
    log|det|: -sum of log s, as the Jacobian is triangular               (TarFlow, there patches)

    Windows begin at the top left corner, as few as fit `window`, of equal sizes; what is missing to
    the last ones is read as zeros and never scored. No window sees another: any size can be scored.

    Shapes: y (B, C, H, W), h (B, C_h, H, W) -> z of the shape of y, log_det (B,) in nats.
    """

    def __init__(self, channels: int, h: int, width: int, depth: int, window: int, backward: bool):
        super().__init__()
        self.channels, self.window, self.backward = channels, window, backward
        self.net = CausalTransformer(channels, h, width, depth, window)

    def forward(self, y: Tensor, h: Tensor | None = None) -> Pair:
        check_features(y, h)
        parts = self.windows(y)
        mu, log_s = self.net(parts, self.windows(self.net.given(h)))
        log_det = -sum_except_batch(self.picture(log_s, y))
        return self.picture((parts - mu) * (-log_s).exp(), y), log_det

    def inverse(self, z: Tensor, h: Tensor | None = None) -> Pair:
        given, inside = self.windows(self.net.given(h)), self.windows(torch.ones_like(z[:, :1]))
        y, log_s = self.net.inverse(self.windows(z), given, inside)
        return self.picture(y, z), sum_except_batch(self.picture(log_s, z))

    def windows(self, t: Tensor) -> Tensor:
        """(B, C, H, W) to (N, C, h, w), in the order of reading."""
        h, w = (length(side, self.window) for side in t.shape[2:])
        t = F.pad(t, (0, -t.shape[3] % w, 0, -t.shape[2] % h))
        t = t.unflatten(3, (-1, w)).unflatten(2, (-1, h)).permute(0, 2, 4, 1, 3, 5)
        return t.flatten(0, 2).flip(2, 3) if self.backward else t.flatten(0, 2)

    def picture(self, t: Tensor, like: Tensor) -> Tensor:
        """Undoes `windows`."""
        t, rows = t.flip(2, 3) if self.backward else t, math.ceil(like.shape[2] / t.shape[2])
        t = t.unflatten(0, (len(like), rows, -1)).permute(0, 3, 1, 4, 2, 5)
        return t.flatten(4, 5).flatten(2, 3)[..., : like.shape[2], : like.shape[3]]


def length(side: int, window: int) -> int:
    """Of the windows along a side."""
    return math.ceil(side / math.ceil(side / window))


class TransformerFlow(ConditionalFlow):
    def sample_given(self, h, n=1, temperature=1.0, generator=None) -> Tensor:
        if isinstance(generator, Window):
            raise ConfigError("this flow cannot draw in tiles, as they would move its windows")
        return super().sample_given(h, n, temperature, generator)


@kind("transformer_flow/flow")
def flow(
    channels: Positive,
    bins: Positive,
    features: Spec,
    windows: list[Positive],
    width: Positive,
    depth: Positive,
) -> TransformerFlow:
    """The start of our flow of labels or of grey levels, then one `CausalAttention` over patches of
    2x2 positions for each window, in alternating directions, then N(0, I)."""
    network = build_features(features, 1, carry=bins > 2)
    h, c = channels_of(network), (4 if bins == 2 else 3) * channels
    if bins == 2:
        config = GlowConfig(dequantization="binary", noise="gaussian")
        stack = [dequantization(config, channels, h[0], bins), Squeeze(), ActNorm(c)]
    else:
        stack = subband_start(GlowConfig(dequantization="uniform"), channels, h, bins)
    attention = [
        CausalAttention(4 * c, 4 * h[1], width, depth, window, n % 2 == 1)
        for n, window in enumerate(windows)
    ]
    model = TransformerFlow([*stack, Squeezed(attention), GaussianPrior(c)], network)
    model.multiple = math.lcm(model.multiple, 4)
    return model
