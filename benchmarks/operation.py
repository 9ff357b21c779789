"""What is timed, in the words that all libraries share: one operation, or a step of training."""

from collections.abc import Callable, Sequence
from typing import Any

from .harness import Direction, Workload

CHECKED_STEPS = 20


def training(step: Callable[[], Any]) -> Workload:
    """Time `step`, which returns the loss before its update; the answer is the loss after 20 steps, the 21st's."""

    def answer() -> float:
        for _ in range(CHECKED_STEPS):
            step()
        return float(step().item())

    return Workload(run=step, answer=answer)


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
