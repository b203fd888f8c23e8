"""Image sets: read, verify, degrade, synthesise."""

from cnf.data.examples import Example, ImageSet, pixel_hash
from cnf.data.sets import load

__all__ = ["Example", "ImageSet", "load", "pixel_hash"]
