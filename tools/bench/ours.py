from torch import Tensor, nn

from cnf.flow import ConditionalFlow
from cnf.layers import ActNorm, AffineCoupling, Conv1x1, GaussianPrior, Split, Squeeze
from cnf.nets import CouplingNet, set_precision
from tools.bench.work import Adapter, Work


class Ours(Adapter):
    """This package. `fast` runs the fused steps, `recompute` rebuilds activations in backward,
    `bf16` runs the networks in bfloat16.

    The work is defined by this flow: nothing differs. The first convolution of a network is written
    as the sum of its parts for y_a and for h; without a gradient for h it therefore skips the
    gradient of the features, which the others compute with that of y_a and drop.
    """

    def __init__(self, work: Work, fast: bool = True, recompute: bool = False, bf16: bool = False):
        super().__init__(work)
        layers = []
        for level, (channels, _) in enumerate(work.shapes):
            layers.append(Squeeze())
            for _ in range(work.depth):
                num_kept, num_changed = channels - channels // 2, channels // 2
                net = CouplingNet(num_kept, work.features, 2 * num_changed, work.width, h_kernel=3)
                layers += [ActNorm(channels), Conv1x1(channels), AffineCoupling(channels, net)]
            last = level == work.levels - 1
            layers.append(GaussianPrior(channels) if last else Split(channels))
        feature_network = nn.Identity()  # where the feature network would be
        feature_network.channels = [0, *[work.features] * work.levels]
        self.flow = ConditionalFlow(layers, feature_network)
        self.flow.fast, self.flow.recompute = fast, recompute
        set_precision(self.flow, "bf16" if bf16 else "fp32")

    def last_convs(self) -> list[nn.Conv2d]:
        return [m.last for m in self.modules() if isinstance(m, CouplingNet)]

    def encode(self, y: Tensor, h: list[Tensor]) -> list[Tensor]:
        return self.flow.encode(y, self.all_levels(h))[0]

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        return self.flow.decode(latents, self.all_levels(h))

    def log_prob(self, y: Tensor, h: list[Tensor]) -> Tensor:
        return self.flow.encode(y, self.all_levels(h))[1]

    def sample_many(self, h: list[Tensor], n: int = 1) -> Tensor:
        return self.flow.sample_given(self.all_levels(h), n, 1.0, None).flatten(0, 1)

    sample = sample_many

    def all_levels(self, h: list[Tensor]) -> list[Tensor]:
        """Our h[0] belongs to the resolution of y, where this flow has no layer: no channels."""
        batch, side = h[0].shape[0], self.work.side
        return [h[0].new_zeros(batch, 0, side, side), *h]
