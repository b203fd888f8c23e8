from normflows import MultiscaleFlow
from normflows.distributions import DiagGaussian
from normflows.flows import GlowBlock, Merge, Squeeze
from torch import Tensor, nn

from tools.bench.work import Adapter, ContextNet, Work


class HeldNet(nn.Module):
    """A network of y_a alone to normflows: the features of its level lie in `held`."""

    def __init__(self, net: ContextNet, held: list[Tensor], level: int):
        super().__init__()
        self.net, self.held, self.level = net, held, level

    def forward(self, y_a: Tensor) -> Tensor:
        return self.net(y_a, self.held[self.level])


class Normflows(Adapter):
    """normflows 1.7.3: a MultiscaleFlow of Squeeze and GlowBlock.

    Where it is not the work of the others:
    - Its layers take no context: the network of each block is replaced by one of the same widths
      that finds the features where the adapter lays them. Same cost.
    - The 1x1 convolution has the full matrix, as ours, not LU, the default: equal parameters, and
      the faster of the two here.
    - Couplings with `scale_map="exp"`, unbounded; a sigmoid or tanh would cost more. Favours
      normflows, by little.
    """

    def __init__(self, work: Work):
        super().__init__(work)
        self.held: list[Tensor] = []
        flows, bases = [], []
        for level, (channels, side) in reversed(list(enumerate(work.shapes))):  # from z to y
            steps = []
            for _ in range(work.depth):
                num_kept, num_changed = channels - channels // 2, channels // 2
                net = ContextNet(num_kept + work.features, 2 * num_changed, work.width)
                block = GlowBlock(channels, work.width, scale_map="exp", use_lu=False)
                coupling = block.flows[0].flows[1]
                coupling.param_map = HeldNet(net, self.held, level)
                steps.append(block)
            flows.append([*steps, Squeeze()])
            num_left = channels if level == work.levels - 1 else channels // 2
            bases.append(DiagGaussian((num_left, side, side), trainable=False))
        merges = [Merge() for _ in range(work.levels - 1)]
        self.flow = MultiscaleFlow(bases, flows, merges, class_cond=False)

    def encode(self, y: Tensor, h: list[Tensor]) -> list[Tensor]:
        self.held[:] = h
        return self.flow.inverse_and_log_det(y)[0]

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        self.held[:] = h
        return self.flow.forward_and_log_det(latents)[0]

    def log_prob(self, y: Tensor, h: list[Tensor]) -> Tensor:
        self.held[:] = h
        return self.flow.log_prob(y, None)

    def sample(self, h: list[Tensor]) -> Tensor:
        self.held[:] = h
        return self.flow.sample(len(h[0]))[0]
