"""Which rows meet under which weight: the rulebook of a sparse convolution, in blocks that fit the cache of a thread.

Torch spreads each operation over all threads and joins them after it. A sparse convolution is thousands of short
operations, so the joins cost more than they bring, above all where data loading shares the cores. Here a thread
takes whole blocks through all their operations, and the threads meet once, at the end.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Barrier, Lock
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

Result = TypeVar("Result")

# Beyond this the interpreter, which starts every operation, is the bottleneck.
_MAX_THREADS = 16
_pools: dict[int, ThreadPoolExecutor] = {}
_making_pools = Lock()
# A block's gathered rows, and as many products, should stay in a processor's cache: about this many numbers each. Its
# matrix products should also have enough rows to outweigh the cost of a call.
_NUMBERS_PER_BLOCK = 1_048_576
_PAIRS_PER_PRODUCT = 300
# Fewer pairs than this are not worth a second thread.
_MIN_PAIRS_TO_SHARE = 4096
# An accelerator wants few large products: so many cells of a table, of which two fifths are pairs in a 3x3x3 kernel on
# a surface.
_CELLS_PER_BLOCK_ACCELERATOR = 8_388_608
# A table is cut a piece at a time, for the same reason: this many of its cells.
_CELLS_PER_CUT = 262_144
# From so many rows the number of pairs is estimated, which sets the rows of a block.
_SAMPLED_ROWS = 1024


@dataclass(frozen=True)
class Block:
    """The pairs of the output rows ``start`` to ``start + num_rows``, grouped by kernel offset.

    ``input_row`` (P,) int32 is the input row of each pair, offset by offset, and ``num_pairs`` (K ints) says how many
    pairs each offset has. Output row ``start + i`` sums the pairs ``pair_of_sum[first_pair[i]:first_pair[i + 1]]``.
    """

    start: int
    num_rows: int
    input_row: Tensor
    num_pairs: list[int]
    pair_of_sum: Tensor
    first_pair: Tensor

    @cached_property
    def output_row(self) -> Tensor:
        """(P,) int32: the output row of each pair, counted from ``start``; only a weight gradient needs it."""
        num_pairs = self.pair_of_sum.numel()
        pairs_per_row = torch.diff(F.pad(self.first_pair, (0, 1), value=num_pairs))
        row_of_sum = torch.repeat_interleave(pairs_per_row, output_size=num_pairs)
        return torch.empty_like(self.input_row).scatter_(0, self.pair_of_sum.long(), row_of_sum.int())


@dataclass(frozen=True)
class Rulebook:
    """All pairs (kernel offset, input row, output row) of a convolution, by blocks of output rows.

    Where ``mirrored``, position ``s`` of ``Block.num_pairs`` belongs to kernel offset ``num_offsets - 1 - s``.
    """

    num_offsets: int
    num_outputs: int
    device: torch.device
    blocks: list[Block]
    mirrored: bool = False

    @classmethod
    def from_tables(cls, tables: Sequence[Tensor], num_channels: int) -> "list[Rulebook]":
        """Build one from each table (K, num_outputs) int32: the input row of each offset and output row, -1 = none.

        Blocks have the best size for features of ``num_channels``, and serve any other number as well. An accelerator
        is asked once, for the numbers of pairs of all tables.
        """
        rows_per_block = [_choose_rows_per_block(table, num_channels) for table in tables]
        counts = [_count_pairs(table, rows) for table, rows in zip(tables, rows_per_block, strict=True)]
        num_pairs = iter(torch.cat(counts).tolist())
        return [
            cls._cut(table, rows, list(itertools.islice(num_pairs, len(count))))
            for table, rows, count in zip(tables, rows_per_block, counts, strict=True)
        ]

    @classmethod
    def _cut(cls, table: Tensor, rows_per_block: int, num_pairs: list[list[int]]) -> "Rulebook":
        num_offsets, num_outputs = table.shape
        blocks_per_cut = max(1, _CELLS_PER_CUT // (num_offsets * rows_per_block))
        firsts = range(0, len(num_pairs), blocks_per_cut)

        def cut(piece: int) -> list[Block]:
            counts = num_pairs[firsts[piece] : firsts[piece] + blocks_per_cut]
            row = firsts[piece] * rows_per_block
            return _cut_table(table[:, row : row + len(counts) * rows_per_block], row, rows_per_block, counts)

        pieces = run_parts(cut, len(firsts), table.device)
        return cls(num_offsets, num_outputs, table.device, [block for blocks in pieces for block in blocks])

    @property
    def num_pairs(self) -> int:
        """How many products of a row and a weight matrix there are."""
        return sum(block.input_row.numel() for block in self.blocks)

    @property
    def max_block_pairs(self) -> int:
        """Pairs of the largest block: the rows of the buffers that a convolution needs."""
        return max((block.input_row.numel() for block in self.blocks), default=0)

    def mirror(self) -> "Rulebook":
        """The transposed rulebook of a submanifold convolution: the same pairs under the opposite offsets."""
        return replace(self, mirrored=not self.mirrored)


def _choose_rows_per_block(table: Tensor, num_channels: int) -> int:
    """Rows with about the wanted number of pairs, from an estimate; on a CPU, as many blocks for every thread."""
    num_offsets, num_outputs = table.shape
    if num_outputs == 0:
        return 1
    if table.device.type != "cpu":
        return _choose_rows_by_cells(table)
    sample = table[:, :: max(1, num_outputs // _SAMPLED_ROWS)]
    num_pairs = num_outputs * int((sample >= 0).sum()) // sample.shape[1]
    if num_pairs < _MIN_PAIRS_TO_SHARE:
        return num_outputs
    num_threads = num_threads_on(table.device)
    pairs_per_block = max(_NUMBERS_PER_BLOCK // max(num_channels, 32), _PAIRS_PER_PRODUCT * num_offsets)
    num_blocks = num_threads * -(-num_pairs // (num_threads * pairs_per_block))
    return -(-num_outputs // num_blocks)


def _choose_rows_by_cells(table: Tensor) -> int:
    """For an accelerator: for the number of pairs its host would have to wait."""
    return -(-table.shape[1] // (1 + table.numel() // _CELLS_PER_BLOCK_ACCELERATOR))


def _by_blocks(table: Tensor, rows_per_block: int, fill: int) -> Tensor:
    """(K, rows) to (num_blocks, K, rows_per_block), filled up at the end."""
    num_offsets, num_rows = table.shape
    num_blocks = -(-num_rows // rows_per_block)
    table = F.pad(table, (0, num_blocks * rows_per_block - num_rows), value=fill)
    return table.view(num_offsets, num_blocks, rows_per_block).transpose(0, 1)


def _count_pairs(table: Tensor, rows_per_block: int) -> Tensor:
    """(num_blocks, K) int32: the pairs of each offset in each block of ``table`` (K, num_outputs)."""
    return _by_blocks(table >= 0, rows_per_block, False).sum(2, dtype=torch.int32)


def _cut_table(table: Tensor, first_row: int, rows_per_block: int, num_pairs: list[list[int]]) -> list[Block]:
    """Blocks of ``table`` (K, rows), which starts at output row ``first_row``; each step does all blocks at once.

    ``num_pairs`` are the pairs of each offset in each block. They say how many cells are taken, so that no step makes
    the host wait to learn it: a scatter moves these cells to their places, all others to a place that is cut off.
    """
    num_rows = table.shape[1]
    total = sum(map(sum, num_pairs))
    table = _by_blocks(table, rows_per_block, -1).contiguous()
    taken = (table >= 0).long()
    place = taken.view(-1).cumsum(0).mul_(taken.view(-1))  # from 1; 0 is cut off

    def take(cells: Tensor) -> Tensor:
        return cells.new_empty(total + 1).scatter_(0, place, cells.view(-1))[1:]

    input_row = take(table)
    pairs_per_row = taken.sum(1)
    first_pair = pairs_per_row.view(-1).cumsum(0).view_as(pairs_per_row).sub_(pairs_per_row)
    position_by_row = take(taken.cumsum(1).add_(first_pair.sub(1)[:, None]))
    pair = torch.arange(total, dtype=torch.int32, device=table.device)
    pair_of_sum = torch.empty_like(pair).scatter_(0, position_by_row, pair)
    first_pair = first_pair.int()

    blocks = []
    stop = 0
    for index, counts in enumerate(num_pairs):
        start, stop = stop, stop + sum(counts)
        row = index * rows_per_block
        block_rows = min(rows_per_block, num_rows - row)
        blocks.append(
            Block(
                first_row + row,
                block_rows,
                input_row[start:stop],
                counts,
                pair_of_sum[start:stop].sub_(start),
                first_pair[index, :block_rows].sub_(start),
            )
        )
    return blocks


def num_threads_on(device: torch.device) -> int:
    """How many threads share a computation: torch's number, within reason, on a CPU; one to drive an accelerator."""
    return min(torch.get_num_threads(), _MAX_THREADS) if device.type == "cpu" else 1


