"""The steps of one level run together: the same likelihood in fewer passes over memory.

The readable definition of a step is its three layers, one after the other (`ConditionalFlow.terms`
always walks them). A `FusedSteps` holds the same layers and computes the same map:

- activation normalization folded into the 1x1 convolution: z = (W e^l) y + W e^l b, one pass;
- the log-determinants of the level in one batched call;
- for many samples of one x, what the couplings make of h is computed once;
- with `recompute`, no activation is kept for backward: going back, each step's input is rebuilt
  from its output through the inverse (derived in the chapter on memory). Levels so small that
  this would save nothing worth its time keep theirs.

Tests hold it to the layers: 1e-10 in float64, for values and gradients.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from cnf.layers.actnorm import ActNorm
from cnf.layers.base import mix_channels, num_positions, sum_except_batch
from cnf.layers.conv1x1 import Conv1x1
from cnf.layers.coupling import AffineCoupling
from cnf.nets import CouplingNet, VectorNet

MIN_REBUILD_BYTES = 6 * 2**20  # bytes of hidden maps from which on it pays to rebuild them


class Step(NamedTuple):
    """One step of the flow."""

    actnorm: ActNorm
    conv: Conv1x1
    coupling: AffineCoupling

    @property
    def net(self) -> CouplingNet | VectorNet:
        return cast(CouplingNet, self.coupling.net)


class FusedSteps:
    """K consecutive steps of one level.

    Shapes: y (B, C, ...), h (B, C_h, ...) or None -> z as y, log_det (B,) in nats. y may
    hold n B samples, sample-major: each group of B is given the same h, whose convolutions are then
    computed once.
    """

    def __init__(self, steps: Sequence[Step]):
        self.steps = list(steps)

    def __call__(
        self, y: Tensor, h: Tensor | None, recompute: bool = False
    ) -> tuple[Tensor, Tensor]:
        """`forward`; with `recompute` and a gradient to come, without keeping activations."""
        h = self.cast_features(h)
        if recompute and torch.is_grad_enabled() and self.hidden_bytes(y) > MIN_REBUILD_BYTES:
            parameters = [p for step in self.steps for layer in step for p in layer.parameters()]
            if parameters:  # a replica of DataParallel has none; steps may share layers
                return _Rebuilt.apply(self, y, h, *dict.fromkeys(parameters))
        return self.forward(y, h)

    def forward(self, y: Tensor, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """y to (z, log_det), step by step."""
        weights, biases, log_abs_det = self.folded()
        log_det = num_positions(y) * log_abs_det.to(y.dtype).expand(y.shape[0])
        for step, weight, bias in zip(self.steps, weights, biases, strict=True):
            y = mix_channels(y, weight, bias)
            y_a, y_b = step.coupling.split(y)
            log_s, t = step.coupling.params(y_a, h)
            y = step.coupling.join(y_a, y_b * log_s.exp() + t)
            log_det = log_det + sum_except_batch(log_s)
        return y, log_det

    def cast_features(self, h: Tensor | None) -> Tensor | None:
        """h as the couplings read it: cast once, None if they do not look at it."""
        reads_h = any(step.net.h_channels for step in self.steps)
        return self.steps[0].net.cast(h) if h is not None and reads_h else None

    def hidden_bytes(self, y: Tensor) -> int:
        """What the hidden maps of the couplings' networks take."""
        nets = [step.net for step in self.steps]
        channels = sum(net.hidden for net in nets)
        return channels * y[:, :1].numel() * nets[0].cast(y[:0]).element_size()

    def inverse(self, z: Tensor, h: Tensor | None) -> Tensor:
        """z to y: undoes `forward`, its matrices inverted once, :eq:`eq-speed-unfold`."""
        h = self.cast_features(h)
        weights, biases, _ = self.folded()
        inverses, inverse_biases = inverse_affine(weights, biases)
        steps = list(zip(self.steps, inverses, inverse_biases, strict=True))
        for step, weight, bias in reversed(steps):
            z_a, z_b = step.coupling.split(z)
            log_s, t = step.coupling.params(z_a, h)
            y = step.coupling.join(z_a, (z_b - t) * (-log_s).exp())
            z = mix_channels(y, weight, bias)
        return z

    def folded(self) -> tuple[Tensor, Tensor, Tensor]:
        """W e^l (K, C, C), W e^l b (K, C), :eq:`eq-speed-fold`, and the sum over steps of
        log|det W e^l|, :eq:`eq-speed-folded-logdet`, :eq:`eq-speed-batched`."""
        log_scales = torch.stack([step.actnorm.log_scale.flatten() for step in self.steps])
        biases = torch.stack([step.actnorm.bias.flatten() for step in self.steps])
        matrices = torch.stack([step.conv.weight() for step in self.steps])
        log_abs_det = torch.linalg.slogdet(matrices)[1].sum() + log_scales.sum()
        weights = matrices * log_scales.exp()[:, None, :]
        return weights, (weights @ biases[..., None])[..., 0], log_abs_det


