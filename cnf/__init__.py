"""Conditional normalizing flows: layers with tested likelihoods, and a replication on them."""

__version__ = "0.1.0"
