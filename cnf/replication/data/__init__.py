"""Image sets: read, verify, degrade, synthesise. Their facts, `catalogue`, load no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
