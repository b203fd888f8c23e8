"""The networks inside layers: (y_a, h) -> parameters. Feature networks are in `cnf.features`.

Nothing here has a likelihood term. A network may run in bfloat16 (`set_precision`); what it returns
to a layer is in the type of its weights, so z, log-determinants and priors stay in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["none", "instance"]
Activation = Literal["relu", "silu"]


class Network(nn.Module):
    """A network whose body may run under autocast."""

    precision = "fp32"

    def autocast(self, device: torch.device) -> AbstractContextManager:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def cast(self, t: Tensor) -> Tensor:
        """t in the type the body works in: what several layers read is then cast once."""
        return t.bfloat16() if self.precision == "bf16" and t.dtype == torch.float32 else t


def set_precision(module: nn.Module, precision: str) -> None:
    """Run every network inside `module` in "fp32" or "bf16"; the layers stay as they are,
    :eq:`eq-speed-bf16`."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision '{precision}' is unknown: choose fp32 or bf16")
    for part in module.modules():
        if isinstance(part, Network):
            part.precision = precision


class ZeroConv(nn.Conv2d):
    """A 3x3 convolution that starts at zero; with `gain`, each output channel is multiplied by
    exp(3 logs), logs learned, as in the first author's released code."""

    def __init__(self, in_channels: int, out_channels: int, gain: bool = False):
        super().__init__(in_channels, out_channels, 3, padding=1)
        for p in self.parameters():
            nn.init.zeros_(p)
        self.logs = nn.Parameter(torch.zeros(out_channels, 1, 1)) if gain else None

    def forward(self, t: Tensor) -> Tensor:
        out = super().forward(t)
        return out if self.logs is None else out * (3 * self.logs).exp()


