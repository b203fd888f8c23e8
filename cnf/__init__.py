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

import lazy_loader

__version__ = "0.4.0"

# What `cnf.NAME` stands for is the list in __init__.pyi; each is imported when it is first used.
_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name):
    try:
        return _attribute(name)
    except ModuleNotFoundError as error:
        from cnf.errors import not_installed

        if str(error.name).partition(".")[0] == "cnf":
            raise
        raise ModuleNotFoundError(f"cnf.{name}: {not_installed(error)}", name=error.name) from None
