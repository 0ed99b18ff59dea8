"""All that a machine with a GPU is asked to do, without a network: ``python -m benchmarks.gpu``."""
