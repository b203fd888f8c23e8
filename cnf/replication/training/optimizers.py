"""The optimizer of a run, and its learning rate."""

import math

import torch
from torch import Tensor, nn

from cnf.nets import ZeroConv
from cnf.replication.config import TrainingConfig

BETAS = 0.9, 0.99
RELEASED_BETAS, HALVE_EVERY = (0.9, 0.999), 200_000  # of the released code
MOST_COLOURS = 6  # largest number of channels of a picture that a network reads: x and `fractions`


class Muon(torch.optim.Muon):
    """torch's Muon, which takes matrices, for filters (O, I, k, k) seen as matrices (O, I k k).

    Its steps are scaled to the size of AdamW's ("match_rms_adamw"), so one rate serves both.
    """

    def __init__(self, filters: list[Tensor], lr: float, weight_decay: float):
        matrices = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in filters]
        super().__init__(matrices, lr, weight_decay, adjust_lr_fn="match_rms_adamw")
        self.pairs = list(zip(matrices, filters, strict=True))

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]  # there is no closure in our loop
        for matrix, weight in self.pairs:
            matrix.copy_(weight.flatten(1))
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()
        for matrix, weight in self.pairs:
            weight.copy_(matrix.view(weight.shape))


class OptimizerGroup:
    """Optimizers of different weights as one."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}


def make_optimizer(
    model: nn.Module, options: TrainingConfig
) -> torch.optim.Optimizer | OptimizerGroup:
    """AdamW for all weights, with our betas or those of the released code ("amsgrad"); or Muon for
    hidden filters and AdamW for the rest, at one rate."""
    hidden = hidden_filters(model) if options.optimizer == "muon" else []
    taken = {id(weight) for weight in hidden}
    amsgrad = options.optimizer == "amsgrad"
    adam = torch.optim.AdamW(
        [weight for weight in model.parameters() if id(weight) not in taken],
        lr=options.lr,
        betas=RELEASED_BETAS if amsgrad else BETAS,
        weight_decay=options.weight_decay,
        amsgrad=amsgrad,
        fused=True,
    )
    if not hidden:
        return adam
    return OptimizerGroup(adam, Muon(hidden, options.lr, options.weight_decay))


def restore(optimizer: torch.optim.Optimizer | OptimizerGroup, state: dict) -> None:
    """Load the moments of a checkpoint. Rates and decays stay those of this run, because a branch
    may have others. Raises ValueError or KeyError if the weights do not fit."""
    if isinstance(optimizer, OptimizerGroup):
        parts, states = optimizer.parts, state["parts"]
    else:
        parts, states = (optimizer,), [state]
    for part, saved in zip(parts, states, strict=True):
        current = [{k: v for k, v in group.items() if k != "params"} for group in part.param_groups]
        part.load_state_dict(saved)
        for group, options in zip(part.param_groups, current, strict=True):
            group.update(options)


def hidden_filters(model: nn.Module) -> list[Tensor]:
    """Weights of convolutions from one hidden map to another. Convolutions that read a picture or
    the variables of the flow, and those that write the parameters of a layer, are not among them,
    with two exceptions: `last` of an autoregressive prior's network, and its `own` if y has more
    than 6 channels."""
    return [
        part.weight
        for name, part in model.named_modules()
        if isinstance(part, nn.Conv2d)
        and not isinstance(part, ZeroConv)
        and not name.endswith("from_y")
        and min(part.in_channels, part.out_channels) > MOST_COLOURS
    ]


def learning_rate(options: TrainingConfig, step: int, steps: int) -> float:
    """Learning rate of update number `step` (from 0) of `steps`.

    Linear warm-up over `options.warmup` updates, times a schedule: "cosine" falls from 1 to 0 at
    `steps`; "halving" halves every HALVE_EVERY updates; "constant" is 1. Over the last
    `options.cool` of the steps, as a share, times 1 - sqrt(t), t from 0 to 1: until then a constant
    rate does not depend on `steps`, and a run can be made longer or be cooled at any step.
    """
    warm = min(1.0, (step + 1) / options.warmup) if options.warmup else 1.0
    factor = 1.0
    if options.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
    elif options.schedule == "halving":
        factor = 0.5 ** (step // HALVE_EVERY)
    if options.cool:
        cooled = 1 - (steps - step) / (options.cool * steps)
        factor *= 1 - math.sqrt(min(max(cooled, 0.0), 1.0))
    return options.lr * warm * factor
