"""A program on a device: runs of its steps are captured as CUDA graphs, on memory that belongs to the program.

While a stream is captured nothing runs: an op's forward puts its kernels into the graph, and its results are where
these will write. So a value lies where the op itself puts it, and the memory of values that nobody needs any more is
given to later ones by a pool that is the graphs' own. What comes from outside of a graph, arguments, draws and results
of Python, is copied to a fixed place.

A step that can't be captured stays a call of Python between two graphs: it reads a host array or a number that is asked
anew, waits for the device, copies from the host, or calls a library that CuPy does not capture. Products don't: they
have a kernel of their own (kernels/gemm).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend import address_of, namespace, root_of
from ..errors import CaptureError
from ..kernels import cuda
from ..kernels.cuda import on_device
from .entries import Block, Cell, Ref
from .guards import Live
from .steps import Bound, Drawing, Outside, Python, Rule, Step, is_on_device, is_step, results_of

_BYTES = np.dtype(np.uint8)


class Held(NamedTuple):
    """The memory of a program's values: where each lies, the gaps left out, and the bytes of the whole."""

    offsets: dict[Block, int]
    size: int


class OnDevice(Bound):
    """Where every value lies: of a value that a graph makes this is known when it is captured."""

    def __init__(self, xp: Any, pinned: Iterable[Block]) -> None:
        super().__init__({})
        self.xp = xp
        self.places: dict[Block, tuple[int, int]] = {}  # of all that ever had memory: its address and bytes
        self.placed = 0  # bytes beside those of the graphs
        for block in pinned:
            self.place(block.owner)

    def place(self, block: Block) -> None:
        """Give a block memory of its own, where it has none."""
        if block.origin in ("outside", "constant") or block in self.memory:
            return
        size = max(block.array.nbytes, 1)
        self.placed += size
        self.put(block, self.xp.empty(size, _BYTES) if on_device(block.array) else np.empty(size, _BYTES))

    def put(self, block: Block, memory: Any) -> None:
        self.memory[block] = memory
        self.places[block] = address_of(memory), memory.nbytes

    def array(self, ref: Ref) -> Any:
        block = ref.block.owner
        if block not in self.memory and block.origin not in ("outside", "constant"):
            raise RuntimeError(f"{block} is used before it has memory, or after that was given away")
        return super().array(ref)

    def adopt(self, ref: Ref, value: Any) -> None:
        """A result of an op lies where the op put it, if its layout is the recorded one; else it is copied."""
        block = ref.block.owner
        if block.origin not in ("outside", "constant") and block not in self.memory:
            root = root_of(value)
            start = address_of(value) - address_of(root)
            same = (value.shape, value.strides, value.dtype) == (ref.shape, ref.strides, ref.dtype)
            if value.size and same and start == ref.offset:
                self.put(block, root)
                return
            self.place(block)
        place = self.array(ref)
        if value.size and address_of(value) != address_of(place):
            place[...] = value

    def offsets(self) -> dict[Block, int]:
        """Where the blocks lie, the gaps between them left out."""
        found: dict[Block, int] = {}
        gaps = end = 0
        for block, (start, nbytes) in sorted(self.places.items(), key=lambda item: item[1]):
            gaps += max(start - end, 0)
            found[block] = start - gaps
            end = max(end, start + nbytes)
        return found


