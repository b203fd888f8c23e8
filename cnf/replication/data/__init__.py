"""Image sets: read, verify, degrade, synthesise."""

from cnf.replication.data.catalogue import load
from cnf.replication.data.examples import Example, ImageSet, pixel_hash

__all__ = ["Example", "ImageSet", "load", "pixel_hash"]
