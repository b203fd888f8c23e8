"""The layers of a conditional flow, one file each. The contracts are in `cnf.layers.base`."""

from cnf.layers.actnorm import ActNorm
from cnf.layers.affine import ConditionalAffine
from cnf.layers.autoregressive import AutoregressivePrior
from cnf.layers.base import Bijection, Dequantization, Prior, sum_except_batch
from cnf.layers.binary import BinaryDequantization
from cnf.layers.checkerboard import CheckerboardCoupling
from cnf.layers.conv1x1 import Conv1x1
from cnf.layers.coupling import AffineCoupling
from cnf.layers.prior import GaussianPrior
from cnf.layers.residual import Residual
from cnf.layers.spline import SplineCoupling
from cnf.layers.split import Split
from cnf.layers.squeeze import Squeeze, Squeezed
from cnf.layers.subbands import Subbands
from cnf.layers.uniform import UniformDequantization
from cnf.layers.variational import VariationalDequantization

__all__ = ["Bijection", "Dequantization", "Prior", "sum_except_batch"]
__all__ += ["ActNorm", "AffineCoupling", "CheckerboardCoupling", "ConditionalAffine", "Conv1x1"]
__all__ += ["Residual", "SplineCoupling", "Squeeze", "Squeezed", "Subbands"]
__all__ += ["AutoregressivePrior", "GaussianPrior", "Split"]
__all__ += ["BinaryDequantization", "UniformDequantization", "VariationalDequantization"]