def run_parts(work: Callable[[int], Result], num_parts: int, device: torch.device) -> list[Result]:
    """``[work(0), ..., work(num_parts - 1)]``, computed on the threads, without recording gradients.

    Raises:
        Exception: what the first part that failed raised.
    """
    num_threads = num_threads_on(device)
    if num_parts == 1 or num_threads == 1:
        with torch.no_grad():
            return [work(part) for part in range(num_parts)]
    inference = torch.is_inference_mode_enabled()

    def run(part: int) -> Result:
        with torch.inference_mode(inference), torch.no_grad():
            return work(part)

    return list(_pool(num_threads).map(run, range(num_parts)))


def _pool(num_threads: int) -> ThreadPoolExecutor:
    """Threads in which torch's own operations run on that thread alone."""
    with _making_pools:
        if num_threads not in _pools:
            torch_threads = torch.get_num_threads()
            pool = ThreadPoolExecutor(num_threads, "sparse", initializer=_compute_alone)
            everyone = Barrier(num_threads)
            list(pool.map(lambda _: everyone.wait(), range(num_threads)))
            # The number is also the default of threads to come, such as those of other libraries: put it back.
            torch.set_num_threads(torch_threads)
            _pools[num_threads] = pool
        return _pools[num_threads]


def _compute_alone() -> None:
    # A thread takes over torch's default when it is first asked, and would do so later over the 1 set here.
    torch.get_num_threads()
    torch.set_num_threads(1)


def _forget_pools() -> None:
    """A forked process has a copy of the pools, but none of their threads, and perhaps a lock that nobody opens."""
    global _making_pools
    _making_pools = Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
