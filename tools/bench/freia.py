import math

import numpy as np
from FrEIA.framework import ConditionNode, GraphINN, InputNode, Node, OutputNode
from FrEIA.modules import AllInOneBlock, IRevNetDownsampling, Split
from torch import Tensor

from tools.bench.work import Adapter, Net, Work


class Freia(Adapter):
    """FrEIA 0.2: a GraphINN of AllInOneBlock, IRevNetDownsampling and Split.

    Where it is not the work of the others:
    - The 1x1 convolution is a fixed rotation (`permute_soft`): the same multiplications, but no
      gradient, no log-determinant and, on the way back, no inverse. Favours FrEIA.
    - A block is coupling, actnorm, rotation. The first coupling of a level therefore meets y
      itself, whose gradient nobody asks for on the first level. Favours FrEIA, when the features
      have no gradient either: one of 3 x 8 networks then skips a third of its first convolution.
    - The actnorm has a softplus in place of the exponential, the coupling a clamp of 2 and a factor
      of 0.1. Same cost.
    - The density of the latents is the user's to add: here, in one line. Same cost.
    """

    def __init__(self, work: Work):
        super().__init__(work)
        np.random.seed(0)  # its rotations come from here

        def net(in_channels: int, out_channels: int) -> Net:
            return Net(in_channels, out_channels, work.width)

        node = InputNode(work.channels, work.side, work.side)
        nodes, conditions, ends = [node], [], []
        for level, (_, side) in enumerate(work.shapes):
            condition = ConditionNode(work.features, side, side)
            conditions.append(condition)
            node = Node(node, IRevNetDownsampling, {})
            nodes.append(node)
            for _ in range(work.depth):
                options = {"subnet_constructor": net, "permute_soft": True}
                node = Node(node, AllInOneBlock, options, conditions=condition)
                nodes.append(node)
            if level < work.levels - 1:
                node = Node(node, Split, {})
                nodes.append(node)
                ends.append(OutputNode(node.out1))
                node = node.out0
        self.graph = GraphINN([*nodes, *conditions, *ends, OutputNode(node)])

    def encode(self, y: Tensor, h: list[Tensor]) -> list[Tensor]:
        return list(self.graph(y, c=h)[0])

    def decode(self, latents: list[Tensor], h: list[Tensor]) -> Tensor:
        return self.graph(latents, c=h, rev=True)[0]

    def log_prob(self, y: Tensor, h: list[Tensor]) -> Tensor:
        latents, log_det = self.graph(y, c=h)
        square = sum(z.square().flatten(1).sum(1) for z in latents)
        return log_det - 0.5 * square - 0.5 * math.log(2 * math.pi) * y[0].numel()

    def sample(self, h: list[Tensor]) -> Tensor:
        shapes = self.graph.global_out_shapes
        return self.decode([h[0].new_empty(len(h[0]), *s).normal_() for s in shapes], h)
