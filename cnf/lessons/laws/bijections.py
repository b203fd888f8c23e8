"""Laws of ActNorm, Coupling, Conv1x1 and Squeeze."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.lessons.laws.common import (
    BIJECTION,
    CUT,
    FIRST,
    STATE,
    case_of,
    given,
    returned,
    right_term,
    saturate,
    term,
    with_names,
)
from cnf.testing import Case, Fault, Law, Map, agree, apart, likely, named, placed, tried

IMAGE = (3, 2, 5)  # C, H, W: no product of two of them is another
PIXELS = 10  # H W


def actnorm(made: type) -> tuple[Case, dict[str, Law]]:
    own = named(first_batch, first_term, once, scoring)
    return case_of(lambda: made(3), IMAGE), FIRST | named(parameters) | BIJECTION | own | STATE


def unlike_batch() -> Tensor:
    """64 pictures whose channels have other means and deviations."""
    shape = (3, 1, 1)
    mean, std = torch.tensor([3.0, -1.0, 5.0]), torch.tensor([0.5, 2.0, 4.0])
    return mean.view(shape) + std.view(shape) * torch.randn(64, *IMAGE)


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
        "l is minus the logarithm of the variance": torch.stack([0 * mean, 1 / std]),
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
    layer(y, None)
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
    if layer.train()(y, None)[0].mean().abs() > 0.1:
        words = "the buffer is set in evaluation mode, too"
        raise Fault("after a batch in evaluation mode the first of training sets nothing", words)


def parameters(case: Case) -> None:
    """l and b are parameters: training changes them."""
    layer = case.new().layer
    for _ in range(2):  # before and after the first batch
        count = sum(p.numel() for p in layer.parameters())
        if count != 6:
            words = "l and b have one number a channel each, as nn.Parameter"
            raise Fault(f"of 3 channels it has {count} parameters, not 6", words)
        layer(case.given[0], None)


def coupling(made: type) -> tuple[Case, dict[str, Law]]:
    case = case_of(lambda: made(1, 2, 2), (3, 2, 2), (2, 2, 2))
    log_det = with_names(BIJECTION["log_det"], term, of_a_coupling)
    undone = with_names(BIJECTION["inverse"], returned, unbounded)
    return case, BIJECTION | {"log_det": log_det, "inverse": undone} | OF_A_COUPLING | STATE


def of_a_coupling(case: Case) -> dict[str, Tensor]:
    layer, y, h = given(case)
    log_s = case.map.jacobian(y, h).diagonal(dim1=1, dim2=2).abs().log()
    return {
        "it is the sum of what the network gives, before m tanh(. / m)": 1.5
        * (log_s / 1.5).atanh().sum(1)
    }


def unbounded(case: Case) -> dict[str, Tensor]:
    """What back gives if it takes raw for log s = 1.5 tanh(raw / 1.5)."""
    _, y, h = given(case)
    s = case.map.jacobian(y, h).diagonal(dim1=1, dim2=2)
    raw = 1.5 * (s.abs().log() / 1.5).atanh()
    return {"log s is bounded in forward alone, not in back": s * y.flatten(1) * (-raw).exp()}


def passing(layer: Any, y: Tensor, h: Tensor) -> list[int]:
    """The channels of y that are channels of z, too."""
    z = layer(y, h)[0]
    channels = range(y.shape[1])
    return [k for k in channels if any(apart(z[:, i], y[:, k]) < 1e-12 for i in channels)]


def passes(case: Case) -> None:
    """num_a channels pass, num_b are changed."""
    found = len(passing(*given(case)))
    if found != 1:
        words = {
            3: "nothing is changed",
            2: "num_a are to pass, num_b to be changed",
            0: "z_a is to be y_a, as it is",
        }
        raise Fault(f"of num_a + num_b = 1 + 2 channels {found} pass, not 1", words[found])


def sees(case: Case) -> None:
    """What is changed depends on what passes."""
    layer, y, h = given(case)
    (a,) = passing(layer, y, h)
    other = y.clone()
    other[:, a] += 1
    kept = [k for k in range(3) if k != a]
    before, after = (layer(t, h)[0] for t in (y, other))
    same = [i for i in range(3) if apart(after[:, i], before[:, i]) < 1e-12]
    if len(same) >= len(kept):
        raise Fault("z_b does not depend on y_a", "the network does not see y_a")


def without_h(case: Case) -> None:
    """num_h = 0: h has no channels."""
    made = type(given(case)[0])
    y, h = torch.randn(5, 3, 2, 2), torch.randn(5, 0, 2, 2)
    error = tried(lambda case: made(1, 2, 0).double()(y, h), case)
    if error is not None:
        words = "h may have no channels: torch.cat([y_a, h], 1) is y_a then"
        raise Fault(f"with num_h = 0: {placed(error)}", words)


def bounded(case: Case) -> None:
    """A network that gives 100 makes nothing infinite in float32."""
    layer, (y, h) = case.new(torch.float32).layer, (t.float() for t in case.given)
    saturate(layer, 100.0)
    if not layer(y, h)[0].isfinite().all():
        words = "log s is not bounded: exp of 89 is too large. m tanh(raw / m) is"
        raise Fault("z is not finite where the network gives 100", words)


def triangular(case: Case) -> None:
    """What scales and shifts a number does not depend on any number that is changed."""
    layer, y, h = given(case)
    changed = [k for k in range(3) if k not in passing(layer, y, h)]
    if len(changed) != 2:
        return  # another law says so
    z = layer(y, h)[0].detach()
    names = [k for k in range(3) if not any(apart(z[:, k], y[:, i]) < 1e-12 for i in range(3))]
    back = Map(layer, lambda layer, z, h: (layer.back(z, h, 1.0), None))
    ways = [
        (case.map, y, changed, "the network sees y_b, which it changes: give it y_a and h alone"),
        (back, z, names, "in back the network does not see z_a alone: which half does it get?"),
    ]
    for made, start, moving, words in ways:
        other = start.clone()
        other[:, moving] += 1
        slopes, shifted = (
            made.jacobian(t, h).view(-1, 12, 3, 4)[:, :, moving] for t in (start, other)
        )
        several = (slopes.flatten(2).abs() > 1e-9).sum(2).max() > 1
        if several or apart(shifted, slopes) > 1e-9:
            raise Fault("dz_b / dy_b is no diagonal that y_a and h decide", words)


OF_A_COUPLING = named(passes, triangular, sees, without_h, bounded)


def conv1x1(made: type) -> tuple[Case, dict[str, Law]]:
    case = case_of(lambda: made(3), IMAGE)
    log_det = with_names(BIJECTION["log_det"], term, of_a_matrix)
    own = named(mixes, learnt, orthogonal, both_signs)
    return case, BIJECTION | {"log_det": log_det} | own | STATE


def of_a_matrix(case: Case) -> dict[str, Tensor]:
    true = right_term(case)
    det = (true / PIXELS).exp()
    ones = PIXELS * torch.ones_like(true)
    return {
        "it is the sign that slogdet returns first": ones,
        "it is the sign that slogdet returns first: of a negative one": -ones,
        "it is |det W|, its logarithm is missing": PIXELS * det,
        "it is det W, and neither its logarithm nor its sign is right": -PIXELS * det,
    }


def mixes(case: Case) -> None:
    """Every channel at a position is a sum over all channels there, and of no other position."""
    layer, y, h = given(case)
    slopes = case.map.jacobian(y, h)[0].view(3, PIXELS, 3, PIXELS)
    own = slopes.diagonal(dim1=1, dim2=3)
    if apart(own[..., :1].expand_as(own), own) > 1e-10:
        raise Fault("the matrix differs from position to position", "one matrix for all positions")
    if (own.abs() < 1e-12).any():
        raise Fault("a channel does not enter another", "W is diagonal, or a permutation")
    if slopes.abs().sum() - own.abs().sum() > 1e-10:
        raise Fault("z depends on other positions", "W is to see the channels of one position")


def learnt(case: Case) -> None:
    """W is a parameter, or made of parameters: training changes it."""
    layer, y, h = given(case)
    z = layer(y, h)[0]
    weights = [p for p in layer.parameters() if p.requires_grad]
    found = [None]
    if z.requires_grad and weights:
        found = [*torch.autograd.grad(z.square().sum() + z.sum(), weights, allow_unused=True)]
    if any(g is not None for g in found):
        return
    words = "W is to be an nn.Parameter: a buffer or a plain tensor is not trained"
    raise Fault("no weight of the layer changes z", CUT if weights else words)


def orthogonal(case: Case) -> None:
    """At the start the squared length of the channels at a position is kept."""
    y = case.given[0]
    z = case.new().layer(y, None)[0]
    words = "W starts as Q of torch.linalg.qr of random numbers"
    agree("|z|^2 of a new layer", z.square().sum(1), y.square().sum(1), 1e-5, words)


def both_signs(case: Case) -> None:
    """The term is finite whatever the sign of det W."""
    made = type(given(case)[0])
    for channels in (2, 3, 2, 3, 2, 3):  # Q of a QR has the same sign for one number of channels
        found = made(channels)(torch.randn(5, channels, 2, 5), None)[1]
        if not torch.as_tensor(found).isfinite().all():
            words = "det W is negative there, and has no logarithm: use torch.linalg.slogdet"
            raise Fault("the term of a new layer is not finite", words)


def squeeze(made: type) -> tuple[Case, dict[str, Law]]:
    return case_of(made, (2, 4, 6)), named(divided, blocks) | BIJECTION


def divided(case: Case) -> None:
    """(C, H, W) becomes (4 C, H/2, W/2)."""
    layer, y, h = given(case)
    shape = tuple(layer(y, h)[0].shape[1:])
    if shape != (8, 2, 3):
        raise Fault(f"of (2, 4, 6) it makes {shape}, not (8, 2, 3)", "(C, H, W): (4 C, H/2, W/2)")


def blocks(case: Case) -> None:
    """The channels at a position of z are those of a 2x2 block of y."""
    layer, y, h = given(case)
    z = layer(y, h)[0]
    words = "numbers that are not neighbours: view and reshape alone do not fold blocks"
    agree("a position of z", positions(z), positions(F.pixel_unshuffle(y, 2)), why=words)
    if apart(layer.back(z, h, 1.0), z.reshape(y.shape)) == 0:
        words = "view and reshape alone do not unfold blocks: F.pixel_shuffle does"
        raise Fault("back leaves the numbers of z in their order", words)


def positions(z: Tensor) -> Tensor:
    """The channels at each position, in order of their size: (B, H, W, C)."""
    return z.permute(0, 2, 3, 1).sort(3).values
