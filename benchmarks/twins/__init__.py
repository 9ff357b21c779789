"""The systems written in PyTorch, eagerly: what `python -m benchmarks zoo` times ours against."""
