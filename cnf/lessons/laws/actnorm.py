"""Laws of ActNorm: its term, and what the first batch sets."""

import copy

import torch
from torch import Tensor

from cnf.lessons.laws.common import (
    BIJECTION,
    FIRST,
    IMAGE,
    STATE,
    case_of,
    given,
    term,
    with_names,
)
from cnf.testing import Case, Fault, Law, agree, apart, likely, named


def actnorm(made: type) -> tuple[Case, dict[str, Law]]:
    own = named(first_batch, first_term, once, scoring)
    log_det = {"log_det": with_names(BIJECTION["log_det"], term, of_a_scale)}
    laws = FIRST | named(parameters) | BIJECTION | log_det | own | STATE
    return case_of(lambda: made(3), IMAGE), laws


def of_a_scale(case: Case) -> dict[str, Tensor]:
    layer, y, h = given(case)
    log_s = case.map.jacobian(y, h).diagonal(dim1=1, dim2=2).log()
    return {"|l| stands for l": log_s.abs().sum(1)}


def unlike_batch() -> Tensor:
    """64 pictures whose channels have other means and deviations, brighter from left to right."""
    shape = (3, 1, 1)
    mean, std = torch.tensor([3.0, -1.0, 5.0]), torch.tensor([0.5, 2.0, 4.0])
    noise = torch.randn(64, *IMAGE) + torch.linspace(-1, 1, IMAGE[2])
    return mean.view(shape) + std.view(shape) * noise


def first_batch(case: Case) -> None:
    """The first batch leaves with mean 0 and variance 1 in every channel."""
    layer, y = case.new().layer, unlike_batch()
    z = layer(y, None)[0].detach()
    std, mean = torch.std_mean(y, (0, 2, 3))
    off = y - mean.view(3, 1, 1)

    def size(t: Tensor) -> Tensor:
        return t.mean((0, 2, 3))

    found = torch.stack([z.mean((0, 2, 3)), z.std((0, 2, 3))])
    table = {
        "the first batch sets nothing": torch.stack([mean, std]),
        "b is the mean, not its negative": torch.stack([2 * mean / std, 1 + 0 * std]),
        "b is not set": torch.stack([mean / std, 1 + 0 * std]),
        "l is not set": torch.stack([0 * mean, std]),
        "l is the logarithm of the deviation, not its negative": torch.stack([0 * mean, std**2]),
        "l is minus the deviation: its logarithm is missing": torch.stack(
            [0 * mean, std * (-std).exp()]
        ),
        "l is 1 / deviation: its logarithm is missing": torch.stack(
            [0 * mean, std * (1 / std).exp()]
        ),
        "l is minus the logarithm of the variance": torch.stack([0 * mean, 1 / std]),
        "l is half of what it should be: a square root too many": torch.stack(
            [0 * mean, std.sqrt()]
        ),
        "b is minus the mean, before exp(l) scales the mean as well": torch.stack(
            [mean / std - mean, 1 + 0 * std]
        ),
        "l is found from a deviation at each position: that of all positions is larger": (
            torch.stack([0 * mean, std / y.std(0).mean((1, 2))])
        ),
        "b is the mean over the deviation: z = exp(l) (y + b) divides once more": torch.stack(
            [(mean - mean / std) / std, 1 + 0 * std]
        ),
        "l is found from all channels together, not from each": torch.stack(
            [0 * mean, std / y.std()]
        ),
        "b is found from all channels together, not from each": torch.stack(
            [(mean - y.mean()) / std, 1 + 0 * std]
        ),
        "l and b are found from all channels together, not from each": torch.stack(
            [(mean - y.mean()) / y.std(), std / y.std()]
        ),
        "l is found from the mean of |y - mean|, not from the deviation": torch.stack(
            [0 * mean, std / size(off.abs())]
        ),
        "l is found from the mean of |y|, not from the deviation": torch.stack(
            [0 * mean, std / size(y.abs())]
        ),
        "l is found from the mean of y^2: the mean is not subtracted first": torch.stack(
            [0 * mean, std / size(y.square()).sqrt()]
        ),
        "l is found from the largest |y - mean|, not from the deviation": torch.stack(
            [0 * mean, std / off.abs().amax((0, 2, 3))]
        ),
    }
    right = torch.stack([0 * mean, 1 + 0 * std])
    words = likely(found, right, table, 0.01)
    for name, row, target in zip(("mean", "deviation"), found, right, strict=True):
        agree(f"the {name} of a channel of the first batch", row, target, 0.01, words)


def first_term(case: Case) -> None:
    """The term of the first batch is that of the l which it sets."""
    layer, y = case.new().layer, unlike_batch()
    before = torch.as_tensor(copy.deepcopy(layer).eval()(y, None)[1]).expand(len(y))
    found = torch.as_tensor(layer(y, None)[1]).expand(len(y))
    right = torch.as_tensor(layer(y, None)[1]).expand(len(y))
    words = "it is computed before the first batch sets l: set l first"
    agree("the term of the first batch", found, right, 1e-6, words * (apart(found, before) < 1e-9))


def once(case: Case) -> None:
    """The first batch sets l and b, no other."""
    layer = case.new().layer
    y = torch.randn(64, *IMAGE)
    layer.back(layer(y, None)[0], None, 1.0)
    if layer(y + 3, None)[0].mean().abs() < 0.1:
        words = "every batch sets l and b: the buffer does not say that one has been seen"
        raise Fault("a second batch leaves with mean 0, too", words)


def scoring(case: Case) -> None:
    """A batch in evaluation mode sets nothing, and is not the first batch."""
    layer, y = case.new().layer.eval(), 3 + 2 * torch.randn(64, *IMAGE)
    before = [p.detach().clone() for p in layer.parameters()]
    layer(y, None)
    if any((p != old).any() for p, old in zip(layer.parameters(), before, strict=True)):
        words = "a batch that is only scored sets nothing: if self.training and ..."
        raise Fault("a first batch in evaluation mode sets l and b", words)
    right = case.new().layer(y, None)[0]
    if apart(layer.train()(y, None)[0], right) > 1e-9:
        words = "the buffer is set in evaluation mode, too"
        raise Fault("after a batch in evaluation mode the first of training sets nothing", words)


def parameters(case: Case) -> None:
    """l and b are parameters: training changes them."""
    layer = case.new().layer
    for _ in range(2):  # before and after the first batch
        count = sum(p.numel() for p in layer.parameters() if p.requires_grad)
        if count != 6:
            words = "l and b have one number a channel each, as nn.Parameter"
            raise Fault(f"of 3 channels it trains {count} parameters, not 6", words)
        layer(case.given[0], None)
