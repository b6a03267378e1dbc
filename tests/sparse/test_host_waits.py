"""What a network asks of its device: on an accelerator the host waits for each answer, and starts nothing meanwhile."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from pointseg.engine import sync_batch_norm
from pointseg.models import SparseUNet
from pointseg.sparse import SparseConvTensor, SubMConv3d, neighbours, rulebook
from tests.sparse.dense_reference import random_tensor, random_voxels

# Their results are on the host, or have a size that the host has to learn.
ANSWERS = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "equal", "allclose"}
SIZED = {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "bincount"}
# These copy numbers of the host to the device.
COPIES = {"tensor", "as_tensor", "new_tensor"}
BY_INDEX = {"__getitem__", "__setitem__", "index_put", "index_put_"}


class HostWaits(TorchFunctionMode):
    """``places``: line of the program -> how often the host would have waited there."""

    def __init__(self) -> None:
        super().__init__()
        self.places: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.__name__
        by_mask = name in BY_INDEX and any(part.dtype == torch.bool for part in _tensors(args[1]))
        sized_late = name == "repeat_interleave" and kwargs.get("output_size") is None
        if name in ANSWERS | SIZED | COPIES or by_mask or sized_late or (name == "where" and len(args) == 1):
            frame = sys._getframe(1)
            while "torch" in Path(frame.f_code.co_filename).parts:
                assert frame.f_back is not None
                frame = frame.f_back
            self.places[f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {name}"] += 1
        return func(*args, **kwargs)


def _tensors(index: Any) -> Iterator[torch.Tensor]:
    for part in index if isinstance(index, (tuple, list)) else [index]:
        if isinstance(part, torch.Tensor):
            yield part


@pytest.fixture
def one_thread() -> Iterator[None]:
    """The mode counts on the thread that entered it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cut_as_on_an_accelerator(monkeypatch: pytest.MonkeyPatch, cells_per_block: int = 10**7) -> None:
    monkeypatch.setattr(rulebook, "_choose_rows_per_block", lambda table, _: rulebook._choose_rows_by_cells(table))
    monkeypatch.setattr(rulebook, "_CELLS_PER_BLOCK_ACCELERATOR", cells_per_block)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("cells_per_block", [10**7, 2_000])
@pytest.mark.parametrize("search", [neighbours._search_grid, neighbours._search_keys])
def test_a_step_of_four_stages_waits_fifteen_times(
    search: Callable[..., torch.Tensor], cells_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the voxels, once for the pairs of each of ten maps, once for the voxels of each of four coarser grids.

    However many blocks there are, and whichever way neighbours are found.
    """
    for name in ("_search_grid", "_search_keys"):
        monkeypatch.setattr(neighbours, name, search)
    cut_as_on_an_accelerator(monkeypatch, cells_per_block)
    network = SparseUNet(3, 5, stem_channels=8, channels=(8,) * 8, layers=(1,) * 8)
    coords = random_voxels(600, (32, 32, 16), batch_size=2)
    features = torch.randn(600, 3)
    with HostWaits() as waits:
        logits = network(features, coords, 2, (32, 32, 16)).logits
        logits.square().sum().backward()
    assert network.conv_input[0].weight.grad is not None
    assert sum(waits.places.values()) == 15, waits.places


@pytest.mark.usefixtures("one_thread")
def test_voxels_in_any_order_are_asked_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one is there twice; where they are sorted, that is known with the order."""
    cut_as_on_an_accelerator(monkeypatch)
    tensor = random_tensor(300, (12, 12, 12), channels=2, order="random", dtype=torch.float32)
    with HostWaits() as waits:
        for key in ("a", "b"):
            SubMConv3d(2, 2, 3, indice_key=key)(tensor)
    assert sum(waits.places.values()) == 1 + 2, waits.places


@pytest.mark.parametrize("cells_per_block", [10**7, 3_000])
def test_the_blocks_of_an_accelerator_give_what_those_of_a_cpu_give(
    cells_per_block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensor = random_tensor(700, (14, 14, 14), channels=3, batch_size=2)
    layer = SubMConv3d(3, 4, 3).double()
    inputs = [tensor.features, layer.weight]
    expected = layer(tensor).features
    expected_grads = torch.autograd.grad(expected.square().sum(), inputs)

    cut_as_on_an_accelerator(monkeypatch, cells_per_block)
    output = layer(tensor).features
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(torch.autograd.grad(output.square().sum(), inputs), expected_grads)


def test_the_checks_of_a_tensor_ask_once() -> None:
    """Whether all voxels are in the grid and in the batch is one answer with where they are."""
    coords, features = random_voxels(50, (8, 8, 8), batch_size=2), torch.zeros(50, 1)
    with HostWaits() as waits:
        SparseConvTensor(features, coords, (8, 8, 8), 2)
    assert sum(waits.places.values()) == 1, waits.places


def test_synchronised_batch_norm_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its two exchanges aside, which are the processes' own."""
    monkeypatch.setattr(sync_batch_norm, "sum_over_processes", lambda tensor: tensor)
    layer = sync_batch_norm.SyncBatchNorm(4)
    with HostWaits() as waits:
        layer(torch.randn(30, 4)).square().sum().backward()
    assert layer.weight.grad is not None
    assert not waits.places
