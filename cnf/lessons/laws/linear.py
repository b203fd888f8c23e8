"""Laws of Conv1x1 and Squeeze, which mix or move the numbers of a picture."""

import torch
import torch.nn.functional as F
from torch import Tensor

from cnf.lessons.laws.common import (
    BIJECTION,
    CUT,
    IMAGE,
    STATE,
    case_of,
    given,
    right_term,
    term,
    with_names,
)
from cnf.testing import Case, Fault, Law, agree, apart, named

PIXELS = 28  # H W


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
    found: list[Tensor | None] = [None]
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
        found = made(channels)(torch.randn(5, channels, 2, 4), None)[1]
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
