"""The yardstick for joint models of labels: masked convolutions in raster order, no flow."""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from cnf import noise
from cnf.arguments import Positive
from cnf.factorised import Bernoulli, Entrywise, target
from cnf.features import Spec, build_features, channels_of
from cnf.flow import check_draws
from cnf.nets import CausalNet
from cnf.noise import Generator
from cnf.weights import kind


class Autoregressive(Entrywise):
    r"""A yardstick for joint models of labels, no flow: P(y|x) = prod_i P(y_i | y_<i, x), exact in
    one pass, drawn label after label. Each factor is Bernoulli, its logit from masked convolutions
    (van den Oord et al. 2016) of the labels before and of the features.

    y is folded into blocks of 2x2. The blocks come in raster order, and the four labels of a block
    one after the other. A label sees those before it in its own block, and earlier blocks in the
    field of the masked network: 3 + 2 `blocks` rows up, and as many columns to each side.

    Args:
        features: any module; the model reads h[0], at the resolution of y.
        width, blocks: of the masked network.

    Shapes: y (B, 1, H, W) in {0, 1}, H and W even; v is -1 or 1. A label is 1 where its logit +
    temperature eps, eps logistic, is above 0; temperature 0 takes the likelier label each time.
    Where a picture is padded, the padding is scored as given and drawn freely, see
    `scored.model.log_prob_inside`. Raises DataError for other y.
    """

    labels = Bernoulli.labels

    def __init__(self, features: nn.Module, width: int = 64, blocks: int = 3):
        super().__init__()
        self.features = features
        self.multiple = math.lcm(2, getattr(features, "multiple", 1))
        self.factor = getattr(features, "factor", 1)
        self.net = CausalNet(4, 4 * channels_of(features)[0], width, blocks)

    def condition(self, x: Tensor) -> list[Tensor]:
        return [F.pixel_unshuffle(self.maps(x)[0], 2)]

    def entries(self, y: Tensor, h: list[Tensor]) -> Tensor:
        """log P(y_i | y_<i, x), nats, (B, 1, H, W)."""
        like = F.pixel_shuffle(h[0][:, :4], 2).to(self.dtype)
        sign = F.pixel_unshuffle(2 * target(self, y, 2, like) - 1, 2)
        return F.pixel_shuffle(F.logsigmoid(sign * self.net(sign, h[0])[:, :, 0]), 2)

    def sample_given(
        self, h: list[Tensor], n: int = 1, temperature: float = 1.0, generator: Generator = None
    ) -> Tensor:
        check_draws(temperature, n)
        repeated_h = h[0].to(self.dtype).repeat(n, 1, 1, 1)
        generator = noise.repeated(generator, n, len(h[0]))
        shape = (len(repeated_h), 4, *repeated_h.shape[-2:])
        v = temperature * noise.logistic(shape, generator, repeated_h)

        def choose(logit: Tensor, channel: int, at: Any) -> Tensor:
            return (logit[:, 0] + v[:, channel][at] > 0).to(v.dtype) * 2 - 1

        sign = self.net.sample_sequentially(repeated_h, choose)
        return F.pixel_shuffle(sign, 2).unflatten(0, (n, -1))


@kind("exact_yardstick/autoregressive")
def autoregressive(features: Spec, width: Positive = 64, blocks: Positive = 3) -> Autoregressive:
    return Autoregressive(build_features(features, levels=0), width, blocks)
