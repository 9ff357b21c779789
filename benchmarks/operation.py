"""One operation, forward alone or forward and backward, in the words that PyTorch and we share."""

from collections.abc import Callable, Sequence
from typing import Any

from .harness import Direction, Workload


def workload(
    library: Any, function: Callable[..., Any], inputs: Sequence[Any], gradient: Any, direction: Direction
) -> Workload:
    """`function(*inputs)`, tensors of `library`: in direction fwd under no_grad, in fb with its backward of `gradient`.

    The answer is the same in both directions: the result, and the gradient of each input that requires one.
    """

    def forward() -> Any:
        with library.no_grad():
            return function(*inputs)

    def both() -> Any:
        for x in inputs:
            x.grad = None
        out = function(*inputs)
        out.backward(gradient)
        return out

    def answer() -> tuple[Any, ...]:
        out = both()
        if direction == "fwd":
            out = forward()  # what is timed is also what is checked
        return (out.detach().numpy(), *(x.grad.numpy() for x in inputs if x.requires_grad))

    return Workload(run=forward if direction == "fwd" else both, answer=answer)
