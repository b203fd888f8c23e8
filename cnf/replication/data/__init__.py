"""Image sets: read, verify, degrade, synthesise."""

from cnf.replication.data.examples import Example, ImageSet, pixel_hash
from cnf.replication.data.sets import load

__all__ = ["Example", "ImageSet", "load", "pixel_hash"]