class Graphs:
    """Captures the steps of a program, in order, on a stream of its own; the `kept` blocks keep their memory."""

    def __init__(self, bound: OnDevice, steps: Sequence[Step], kept: Iterable[Block]) -> None:
        self.bound, self.steps, self.xp = bound, steps, bound.xp
        self.count = 0
        self.stream, self.pool = self.xp.cuda.Stream(non_blocking=True), self.xp.cuda.MemoryPool()
        self._last: dict[Block, int] = {}
        self._kept = {block.owner for block in kept}
        for i, step in enumerate(steps):
            for ref in (*step.reads(), *step.writes()):
                self._last[ref.block.owner] = i
                if isinstance(step, Drawing | Outside):
                    self._kept.add(ref.block.owner)
        self.xp.cuda.Device().synchronize()
        self._fits = [self._tried(step) for step in steps]
        self.xp.cuda.Device().synchronize()

    def _tried(self, step: Step) -> bool:
        """Whether a step may be captured. It runs once on what was recorded, so that its kernels are compiled."""
        if not isinstance(step, Python | Rule):
            return False
        entry = step.call if isinstance(step, Python) else step.pull
        given = (*entry.inputs, *entry.settings.values(), *entry.outputs)
        if any(isinstance(x, Live | Cell) for x in given):
            return False
        if not all(on_device(ref.block.array) for ref in (*step.reads(), *step.writes())):
            return False
        with self._inside():
            try:
                step.computed(Bound({}))()
            except Exception:  # whatever it is, the same call of Python will say it
                return False
        return True

    def place(self, step: Step) -> None:
        """Memory for what a step writes that is not captured."""
        for ref in (*step.writes(), *step.scratch()):
            self.bound.place(ref.block.owner)

    def action(self, step: Step) -> Callable[[], None]:
        """What runs a step that is not captured; an optimizer's step all the same in part."""
        if isinstance(step, Outside) and is_step(step.effect) and is_on_device(step.effect):
            return Update(step.effect.args[0], step.set_grads(self.bound), self).run
        return step.action(self.bound)

    def of(self, run: Callable[[], None]) -> Callable[[], None]:
        """The launch of a graph of what `run` does."""
        with self._inside():
            self.stream.begin_capture()
            try:
                run()
            finally:
                graph = self.stream.end_capture()
        launch: Callable[[], None] = graph.launch
        return launch

    def run_from(self, first: int) -> tuple[Callable[[], None], int] | None:
        """The launch of a graph of the steps from `first` to before the number that is returned; None: Python's."""
        end = first
        while end < len(self.steps) and self._fits[end]:
            end += 1
        while end > first:
            before, tensors = dict(self.bound.memory), dict(self.bound._tensors)
            graph, reached = self._captured(first, end)
            self.bound._tensors = tensors  # those of the graph hold memory for nobody
            if graph is not None:
                for step in self.steps[first:end]:
                    step.captured = True
                self.count += 1
                return graph.launch, end
            self._fits[reached], end = False, reached
            self.bound.memory = before
        return None

    def _captured(self, first: int, end: int) -> tuple[Any, int]:
        """The graph of steps; None and which of them can't be captured."""
        at = first
        with self._inside():
            self.stream.begin_capture()
            try:
                for at in range(first, end):
                    self._add(at)
            except Exception:
                with contextlib.suppress(Exception):  # the capture has failed, as it may
                    self.stream.end_capture()
                return None, at
            try:
                return self.stream.end_capture(), end
            except Exception:  # nobody said which step it was: the last one is given up, and so on
                return None, at

    def _add(self, at: int) -> None:
        step = self.steps[at]
        assert isinstance(step, Python | Rule)
        entry = step.call if isinstance(step, Python) else step.pull
        found = results_of(entry, step.computed(self.bound)())
        for ref, value in zip(entry.outputs, found, strict=False):
            if isinstance(ref, Ref):
                self.bound.adopt(ref, value)
        for block in {ref.block.owner for ref in (*step.reads(), *step.writes())} - self._kept:
            if self._last[block] == at:
                self.bound.memory.pop(block, None)  # its memory is for what comes

    def held(self) -> Held:
        return Held(self.bound.offsets(), self.bound.placed + self.pool.total_bytes())

    @contextlib.contextmanager
    def _inside(self) -> Iterator[None]:
        cuda_of, give = self.xp.cuda, self.xp.get_default_pinned_memory_pool().malloc
        with self.stream, cuda_of.using_allocator(self.pool.malloc), cuda.recorded():
            cuda_of.set_pinned_memory_allocator(_refusing(give))
            try:
                yield
            finally:  # CuPy's own: it does not say whether there was another
                cuda_of.set_pinned_memory_allocator(give)


def _refusing(give: Callable[[int], Any]) -> Callable[[int], Any]:
    """Gives memory for copies from the host to other threads than this one."""
    here = threading.get_ident()

    def allocate(size: int) -> Any:
        if threading.get_ident() == here:
            raise CaptureError(f"a copy of {size} bytes from the host, which a graph would make again at every launch")
        return give(size)

    return allocate


class Update:
    """An optimizer's step on a device: a graph puts the gradients side by side, and Python launches its kernels."""

    def __init__(self, optimizer: Any, set_grads: Callable[[], None], graphs: Graphs) -> None:
        self.optimizer, self.set_grads, self.graphs = optimizer, set_grads, graphs
        self.joined: Any = None

    def run(self) -> None:
        self.set_grads()
        if self.joined is None or not self.joined.fits():
            self.joined = self.optimizer.joined()
            self.join = self.graphs.of(self.joined.join)
        self.join()
        self.joined.update()


def draws_first(steps: Iterable[Step]) -> list[Step]:
    """The steps with draws in front of the ops before them, so that these don't part a graph: they read no values."""
    found: list[Step] = []
    behind = 0  # the last draw or effect
    for step in steps:
        if isinstance(step, Drawing):
            found.insert(behind, step)
            behind += 1
            continue
        found.append(step)
        if isinstance(step, Outside):
            behind = len(found)
    return found


def device_of_program(blocks: Iterable[Block]) -> Any:
    """The array module of the device that a program runs on; None: of the host."""
    return next((namespace(b.array) for b in blocks if on_device(b.array)), None)
