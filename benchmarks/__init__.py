"""Speed and memory against other libraries.

    python -m benchmarks NAME [--json] [--pairs N] [--peers a,b] [--cases c,d]

One small file a benchmark, over one harness (`harness.py`), which says how the figures come about. Nothing here is
part of the installed package; peers are installed with `pip install -e ".[bench]"`.
"""