def inverse_affine(weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """The inverses of z = W y + b, (K, C, C) and (K, C): y = W^-1 z - W^-1 b."""
    # C x C: exactness is free. Not `inv`, which makes a GPU wait to see whether W is singular:
    # then log|det W| is -inf, and there is no finite loss
    inverses = torch.linalg.inv_ex(weights.double())[0]
    inverse_biases = -(inverses @ biases.double()[..., None])[..., 0]
    return inverses.to(weights.dtype), inverse_biases.to(weights.dtype)


def fuse(layers: Iterable[nn.Module]) -> list[Any]:
    """The layers, with every run of steps of the same width replaced by `FusedSteps`."""
    layers = list(layers)
    parts: list[Any] = []
    while layers:
        if (step := step_of(layers[:3])) is None:
            parts.append(layers.pop(0))
            continue
        if not (parts and isinstance(parts[-1], FusedSteps)):
            parts.append(FusedSteps([]))
        parts[-1].steps.append(step)
        del layers[:3]
    return parts


HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"


def step_of(layers: Sequence[nn.Module]) -> Step | None:
    """Activation normalization, 1x1 convolution, and a coupling whose network shares h. Not a
    class made of these: it may compute something else. Nor one with hooks: they would not run."""
    if [type(layer) for layer in layers] == [ActNorm, Conv1x1, AffineCoupling]:
        step = Step(*cast(Any, layers))
        hooks = any(getattr(layer, name) for layer in layers for name in HOOKS)
        return step if type(step.net) in (CouplingNet, VectorNet) and not hooks else None
    return None


class _Rebuilt(torch.autograd.Function):
    """Steps that keep their output only, however many there are, :eq:`eq-memory-rebuilt`.
    Backward goes step by step: rebuild the step's input, :eq:`eq-memory-rebuild`, then apply the
    chain rule to the step: to the coupling, :eq:`eq-memory-coupling`, its network,
    :eq:`eq-memory-net`, and the matrix, :eq:`eq-memory-matrix`."""

    @staticmethod
    def forward(ctx, fused: FusedSteps, y: Tensor, h: Tensor | None, *parameters: Tensor):
        z, log_det = fused.forward(y, h)
        ctx.fused = fused
        ctx.save_for_backward(z, h, *parameters)
        return z, log_det

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dz: Tensor, dlog_det: Tensor):
        z, h, *parameters = ctx.saved_tensors
        grads_by_id: dict[int, Tensor] = {}  # of parameters
        if h is not None:
            h = h.detach().requires_grad_(ctx.needs_input_grad[2])
        dh = torch.zeros_like(h) if ctx.needs_input_grad[2] else None
        with torch.enable_grad():
            folded = ctx.fused.folded()
        weights, biases, _ = (t.detach() for t in folded)
        inverses, inverse_biases = inverse_affine(weights, biases)
        dweights, dbiases = torch.empty_like(weights), torch.empty_like(biases)
        for k, step in reversed(list(enumerate(ctx.fused.steps))):
            net = [p for p in step.coupling.net.parameters() if p.requires_grad]
            z_a, z_b = step.coupling.split(z)
            dz_a, dz_b = step.coupling.split(dz)
            with torch.enable_grad():
                y_a = z_a.detach().requires_grad_()
                log_s, t = step.coupling.params(y_a, h)
            s = log_s.detach().exp()
            y_b = (z_b - t.detach()) / s
            # z_b = s y_b + t, and log_det has a term log s
            dlog_s = dz_b * y_b * s + dlog_det.reshape([-1] + [1] * (z.dim() - 1))
            pairs = [(t, dz_b), (log_s, dlog_s)][: 1 + log_s.requires_grad]
            outputs, seeds = zip(*pairs, strict=True)
            inputs = [y_a, *net] if dh is None else [y_a, *net, h]
            grads = torch.autograd.grad(outputs, inputs, seeds, allow_unused=True)
            for p, grad in zip(net, grads[1 : 1 + len(net)], strict=True):
                if grad is not None:
                    grads_by_id[id(p)] = grads_by_id[id(p)] + grad if id(p) in grads_by_id else grad
            if dh is not None and grads[-1] is not None:
                dh += grads[-1]
            y = step.coupling.join(z_a, y_b)
            dy = step.coupling.join(dz_a if grads[0] is None else dz_a + grads[0], dz_b * s)
            # y = W u + b
            z = mix_channels(y, inverses[k], inverse_biases[k])
            dz = mix_channels(dy, weights[k].T)
            dweights[k] = torch.einsum("bo...,bi...->oi", dy, z)
            dbiases[k] = dy.sum([0, *range(2, dy.dim())])
        dlog_abs_det = (num_positions(z) * dlog_det.sum()).to(z.dtype)
        layers = [layer for step in ctx.fused.steps for layer in (step.actnorm, step.conv)]
        leaves = [p for layer in layers for p in layer.parameters() if p.requires_grad]
        if leaves:
            grads = torch.autograd.grad(folded, leaves, [dweights, dbiases, dlog_abs_det])
            grads_by_id |= zip(map(id, leaves), grads, strict=True)
        return None, dz, dh, *(grads_by_id.get(id(p)) for p in parameters)
