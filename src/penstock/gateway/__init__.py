"""The data plane. Read pipeline.py first."""
