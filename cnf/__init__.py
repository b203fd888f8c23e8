"""Conditional normalizing flows: layers with tested likelihoods, and models of p(y|x) made of them.

>>> import cnf, torch
>>> y, x = torch.rand(8, 1, 16, 16), torch.rand(8, 2, 16, 16)
>>> flow = cnf.glow(channels=1, context=2, levels=1, steps=4, width=32)
>>> loss = -flow.log_prob(y, x).mean()
>>> loss.backward()
>>> samples = flow.sample(x[:2], n=16, temperature=0.8)
>>> samples.shape
torch.Size([16, 2, 1, 16, 16])
>>> flow.save("mine.safetensors")
>>> flow = cnf.load("mine.safetensors")

The replication of the paper, `cnf.replication`, is built on this library; `python -m cnf` runs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what `__getattr__` below gives at run time
    from cnf.baselines import (
        Autoregressive,
        Bernoulli,
        ClassWeighted,
        DiscretisedLogistic,
        WeightedBernoulli,
    )
    from cnf.build import glow, load
    from cnf.features import NoFeatures, RawFeatures
    from cnf.flow import ConditionalFlow, ConditionalModel
    from cnf.layers import *
    from cnf.nets import CouplingNet, VectorNet

__version__ = "0.2.0"

_PLACES = {
    "cnf.baselines": "Autoregressive Bernoulli ClassWeighted DiscretisedLogistic WeightedBernoulli",
    "cnf.build": "glow load",
    "cnf.features": "NoFeatures RawFeatures",
    "cnf.flow": "ConditionalFlow ConditionalModel",
    "cnf.layers": "ActNorm AffineCoupling AutoregressivePrior Bijection BinaryDequantization "
    "CheckerboardCoupling ConditionalAffine Conv1x1 Dequantization GaussianPrior Prior Residual "
    "SplineCoupling Split Squeeze Squeezed Subbands UniformDequantization "
    "VariationalDequantization",
    "cnf.nets": "CouplingNet VectorNet",
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names.split()}
__all__ = [*sorted(_MODULES), "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import cnf` itself takes no time."""
    if name in ("errors", "layers", "nets", "noise"):
        return import_module(f"cnf.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'cnf' has no attribute '{name}'")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
