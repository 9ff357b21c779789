"""Runs of launches that threads share by the batch: a parallel region each, instead of one a launch.

A kernel with a loop over parts gives each thread its share of the rows, and the next kernel, as a rule, the same share
of what these rows have become. Then no thread needs what another one made, and each can go through many launches before
it waits for the others; what it writes it reads again from its own cache. Small launches, which alone are not worth a
second thread, are shared too.

Whether a part stays among its own is found out by experiment, as in `launches.py`. A launch runs part by part on memory
of its own, with invented numbers: the parts together must give the bits of the whole, and none may write where another
one does. Then it runs with NaN, and with other numbers, wherever the part has not written itself in this region: what
it gives must stay the same. Where it does not, as for a weight's gradient, a region ends; a small launch goes ahead of
it, or is put off until it ends, if nothing speaks against that. So bits are those of eager kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .entries import Block, Ref
from .steps import Bound, Step

Array = np.ndarray[Any, Any]
NOBODY = -1
LARGEST = 1 << 26  # bytes of a step's values: what is far larger than caches gains nothing, and to try it takes memory
SEEN = 4096  # bytes behind a value that are looked at
FACTORS = np.random.default_rng(0).uniform(0.25, 1, 1009)


@dataclass(slots=True)
class Region:
    """Launches in a row, named by their step and their number in it."""

    parts: int
    launches: list[tuple[int, int]] = field(default_factory=list)
    ahead: list[tuple[int, int]] = field(default_factory=list)  # launches that go before it
    pays: bool = False  # one of them is worth threads by itself
    off_reads: set[Block] = field(default_factory=set)  # by launches that are put off until it ends
    off_writes: set[Block] = field(default_factory=set)
    written: dict[Block, Array] = field(default_factory=dict)  # for every entry, which part wrote it in this region
    read: set[Block] = field(default_factory=set)  # blocks from before, which any part may have read anywhere


def regions_of(steps: Sequence[Step]) -> list[Region]:
    """The regions of a program, for as many threads as its largest launch is worth; a small program has none."""
    found: list[Region] = []
    parts = max((step.parts for step in steps), default=1)
    if parts == 1:
        return found
    region = Region(parts)

    def close() -> None:
        nonlocal region
        if region.pays and len(region.launches) > 1:
            region.ahead = [place for place in region.ahead if place < region.launches[-1]]
            found.append(region)
        region = Region(parts)

    for i, step in enumerate(steps):
        trial = _Trial(step, parts) if step.native else None
        for k in range(0 if trial is None else trial.count):
            assert trial is not None
            joined = trial.joins(k, region)
            if not joined and region.launches and trial.recorded(k) <= 1:
                if trial.goes_ahead(k, region):
                    region.ahead.append((i, k))
                continue
            if not joined:
                begun = bool(region.launches)
                close()
                joined = begun and trial.joins(k, region)
            if joined:
                region.launches.append((i, k))
                region.pays |= trial.recorded(k) > 1
            trial.go_on(k)
        if trial is None or not trial.count:
            close()
    close()
    return found


class _Trial:
    """A step's launches on memory of their own."""

    def __init__(self, step: Step, parts: int) -> None:
        self.parts, self.count = parts, 0
        reads, made = list(step.reads()), [*step.writes(), *step.scratch()]
        if any(ref.block.owner.origin in ("outside", "constant") for ref in made):
            return
        if sum(block.array.nbytes for block in {ref.block.owner for ref in (*reads, *made)}) > LARGEST:
            return
        self._reads = {ref.block.owner for ref in reads}
        self._made = {ref.block.owner for ref in made}
        self._written: set[Block] = set()  # in the region that it stands in, or one before
        self._memory: dict[Block, Array] = {}
        self._behind: list[Array] = []
        for ref in (*reads, *made):
            block = ref.block.owner
            if block.origin not in ("outside", "constant") and block not in self._memory:
                self._memory[block] = self._begun(block)
        self._bound = Bound(self._memory)
        step.emit(self._bound)
        table = self._bound.table
        if self._bound.links or self._bound.cells or self._bound.asked:
            return  # numbers that a launch hands to the next one
        table.ready()
        self.count = len(table.rows)

    def _begun(self, block: Block) -> Array:
        """An input's memory with invented numbers, a result's with NaN; and behind it room for what a kernel with more
        parts than it was recorded with might write there."""
        size = block.array.nbytes
        memory = np.empty(size * (1 + self.parts) + SEEN, np.uint8)
        memory[: size + SEEN] = 0xFF
        self._behind.append(memory[size : size + SEEN])
        if block in self._reads:
            place = Ref.of(block, block.array).on(memory)
            place[...] = block.array
            if block.array.dtype.kind == "f":  # nearer to 0, where logarithms and roots are still defined
                place *= np.resize(FACTORS, place.shape).astype(place.dtype)
        return memory[:size]

    def recorded(self, k: int) -> int:
        """How many parts a launch has by itself; 0: it has none."""
        return self._bound.table.parts[k]

    def go_on(self, k: int) -> None:
        """Run a launch as it was recorded: the next one needs it."""
        self._bound.table.run(k, k + 1)

    def goes_ahead(self, k: int, region: Region) -> bool:
        """Run a launch that does not join; whether it can go before the region. Else it is put off until it ends."""
        before = self._kept(self._memory)
        self.go_on(k)
        whole = self._kept(self._memory)
        writes = {b for b, memory in whole.items() if not _same(memory, before[b])}
        made = (region.written.keys() | region.off_writes) & self._memory.keys()
        able = not writes & (region.written.keys() | region.read | region.off_reads | region.off_writes)
        if able and all(block.array.dtype.kind in "fb" for block in made):
            for missing in (True, False):
                self._put(before)
                self._spoil({b: np.full(self._entries(b, before[b]).shape, NOBODY) for b in made}, 0, missing)
                self.go_on(k)
                able &= all(_same(self._memory[block], whole[block]) for block in writes)
            self._put(whole)
        else:
            able = False
        if not able:
            region.off_writes |= writes
            region.off_reads |= self._memory.keys()
        return able

    def joins(self, k: int, region: Region) -> bool:
        """Whether a launch can be the region's next one, which then knows what it writes."""
        if self.recorded(k) == 0 or region.off_writes & self._memory.keys():
            return False
        before = self._kept(self._made)
        self.go_on(k)
        whole = self._kept(self._made)
        owners = self._owners(k, before, whole)
        if owners is None or owners.keys() & (region.read | region.off_reads):
            return False
        if owners.keys() & region.written.keys() - self._written:
            return False  # what another step has written: an entry may get the value that it had, and not show
        if not self._only_writes(k, owners, before, whole):
            return False
        written = dict(region.written)
        for block, mine in owners.items():
            if (known := region.written.get(block)) is not None:
                if ((known != NOBODY) & (mine != NOBODY) & (known != mine)).any():
                    return False
                mine = np.where(mine == NOBODY, known, mine)
            written[block] = mine
        elsewhere = {b: of for b, of in written.items() if b in self._memory and b not in owners}
        if any(block.array.dtype.kind not in "fb" for block in elsewhere):
            return False  # it may be a place where a kernel goes
        right = before | self._kept(elsewhere)
        for part in range(self.parts):
            for missing in (True, False) if elsewhere else (True,):
                self._spoil(elsewhere, part, missing)
                expected = self._kept(self._made)
                for block, mine in owners.items():
                    entries, of_whole = self._entries(block, expected[block]), self._entries(block, whole[block])
                    entries[mine == part] = of_whole[mine == part]
                self._alone(k, part)
                same = all(_same(self._memory[block], memory) for block, memory in expected.items())
                self._put(right)
                if not same:
                    return False
        region.written = written
        region.read |= self._reads - written.keys()
        self._written |= owners.keys()
        return True

    def _only_writes(
        self, k: int, owners: dict[Block, Array], before: dict[Block, Array], whole: dict[Block, Array]
    ) -> bool:
        """Whether a launch looks at nothing of what it writes: what it adds to might get 0 added, and not show."""
        self._spoil({block: np.full(mine.shape, NOBODY) for block, mine in owners.items()}, 0, False)
        expected = self._kept(owners)
        for block, mine in owners.items():
            entries, of_whole = self._entries(block, expected[block]), self._entries(block, whole[block])
            entries[mine != NOBODY] = of_whole[mine != NOBODY]
        self.go_on(k)
        same = all(_same(self._memory[block], memory) for block, memory in expected.items())
        self._put(before)
        return same

    def _kept(self, blocks: Iterable[Block]) -> dict[Block, Array]:
        return {block: self._memory[block].copy() for block in blocks}

    def _put(self, kept: dict[Block, Array]) -> None:
        for block, memory in kept.items():
            self._memory[block][...] = memory

    def _alone(self, k: int, part: int) -> None:
        table = self._bound.table
        table.one(k, part, self.parts)
        table.run(k, k + 1)
        table.one(k, -1, self.parts)

    @staticmethod
    def _entries(block: Block, memory: Array) -> Array:
        """A block's memory as integers of the size of its entries."""
        return memory.view(f"u{block.array.dtype.itemsize}")

    def _owners(self, k: int, before: dict[Block, Array], whole: dict[Block, Array]) -> dict[Block, Array] | None:
        """For every entry of what a launch writes, the last part that writes it; None where parts write other entries
        than the whole launch does."""
        found: dict[Block, Array] = {}
        for part in range(self.parts):
            self._put(before)
            self._alone(k, part)
            for block, old in before.items():
                new = self._memory[block]
                if _same(old, new):
                    continue
                changed = self._entries(block, old) != self._entries(block, new)
                found.setdefault(block, np.full(changed.shape, NOBODY, np.min_scalar_type(-self.parts)))[changed] = part
        self._put(before)
        if any((behind != 0xFF).any() for behind in self._behind):
            for behind in self._behind:
                behind[...] = 0xFF
            return None
        for block in before:
            changed = self._entries(block, before[block]) != self._entries(block, whole[block])
            if changed.any() and (block not in found or (changed != (found[block] != NOBODY)).any()):
                return None
        return found

    def _spoil(self, elsewhere: dict[Block, Array], part: int, missing: bool) -> None:
        """Put NaN, or other numbers, where a part has not written itself."""
        for block, owners in elsewhere.items():
            entries = self._entries(block, self._memory[block])
            of_others = owners != part
            if block.array.dtype.kind == "b":
                entries[of_others] ^= 1
            elif not missing:  # another sign, and another exponent
                entries[of_others] ^= entries.dtype.type(0x81 << 8 * (entries.itemsize - 1))
            else:
                entries[of_others] = np.iinfo(entries.dtype).max  # NaN


def _same(x: Array, y: Array) -> bool:
    """Whether bytes are the same, eight at a time."""
    whole = x.size // 8 * 8
    return bool((x[:whole].view("u8") == y[:whole].view("u8")).all() and (x[whole:] == y[whole:]).all())
