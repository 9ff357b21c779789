"""Operations and steps of training on a GPU, against PyTorch on the same card; needs CuPy, PyTorch and the card.

- `attention-bf16`, `attention-fp32`: forward and backward, causal, (4, 16, 4096, 64); PyTorch's
  scaled_dot_product_attention. Ours of bf16 are float32 tensors under `autocast`, so the rounding counts.
- `deform-conv`: forward and backward, (8, 64, 56, 56), 64 maps of 3 x 3, with a mask; torchvision's operator.
- `adamw`: one step of 100 million parameters; `torch.optim.AdamW(fused=True)`, and a copy of as many bytes as the step
  must move: 4 arrays read, 3 written.
- `layer-norm`, `softmax`, `cross-entropy`: forward and backward of (8192, 4096), and copies of what they must move.
- `realnvp-eager`, `transformer-eager`: the steps of `python -m benchmarks step`, on the card.
- `mlp-captured`, `realnvp-captured`, `transformer-captured`, `cnn-captured`: those of `python -m benchmarks capture` on
  the card, ours as CUDA graphs; PyTorch eager, and ours eager beside it.

Every timed call ends by waiting for the card. Answers are the root mean squares of results and gradients.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from . import capture, step, transformer_step
from .harness import BenchmarkError, Case, Contender, Workload, run
from .operation import training

OURS, TORCH = ("tinygrad_zoo", "cupy"), ("torch",)
DEVICE = os.environ.get("TINYGRAD_ZOO_BACKEND", "cupy")
ATTENTION, ROWS, PARAMETERS = (4, 16, 4096, 64), (8192, 4096), 100_000_000
IMAGES, KERNEL = (8, 64, 56, 56), (64, 64, 3, 3)


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# ---- the two libraries
def wait_for_ours() -> None:
    import tinygrad_zoo as tz
    from tinygrad_zoo import backend

    device: Any = backend.namespace(tz.zeros(1, device=DEVICE).data)
    device.cuda.Device().synchronize()


def wait_for_torch() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def card() -> str:
    """PyTorch's device; the CPU where there is no card, for tests of this file."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def waiting(workload: Workload, wait: Callable[[], None]) -> Workload:
    """The workload, each call to its end."""

    def to_the_end() -> object:
        result = workload.run()
        wait()
        return result

    return Workload(run=to_the_end, answer=workload.answer)


def size(x: Any) -> float:
    """√ mean x²"""
    return float((x * x).mean() ** 0.5)


def both(function: Callable[..., Any], inputs: Sequence[Any], g: Any, wait: Callable[[], None]) -> Workload:
    """`function(*inputs)` and its backward of g."""

    def once() -> Any:
        for x in inputs:
            x.grad = None
        out = function(*inputs)
        out.backward(g)
        return out

    def answer() -> tuple[float, ...]:
        out = once()
        return (size(out.detach()), *(size(x.grad) for x in inputs if x.grad is not None))

    return waiting(Workload(run=once, answer=answer), wait)


def ours_both(function: Callable[..., Any], arrays: Sequence[Any], shape: tuple[int, ...]) -> Workload:
    import tinygrad_zoo as tz

    inputs = [tz.tensor(a, device=DEVICE, requires_grad=a.dtype.kind == "f") for a in arrays]
    return both(function, inputs, tz.tensor(draw(*shape, seed=9), device=DEVICE), wait_for_ours)


def torch_both(function: Callable[..., Any], arrays: Sequence[Any], shape: tuple[int, ...]) -> Workload:
    import torch

    inputs = [torch.tensor(a, device=card(), requires_grad=a.dtype.kind == "f") for a in arrays]
    return both(function, inputs, torch.tensor(draw(*shape, seed=9), device=card()), wait_for_torch)


# ---- attention
def ours_attention(shape: tuple[int, ...], precision: Any) -> Workload:
    import tinygrad_zoo as tz
    from tinygrad_zoo.amp import autocast

    def attend(*x: Any) -> Any:
        with autocast(precision):
            return tz.flash_attention(*x, is_causal=True)

    return ours_both(attend, [draw(*shape, seed=i) for i in range(3)], shape)


