"""The flow with a per-pixel loss beside its likelihood."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cnf.arguments import Positive
from cnf.features import Spec, channels_of
from cnf.flow import ConditionalFlow
from cnf.glow import Q_WIDTH, GlowConfig, features_of, glow_layers
from cnf.noise import Generator
from cnf.weights import kind


class FlowWithPixelLoss(ConditionalFlow):
    """A flow of labels that is trained by -log p and `weight` times a per-pixel cross-entropy on
    h[0], in nats per pixel, :eq:`eq-vflow-auxiliary`. The likelihood does not contain this term."""

    def __init__(self, layers, features: nn.Module, weight: float):
        super().__init__(layers, features)
        self.weight = weight
        self.head = nn.Conv2d(channels_of(features)[0], 1, 1)

    def loss(
        self, y: Tensor, x: Tensor, generator: Generator = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        h = self.condition(x)
        nats = -self.log_prob_given(y, h, generator).mean() / y[0].numel()
        logits = self.head(h[0].to(self.dtype))
        cross_entropy = F.binary_cross_entropy_with_logits(logits, y.to(self.dtype))
        logs = {"nats": nats.detach(), "cross_entropy": cross_entropy.detach()}
        return nats + self.weight * cross_entropy, logs


@kind("likelihood_alone/with_pixel_loss")
def with_pixel_loss(
    channels: Positive,
    bins: Positive,
    features: Spec,
    options: GlowConfig,
    auxiliary: Annotated[float, Field(gt=0)] = 0.5,
    q_width: Positive = Q_WIDTH,
) -> FlowWithPixelLoss:
    network = features_of(options, features)
    layers = glow_layers(options, channels, network, bins, q_width)
    return FlowWithPixelLoss(layers, network, auxiliary)