class CouplingNet(Network):
    """conv3x3 of y_a plus a convolution of h, ReLU, conv1x1, ReLU, conv3x3 from zero.

    The first convolution of the concatenated (y_a, h) is written as the sum of its two parts, which
    is the same map (with h_kernel=3), :eq:`eq-speed-linear`; h_kernel=1 is the cheaper form: h has
    seen its surroundings.

    With `clip` it reads y_a clipped to (-clip, clip). With norm "instance" each hidden map is
    normalised to mean 0 and variance 1 over the picture, :eq:`eq-norms-instance`, then scaled and
    shifted: what it answers at one position then depends on all of them, the edges of a padded
    picture included. Only y_a and h are normalised, never what is transformed (which would lose
    two directions a channel, :eq:`eq-norms-null`), so a coupling stays invertible.

    Shapes: y_a (B, y_channels, H, W) or None, h (B, h_channels, H, W) or None
        -> (B, out_channels, H, W). `width=0` leaves only the last convolution.
    Raises: ValueError if there is nothing to read.
    """

    def __init__(
        self,
        y_channels: int,
        h_channels: int,
        out_channels: int,
        width: int,
        h_kernel: int = 1,
        gain: bool = False,
        clip: float | None = None,
        norm: Norm = "none",
    ):
        super().__init__()
        self.y_channels, self.h_channels, self.clip = y_channels, h_channels, clip
        check_reads(y_channels, h_channels)
        if norm not in ("none", "instance"):
            raise ValueError(f"norm = {norm!r}: choose none or instance")
        if width == 0:
            self.last = ZeroConv(y_channels + h_channels, out_channels, gain)
            self.middle = None
            return
        plain = norm == "none"  # a norm takes away what a bias adds
        self.from_y = nn.Conv2d(y_channels, width, 3, padding=1, bias=plain) if y_channels else None
        bias = plain and not y_channels
        self.from_h = (
            nn.Conv2d(h_channels, width, h_kernel, padding=h_kernel // 2, bias=bias)
            if h_channels
            else None
        )
        self.middle = nn.Conv2d(width, width, 1, bias=plain)
        self.norms = nn.ModuleList(
            nn.Identity() if plain else nn.InstanceNorm2d(width, affine=True) for _ in range(2)
        )
        self.last = ZeroConv(width, out_channels, gain)

    def forward(self, y_a: Tensor | None, h: Tensor | None) -> Tensor:
        """h may hold fewer samples than y_a: each group of its B samples is given the same h. A
        network of no h_channels does not look at it."""
        check_has_features(h, self.h_channels)
        h = h if self.h_channels else None
        if self.clip and y_a is not None:
            y_a = y_a.clamp(-self.clip, self.clip)
        inputs = [t for t in (y_a, h) if t is not None and t.shape[1]]
        with self.autocast(inputs[0].device):
            if self.middle is None:
                alike = [repeated(t, inputs[0].shape[0] // t.shape[0]) for t in inputs]
                out = self.last(torch.cat([t.to(inputs[0].dtype) for t in alike], dim=1))
            else:
                t = None if self.from_y is None else self.from_y(y_a)
                if self.from_h is not None:
                    t = self.from_h(h) if t is None else add_(t, self.from_h(h))
                t = activate(self.norms[0](t))
                out = self.last(activate(self.norms[1](self.middle(t))))
        return out.to(self.last.weight.dtype)

    @property
    def hidden(self) -> int:
        """How many hidden channels there are."""
        return 0 if self.middle is None else 2 * self.last.in_channels


class VectorNet(Network):
    """A multilayer perceptron for vectors: two hidden layers of `width` numbers with ReLU (or SiLU,
    for a smooth density), then a linear layer that starts at zero.

    As in `CouplingNet` the first layer of (y_a, h) is the sum of its two parts.

    Shapes: y_a (B, y_channels) or None, h (B, h_channels) or None -> (B, out_channels). `width=0`
        leaves only the last layer.
    Raises: ValueError if there is nothing to read.
    """

    def __init__(
        self,
        y_channels: int,
        h_channels: int,
        out_channels: int,
        width: int = 64,
        activation: Activation = "relu",
    ):
        super().__init__()
        check_reads(y_channels, h_channels)
        self.h_channels, self.activation = h_channels, activation
        sizes = [width, width, out_channels] if width else [out_channels]
        self.from_y = nn.Linear(y_channels, sizes[0]) if y_channels else None
        self.from_h = nn.Linear(h_channels, sizes[0], bias=not y_channels) if h_channels else None
        self.rest = nn.ModuleList(map(nn.Linear, sizes, sizes[1:]))
        self.hidden = sum(sizes[:-1])  # how many hidden numbers there are
        for part in self.rest[-1:] or [self.from_y, self.from_h]:
            for p in [] if part is None else part.parameters():
                nn.init.zeros_(p)

    def forward(self, y_a: Tensor | None, h: Tensor | None) -> Tensor:
        """h may hold fewer samples than y_a: each group of its B samples is given the same h. A
        network of no h_channels does not look at it."""
        check_has_features(h, self.h_channels)
        dtype = next(self.parameters()).dtype
        with self.autocast(next(self.parameters()).device):
            t: Any = None if self.from_y is None else self.from_y(y_a)
            if self.from_h is not None:
                t = self.from_h(h) if t is None else add_(t, self.from_h(h))
            for layer in self.rest:
                t = layer(activate(t, self.activation))
        return t.to(dtype)


class MaskedNet(Network):
    """A multilayer perceptron that makes `outputs` numbers for every number of y, from h and the
    numbers of y before it: two hidden layers of `width` numbers with ReLU (or SiLU), then a linear
    layer that starts at zero (MADE, Germain et al. 2015).

    A hidden number of degree k sees y_1 .. y_k and h; what is made for y_(k+1) sees those of
    degrees 0 .. k. Degrees take turns.

    Shapes: y (B, channels), h (B, h_channels) or None -> (B, channels, outputs).
    Raises: ValueError if width < channels: some number would then not see all before it.
    """

    def __init__(
        self,
        channels: int,
        h_channels: int,
        outputs: int = 1,
        width: int = 64,
        activation: Activation = "relu",
    ):
        super().__init__()
        if width < channels:
            raise ValueError(
                f"width = {width} for vectors of {channels} numbers: give {channels} or more"
            )
        self.channels, self.outputs = channels, outputs
        self.h_channels, self.activation = h_channels, activation
        degrees = torch.arange(width) % channels
        before = torch.arange(channels)
        self.first = MaskedLinear(before[None] < degrees[:, None])
        self.from_h = nn.Linear(h_channels, width, bias=False) if h_channels else None
        self.middle = MaskedLinear(degrees[None] <= degrees[:, None])
        self.last = MaskedLinear((degrees[None] <= before[:, None]).repeat_interleave(outputs, 0))
        for p in self.last.parameters():
            nn.init.zeros_(p)

    def forward(self, y: Tensor, h: Tensor | None = None) -> Tensor:
        """h may hold fewer samples than y: each group of its B samples is given the same h."""
        check_has_features(h, self.h_channels)
        with self.autocast(y.device):
            t = self.first(y)
            if self.from_h is not None:
                t = add_(t, self.from_h(h))
            t = self.middle(activate(t, self.activation))
            t = self.last(activate(t, self.activation))
        return t.to(self.last.weight.dtype).unflatten(1, (self.channels, self.outputs))


class MaskedLinear(nn.Linear):
    """A linear layer of which only the weights are used where `mask` (outputs, inputs) is true."""

    mask: Tensor

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        return F.linear(t, self.weight * self.mask, self.bias)


class CausalConv(nn.Conv2d):
    """A convolution whose output at a position sees the `radius` rows above and, in its own row,
    the positions before it; with `own` the position too. Rows below are not in the kernel."""

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, radius: int, own: bool):
        size = (radius + 1, 2 * radius + 1)
        super().__init__(in_channels, out_channels, size, padding=(0, radius))
        self.radius = radius
        self.num_visible = radius * size[1] + radius + own  # of the kernel, row after row
        mask = torch.ones(size)
        mask.view(-1)[self.num_visible :] = 0
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        t = F.pad(t, (0, 0, self.radius, 0))
        return F.conv2d(t, self.weight * self.mask, self.bias, padding=(0, self.radius))


class CausalBlock(nn.Module):
    """t + conv1x1(ReLU(causal(ReLU(t)) + conv1x1(h))); the last convolution starts small."""

    def __init__(self, width: int, h_channels: int, radius: int):
        super().__init__()
        self.causal = CausalConv(width, width, radius, own=True)
        self.from_h = nn.Conv2d(h_channels, width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(self, t: Tensor, h: Tensor) -> Tensor:
        return t + self.out(F.relu(self.causal(F.relu(t)) + self.from_h(h)))


class CausalNet(Network):
    """`outputs` numbers for every channel of y at every position, from h everywhere, y at the
    positions before in raster order, and the channels of y before it at its own position.

    A causal convolution of y plus a 3x3 convolution of h, causal residual blocks, then for each
    channel a small network that also reads the channels before it. So the positions before are seen
    3 + 2 `blocks` rows up, and as many columns to each side. Without blocks no other position is
    seen, and all are drawn at once. With `clip` it reads y (not h) clipped to (-clip, clip): what
    it answers is then bounded however far out a number before is, :eq:`eq-blowup-clip`.

    Shapes: y (B, channels, H, W), h (B, h_channels, H, W) -> (B, channels, outputs, H, W).
    """

    HIDDEN, RADIUS = 24, 2
    before: Tensor

    def __init__(
        self,
        channels: int,
        h_channels: int,
        width: int,
        blocks: int,
        outputs: int = 1,
        clip: float | None = None,
    ):
        super().__init__()
        if not h_channels:
            raise ValueError("a causal network needs features h: none of their channels are given")
        self.channels, self.outputs, self.clip = channels, outputs, clip
        self.h_channels = h_channels
        self.from_y = CausalConv(channels, width, self.RADIUS + 1, False) if blocks else None
        self.from_h = nn.Conv2d(h_channels, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(
            CausalBlock(width, h_channels, self.RADIUS) for _ in range(blocks)
        )
        self.own = nn.Conv2d(channels, channels * self.HIDDEN, 1, bias=False)
        self.context = nn.Conv2d(width, channels * self.HIDDEN, 1)
        self.last = nn.Conv2d(channels * self.HIDDEN, channels * outputs, 1, groups=channels)
        for p in self.last.parameters():
            nn.init.zeros_(p)
        before = torch.ones(channels, channels).tril(-1).repeat_interleave(self.HIDDEN, 0)
        self.register_buffer("before", before[:, :, None, None], persistent=False)

    def forward(self, y: Tensor, h: Tensor | None) -> Tensor:
        check_has_features(h, self.h_channels)
        y, h = self.clipped(y), cast(Tensor, h)
        with self.autocast(y.device):
            h = self.cast(h)
            t = self.from_h(h)
            if self.from_y is not None:
                t = t + self.from_y(y)
            for block in self.blocks:
                t = block(t, h)
            out = self.head(y, t)
        return out.to(self.last.weight.dtype)

    def clipped(self, y: Tensor) -> Tensor:
        return y.clamp(-self.clip, self.clip) if self.clip else y

    def head(self, y: Tensor, t: Tensor) -> Tensor:
        """What follows the blocks: all at one position."""
        u = self.context(F.relu(t)) + F.conv2d(y, self.own.weight * self.before)
        return self.last(F.relu(u)).unflatten(1, (self.channels, self.outputs))

    @torch.no_grad()
    def sample_sequentially(
        self, h: Tensor, choose: Callable[[Tensor, int, Any], Tensor]
    ) -> Tensor:
        """y, (B, channels, H, W), front after front and within a front channel after channel, what
        the layers made of the earlier fronts kept.

        choose(out (B, outputs, P), channel, index) gives y (B, P) of that channel at the P
        positions [index] of a (B, H, W).
        """
        blocks = cast(list[CausalBlock], [*self.blocks])
        convs = [] if self.from_y is None else [self.from_y, *(block.causal for block in blocks)]
        front_convs = [FrontConv(conv, h, self.RADIUS + 2) for conv in convs]
        maps = [cast(nn.Conv2d, part.from_h)(h) for part in (self, *blocks)]
        rest, *given = (map_.permute(2, 3, 0, 1).contiguous() for map_ in maps)
        own = (self.own.weight * self.before)[..., 0, 0].split(self.HIDDEN)
        last = self.last.weight[..., 0, 0].split(self.outputs)
        biases = cast(Tensor, self.last.bias).split(self.outputs)
        y = h.new_zeros(len(h), self.channels, *h.shape[-2:])
        for front, (rows, columns) in enumerate(self.fronts(y)):
            t = rest[rows, columns]  # (P, B, width)
            if front_convs:
                t = t + front_convs[0](front, rows)
            for block, of_h, before in zip(blocks, given, front_convs[1:], strict=True):
                before.write(front, rows, F.relu(t))
                t = t + conv1x1(block.out, F.relu(before(front, rows) + of_h[rows, columns]))
            context = conv1x1(self.context, F.relu(t)).split(self.HIDDEN, -1)
            here = t.new_zeros(*t.shape[:2], self.channels)
            for c, (u, w, v, bias) in enumerate(zip(context, own, last, biases, strict=True)):
                out = F.linear(F.relu(u + self.clipped(here) @ w.T), v, bias)
                here[..., c] = choose(out.permute(1, 2, 0), c, (..., rows, columns)).T
            if front_convs:
                front_convs[0].write(front, rows, self.clipped(here))
            y[..., rows, columns] = here.permute(1, 2, 0)
        return y

    def fronts(self, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and columns of the positions that can be drawn together. Without blocks all."""
        height, width = y.shape[-2:]
        if self.from_y is None:
            rows, columns = (torch.arange(size, device=y.device) for size in (height, width))
            return iter([(rows.repeat_interleave(width), columns.repeat(height))])
        return wavefronts(height, width, self.RADIUS + 1, y.device)


def wavefronts(
    height: int, width: int, reach: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows and columns of the fronts of a picture, in order: row after row, none in some fronts of
    a narrow picture. If a position sees `reach` columns to the right in the row above, those with
    equal (reach + 1) row + column can be drawn together."""
    slope = reach + 1
    for front in range(slope * (height - 1) + width):
        first = max(0, -(-(front - width + 1) // slope))
        rows = torch.arange(first, min(height, front // slope + 1), device=device)
        yield rows, front - slope * rows


class FrontConv:
    """A causal convolution of a map that becomes known front after front, :class:`CausalNet`. Of
    the map it keeps the last fronts alone, each as (rows, B, C): what the convolution reads at one
    offset from all positions of a front lies side by side there.

    Args:
        conv: the convolution.
        like: (B, _, H, W), gives sizes and type.
        slope: the positions of a front have the same slope row + column.
    """

    def __init__(self, conv: CausalConv, like: Tensor, slope: int):
        self.radius, self.bias, width = conv.radius, conv.bias, 2 * conv.radius + 1
        places = [divmod(n, width) for n in range(conv.num_visible)]  # as the kernel has them
        ups = [(self.radius - row, column - self.radius) for row, column in places]
        self.offsets = [(up, slope * up - right) for up, right in ups]
        weight = conv.weight.flatten(2)[..., : conv.num_visible]
        self.weight = weight.transpose(1, 2).flatten(1)  # (C_out, offsets C)
        fronts, rows = (slope + 1) * self.radius + 1, like.shape[-2] + self.radius
        self.buffer = like.new_zeros(fronts, rows, len(like), conv.in_channels)

    def write(self, front: int, rows: Tensor, values: Tensor) -> None:
        """Values (P, B, C) at the P rows of this front; outside of the picture it is 0."""
        self.buffer[front % len(self.buffer)] = 0
        self.buffer[front % len(self.buffer), self.radius + rows] = values

    def __call__(self, front: int, rows: Tensor) -> Tensor:
        """What the convolution makes of the P positions of this front, (P, B, C_out)."""
        rows = self.radius + rows
        inputs = [
            self.buffer[(front - ago) % len(self.buffer), rows - up] for up, ago in self.offsets
        ]
        return F.linear(torch.cat(inputs, -1), self.weight, self.bias)


def conv1x1(conv: nn.Conv2d, t: Tensor) -> Tensor:
    """A 1x1 convolution of positions in the leading dimensions, channels last."""
    return F.linear(t, conv.weight[..., 0, 0], conv.bias)


def activate(t: Tensor, activation: Activation = "relu") -> Tensor:
    """ReLU, in place since no backward needs what a convolution returned, or SiLU."""
    if activation not in ("relu", "silu"):
        raise ValueError(f"activation = {activation!r}: choose relu or silu")
    return F.relu(t, inplace=True) if activation == "relu" else F.silu(t)


def check_reads(y_channels: int, h_channels: int) -> None:
    """Raise ValueError if a network has nothing to read."""
    if not y_channels + h_channels:
        raise ValueError("y_channels = 0, h_channels = 0: a network needs something to read")


def check_has_features(h: Tensor | None, channels: int) -> None:
    """Raise ValueError if a network that reads h is not given it."""
    if channels and h is None:
        raise ValueError(f"this network reads features h of {channels} channels: give them")


def repeated(t: Tensor, n: int) -> Tensor:
    """(B, ...) to (n B, ...), the B samples n times one after the other."""
    return t.repeat([n] + [1] * (t.dim() - 1))


def add_(t: Tensor, part: Tensor) -> Tensor:
    """t += part, of shapes (n B, ...) and (B, ...)."""
    if t.shape[0] == part.shape[0]:
        return t.add_(part)  # autograd copies where one writes to a view
    t.unflatten(0, (-1, part.shape[0])).add_(part)
    return t
