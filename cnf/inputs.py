"""What a model is given: as tensors, and refused with a remedy where it does not fit."""

import math

import numpy as np
import torch
from torch import Tensor, nn

from cnf.errors import DataError
from cnf.layers.base import check_all, check_finite, check_pairs


def tensor(
    t: Tensor | np.ndarray, name: str, device: torch.device | None, dtype: torch.dtype
) -> Tensor:
    """What `ConditionalModel.tensor` makes of t for weights on a device (None: there are none) and
    of a type."""
    if isinstance(t, np.ndarray):
        t = torch.as_tensor(np.ascontiguousarray(t), device=device)
    if not isinstance(t, Tensor):
        raise DataError(f"{name} is a {type(t).__name__}: give a tensor, or a NumPy array")
    if device is not None and t.device != device:
        remedy = f"give {name}.to('{device}')"
        if "meta" in (t.device.type, device.type):
            remedy = "make it anew, meta tensors hold no values"
        raise DataError(f"{name} is on {t.device}, but the model is on {device}: {remedy}")
    if t.layout != torch.strided:
        raise DataError(f"{name} is sparse: give {name}.to_dense()")
    if t.is_complex():
        raise DataError(f"{name} is complex: give real numbers")
    return t if t.is_floating_point() else t.to(dtype)


def check_batch(x: Tensor) -> None:
    """Raise DataError unless x is a batch, of pictures or of vectors."""
    if x.dim() not in (2, 4):
        raise DataError(
            f"x is {tuple(x.shape)}: give a batch (B, C, H, W) of pictures or (B, D) of "
            "vectors, of one by x[None]"
        )
    if x.shape[0] == 0:
        raise DataError("x holds no picture or vector: give one or more")


def check_channels(x: Tensor, reads: int) -> None:
    """Raise DataError unless x has the channels that the model reads."""
    if x.shape[1] != reads:
        remedy = f"give {reads}"
        if x.dim() == 2:
            remedy = f"give (B, {reads})"
        elif x.shape[1] == 1:
            remedy = f"give a grey picture as x.expand(-1, {reads}, -1, -1)"
        elif (x.shape[1], reads) in ((2, 1), (4, 3)):
            remedy = f"give x[:, :{reads}], without alpha"
        elif x.shape[-1] == reads:
            remedy = "give x.permute(0, 3, 1, 2), its channels first"
        raise DataError(f"x has {x.shape[1]} channels, but the model reads {reads}: {remedy}")


def check_precision(x: Tensor, weights: torch.dtype) -> None:
    """Raise DataError if z or the weights would be of 16 bits."""
    if x.device.type != "meta" and torch.is_autocast_enabled(x.device.type):
        raise DataError(
            "autocast is on, which would round z, too: leave it, and run the networks alone in "
            "16 bits by cnf.nets.set_precision(model, 'bf16')"
        )
    if weights in (torch.float16, torch.bfloat16):
        raise DataError(
            f"the weights are {str(weights).removeprefix('torch.')}, too coarse for "
            "log-determinants: call model.float(), and run the networks alone in 16 bits by "
            "cnf.nets.set_precision(model, 'bf16')"
        )


def check_values(x: Tensor, model: nn.Module, grey_levels: bool) -> None:
    """Raise DataError if x is not finite (in training: on the CPU only), or, where it reads grey
    levels and does not train, lies in 0..1."""
    if x.device.type == "meta" and not model.training:
        raise DataError("x is on meta, and meta tensors hold no values: make it anew")
    check_finite(model, x, "x")
    if grey_levels and not model.training:
        is_scaled = (x >= 0).all() & (x <= 1).all() & (x != x.floor()).any()
        check_all(~is_scaled, lambda: "x lies in 0..1, but levels are 0 to 255: give 255 * x")


def check_size(x: Tensor, multiple: int, factor: int) -> None:
    """Raise DataError unless the sides of x are multiples of what a model takes whose y are of
    multiples of `multiple`, and `factor` times as large."""
    if x.dim() == 2 and multiple > 1:
        raise DataError(
            f"x is {tuple(x.shape)}, vectors, but this model works on pictures (B, C, H, W) "
            f"whose sizes are multiples of {multiple}: for vectors there is "
            f"cnf.vector_flow(features, context={x.shape[1]})"
        )
    step = multiple // math.gcd(multiple, factor)
    if any(size % step for size in x.shape[2:]):
        height, width = x.shape[2:]
        larger = "x".join(str(-(-size // step) * step) for size in (height, width))
        raise DataError(
            f"x is {height}x{width}, but its sizes must be multiples of {step}: crop it, or "
            f"pad it to {larger} and crop y"
        )


def check_y(y: Tensor, h: Tensor, channels: int | None) -> None:
    """Raise DataError unless y is a batch of the size of h, the map of the first level, with so
    many channels; None: any."""
    if y.shape[0] == 0:
        raise DataError("y holds no picture or vector: give one or more")
    if y.dim() != h.dim() or y.shape[2:] != h.shape[2:]:
        size = f"(H, W) = {tuple(h.shape[2:])}: give (B, C, H, W) of it"
        wanted = size if h.dim() == 4 else "vectors: give (B, D)"
        raise DataError(f"y is {tuple(y.shape)}, but x asks for {wanted}")
    if channels not in (None, y.shape[1]):
        raise DataError(
            f"y is {tuple(y.shape)}, of {y.shape[1]} channels, but the model is of y of "
            f"{channels}: give {(len(y), channels, *y.shape[2:])}"
        )
    check_pairs(y, h)


def check_draws(temperature: float, n: int = 1) -> None:
    """Raise DataError unless n >= 1, and the temperature is finite and >= 0."""
    if n < 1 or n != int(n):
        raise DataError(f"n = {n}: draw 1 sample or more, a whole number")
    if not 0 <= temperature < math.inf:
        raise DataError(
            f"temperature = {temperature}: choose a finite value >= 0 (1 samples the model)"
        )
