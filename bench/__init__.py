"""The benchmark suite: `make bench`. Each claim about speed in this project comes from here (docs/benchmarks.md)."""
