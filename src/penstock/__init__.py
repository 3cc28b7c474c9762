"""Penstock: one door for every model."""

__version__ = "0.1.0"
