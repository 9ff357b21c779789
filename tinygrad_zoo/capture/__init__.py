"""capture: record one training step, and replay it without its Python.

    @tinygrad_zoo.capture
    def step(x, y):
        optimizer.zero_grad()
        loss = cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for x, y in batches:
        loss = step(x, y)

The first two calls run as they stand and are recorded (`recorder.py`): two, so that what differs between them is known
to depend on values. `program.py` makes steps of the recording, kernel launches wherever there is a kernel
(`lowering.py`, `pointwise.py`), lays all values into one arena, and from the third call on `replay.py` runs that: no
graph, no allocation but for the results, almost no Python. In a larger step threads share the batch through many
launches at a time (`regions.py`). On a device runs of ops are captured as CUDA graphs instead (`graphs.py`).

What a replay repeats: ops, forward and backward, draws from generators, and effects, functions decorated with
`tinygrad_zoo.effect` such as an optimizer's step. What it does not: all other Python. Where that would show, a
CaptureError says so while recording.
"""

from .decorator import capture

__all__ = ["capture"]
