import torch
from torch import Tensor, nn

from cnf.layers.base import Bijection, constant, mix_channels, num_positions


class Conv1x1(Bijection):
    r"""Multiply the channels of every position with one invertible matrix.

    Forward:  z = W y                                                   :eq:`eq-norms-conv`
    Inverse:  y = W^-1 z
    log|det|: H W log|det W|                                     (Glow) :eq:`eq-norms-conv`

    Args:
        channels: number of channels C.
        lu: store W as P L U, whose log-determinant is the sum of log|diag U| (C operations instead
            of C^3, in the layer; a flow that fuses its steps multiplies the matrix out),
            :eq:`eq-norms-lu`. P and the signs of diag U stay as they start.

    W starts as a random rotation. Which form the paper uses is not known to us; the released code
    has the full matrix.

    Shapes: y (B, C, ...) -> z of the same shape, log_det (B,) in nats; for a vector W is a C x C
    matrix and H W = 1.
    """

    p: Tensor
    sign: Tensor

    def __init__(self, channels: int, lu: bool = False):
        super().__init__()
        self.channels, self.lu = channels, lu
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        if not lu:
            self.matrix = nn.Parameter(rotation)
            return
        p, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("p", p)
        self.register_buffer("sign", diagonal.sign())
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))

    def weight(self) -> Tensor:
        """W, (C, C)."""
        if not self.lu:
            return self.matrix
        eye = torch.eye(len(self.sign), dtype=self.lower.dtype, device=self.lower.device)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.p @ (self.lower.tril(-1) + eye) @ upper

    def forward(self, y: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return mix_channels(y, self.weight()), self.log_det(y)

    def inverse(self, z: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv(self.weight().double()).to(z.dtype)  # C x C: exactness is free
        return mix_channels(z, inverse), -self.log_det(z)

    def log_det(self, y: Tensor) -> Tensor:
        log_abs = self.log_diagonal.sum() if self.lu else torch.linalg.slogdet(self.matrix)[1]
        return constant(y, num_positions(y) * log_abs)
