"""Benchmarks against plain PyTorch: ``pytest benchmarks --benchmark-only``."""