def torch_attention(shape: tuple[int, ...], precision: str) -> Workload:
    import torch

    def attend(*x: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*x, is_causal=True)

    dtype = getattr(torch, precision)
    x = [torch.tensor(draw(*shape, seed=i), device=card(), dtype=dtype, requires_grad=True) for i in range(3)]
    return both(attend, x, torch.tensor(draw(*shape, seed=9), device=card(), dtype=dtype), wait_for_torch)


# ---- deformable convolution
def deformed(shape: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[list[Any], tuple[int, ...]]:
    """Images, offsets, weights and a mask, and the shape of the result."""
    n, _, h, w = shape
    taps = kernel[2] * kernel[3]
    offset, mask = draw(n, 2 * taps, h, w, seed=1), draw(n, taps, h, w, seed=2)
    return [draw(*shape), offset, 0.05 * draw(*kernel, seed=3), mask], (n, kernel[0], h, w)


def ours_deform(shape: tuple[int, ...], kernel: tuple[int, ...]) -> Workload:
    import tinygrad_zoo as tz

    def convolved(x: Any, offset: Any, weight: Any, mask: Any) -> Any:
        return tz.deform_conv2d(x, offset, weight, padding=1, mask=mask)

    return ours_both(convolved, *deformed(shape, kernel))


def torchvision_deform(shape: tuple[int, ...], kernel: tuple[int, ...]) -> Workload:
    from torchvision.ops import deform_conv2d

    def convolved(x: Any, offset: Any, weight: Any, mask: Any) -> Any:
        return deform_conv2d(x, offset, weight, padding=1, mask=mask)

    return torch_both(convolved, *deformed(shape, kernel))


# ---- rows
def rows(name: str, shape: tuple[int, int]) -> tuple[list[Any], tuple[int, ...]]:
    """The arrays of an operation on rows, and the shape of its result."""
    if name == "cross-entropy":
        return [draw(*shape), np.random.default_rng(1).integers(0, shape[1], shape[0])], ()
    affine = [1 + 0.1 * draw(shape[1], seed=1), draw(shape[1], seed=2)] if name == "layer-norm" else []
    return [draw(*shape), *affine], shape


def on_rows(functional: Any, name: str, columns: int) -> Callable[..., Any]:
    """The operation, by nn.functional of either library."""
    if name == "layer-norm":
        return lambda x, weight, bias: functional.layer_norm(x, (columns,), weight, bias)
    return (lambda x: functional.softmax(x, -1)) if name == "softmax" else functional.cross_entropy


def ours_rows(name: str, shape: tuple[int, int]) -> Workload:
    from tinygrad_zoo.nn import functional

    return ours_both(on_rows(functional, name, shape[1]), *rows(name, shape))


def torch_rows(name: str, shape: tuple[int, int]) -> Workload:
    from torch.nn import functional

    return torch_both(on_rows(functional, name, shape[1]), *rows(name, shape))


# ---- what must be moved
def ours_moving(build: Callable[[], Workload]) -> Workload:
    """Ours, whose answer is no number that a copy has."""
    return Workload(run=build().run, answer=lambda: 0.0)


def copy(numbers: int) -> Workload:
    """A copy that reads and writes as many numbers of 4 bytes as the operation must, both together."""
    import torch

    source = torch.zeros(numbers // 2, device=card())
    target = torch.empty_like(source)
    return waiting(Workload(run=lambda: target.copy_(source), answer=lambda: 0.0), wait_for_torch)


# ---- steps
def ours_adamw(n: int) -> Workload:
    import tinygrad_zoo as tz

    p = tz.nn.Parameter(tz.tensor(draw(n), device=DEVICE).data)
    p.grad = tz.tensor(draw(n, seed=1), device=DEVICE)
    optimizer = tz.optim.AdamW([p], lr=1e-3)
    return waiting(Workload(run=optimizer.step, answer=lambda: (optimizer.step(), size(p.detach()))[1]), wait_for_ours)


def torch_adamw(n: int) -> Workload:
    import torch

    p = torch.nn.Parameter(torch.tensor(draw(n), device=card()))
    p.grad = torch.tensor(draw(n, seed=1), device=card())
    optimizer = torch.optim.AdamW([p], lr=1e-3, fused=True)
    return waiting(Workload(run=optimizer.step, answer=lambda: (optimizer.step(), size(p.detach()))[1]), wait_for_torch)


def ours_eager(name: str) -> Workload:
    """The step of the benchmark `capture` as it stands."""
    update, batches = capture.ours_parts(name)
    stream = cycle(batches)
    return training(lambda: update(*next(stream)))


def ours_step(build: Callable[[], Workload]) -> Workload:
    from tinygrad_zoo import backend

    with backend.using(DEVICE):
        made = build()
    return waiting(made, wait_for_ours)


def torch_step(build: Callable[[], Workload]) -> Workload:
    """The step whose modules and arrays are made on the card."""
    import torch

    torch.set_default_device(card())
    from_numpy = torch.from_numpy
    torch.from_numpy = lambda array: from_numpy(array).to(card())
    return waiting(build(), wait_for_torch)


def case(
    name: str, mine: Callable[[], Workload], *peers: Contender, direction: Any = "fb", tolerance: float = 1e-3,
    **bars: float,
) -> Case:  # fmt: skip
    """Ours against each peer; the bars by the peers' names."""
    return Case(
        bench="gpu",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=mine, requires=OURS),
        peers=peers,
        bars={key.replace("_", "-"): bar for key, bar in bars.items()},
        tolerance=tolerance,
    )


def moved(name: str, mine: Callable[[], Workload], numbers: int, share: float, direction: Any = "fb") -> Case:
    """Ours against a copy: at least that share of its bandwidth."""
    peer = Contender(name="copy", build=partial(copy, numbers), requires=TORCH)
    return case(f"{name}-bandwidth", partial(ours_moving, mine), peer, direction=direction, copy=1 / share)


def against_torch(build: Callable[[], Workload], name: str = "torch") -> Contender:
    return Contender(name=name, build=build, requires=TORCH)


def all_cases() -> list[Case]:
    """All of them."""
    made = [
        case(
            f"attention-{short}", partial(ours_attention, ATTENTION, precision),
            against_torch(partial(torch_attention, ATTENTION, precision)), tolerance=tolerance, torch=bar,
        )
        for short, precision, tolerance, bar in (("bf16", "bfloat16", 2e-2, 2.0), ("fp32", "float32", 1e-3, 1.0))
    ]  # fmt: skip
    vision = Contender(
        name="torchvision", build=partial(torchvision_deform, IMAGES, KERNEL), requires=("torch", "torchvision")
    )
    made.append(case("deform-conv", partial(ours_deform, IMAGES, KERNEL), vision, torchvision=1.0))
    adamw = partial(ours_adamw, PARAMETERS)
    fused = against_torch(partial(torch_adamw, PARAMETERS), "torch-fused")
    made += [
        case("adamw", adamw, fused, direction="step", torch_fused=1.0),
        moved("adamw", adamw, 7 * PARAMETERS, 0.8, "step"),
    ]
    n = ROWS[0] * ROWS[1]
    for name, arrays in (("layer-norm", 5), ("softmax", 5), ("cross-entropy", 3)):
        mine = partial(ours_rows, name, ROWS)
        made += [case(name, mine, against_torch(partial(torch_rows, name, ROWS))), moved(name, mine, arrays * n, 0.75)]
    steps = (
        ("realnvp-eager", partial(step.ours, "realnvp-eager"), partial(step.torch_step, "realnvp-eager")),
        ("transformer-eager", transformer_step.ours, transformer_step.torch_step),
    )
    for name, mine, eager_or_compiled in steps:
        theirs = partial(eager_or_compiled, compiled=False)
        peer = against_torch(partial(torch_step, theirs), "torch-eager")
        made.append(case(name, partial(ours_step, mine), peer, direction="step", torch_eager=1.0))
    for name in capture.BARS:
        peers = (
            against_torch(partial(torch_step, partial(capture.torch_step, name, compiled=False)), "torch-eager"),
            Contender(name="ours-eager", build=partial(ours_step, partial(ours_eager, name)), requires=OURS),
        )
        mine = partial(ours_step, partial(capture.ours, name))
        made.append(case(f"{name}-captured", mine, *peers, direction="step", ours_eager=1.0))
    return made


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases; BenchmarkError without CuPy or a card."""
    from tinygrad_zoo import backend
    from tinygrad_zoo.errors import TinygradZooError

    try:
        backend.resolve(DEVICE)
    except TinygradZooError as error:
        raise BenchmarkError(f"gpu: {error}") from error
    return run(all_cases(), as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)
