"""The optimizer of a run, and its learning rate."""

import math

import torch
from torch import nn

from cnf.nets import ZeroConv
from cnf.replication.config import TrainingConfig

BETAS = 0.9, 0.99
RELEASED_BETAS, HALVE_EVERY = (0.9, 0.999), 200_000  # of the released code
MOST_COLOURS = 6  # of a picture that a network reads: x and its `fractions`


class Muon(torch.optim.Muon):
    """torch's Muon, which takes matrices, for filters (O, I, k, k) seen as matrices (O, I k k).

    Its steps are scaled to the size of AdamW's ("match_rms_adamw"), so one rate serves both.
    """

    def __init__(self, filters: list[nn.Parameter], lr: float, weight_decay: float):
        matrices = [nn.Parameter(weight.detach().flatten(1).clone()) for weight in filters]
        super().__init__(matrices, lr, weight_decay, adjust_lr_fn="match_rms_adamw")
        self.pairs = list(zip(matrices, filters, strict=True))

    @torch.no_grad()
    def step(self) -> None:
        for matrix, weight in self.pairs:
            matrix.copy_(weight.flatten(1))
            matrix.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()
        for matrix, weight in self.pairs:
            weight.copy_(matrix.view(weight.shape))


class Together:
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


def make(model: nn.Module, options: TrainingConfig) -> torch.optim.Optimizer | Together:
    """AdamW for all weights, with our betas or as released ("amsgrad"); or Muon for hidden filters
    and AdamW for the rest, at one rate."""
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
    return Together(adam, Muon(hidden, options.lr, options.weight_decay))


def restore(optimizer: torch.optim.Optimizer | Together, state: dict) -> None:
    """Take the moments of a checkpoint; rates and decays stay those of this run, which may differ
    in a branch. Raises ValueError or KeyError if the weights are others."""
    together = isinstance(optimizer, Together)
    parts = zip(optimizer.parts, state["parts"], strict=True) if together else [(optimizer, state)]
    for part, saved in parts:
        own = [{k: v for k, v in group.items() if k != "params"} for group in part.param_groups]
        part.load_state_dict(saved)
        for group, options in zip(part.param_groups, own, strict=True):
            group.update(options)


def hidden_filters(model: nn.Module) -> list[nn.Parameter]:
    """Weights of convolutions from one hidden map to another: those that read a picture or what the
    flow transforms, and those that write a layer's parameters, are not among them, but for `last`
    of an autoregressive prior's network, and its `own` where y has more than 6 channels."""
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
