"""The pretended GPU finds what it is there to find: otherwise the tests on it would pass whatever is wrong."""

import threading
from collections.abc import Iterator

import pytest
import torch

from tests.conftest import HAS_GPU
from tests.pretended_gpu import PretendedGpu
from tests.pretended_gpu.state import State

pytestmark = [
    pytest.mark.skipif(HAS_GPU, reason="it is pretended where there is no real one"),
    pytest.mark.needs("pretended_gpu"),
]


@pytest.fixture
def state() -> Iterator[State]:
    with PretendedGpu() as gpu:
        yield gpu.state


def test_there_is_one_gpu_while_it_is_entered() -> None:
    with PretendedGpu():
        assert torch.cuda.is_available() and torch.ones(2, device="cuda").device == torch.device("cuda", 0)
    assert not torch.cuda.is_available() and not torch.accelerator.is_available()
    leaf = torch.ones(3, requires_grad=True)
    leaf.square().sum().backward()
    assert leaf.grad.tolist() == [2, 2, 2]


@pytest.mark.usefixtures("state")
def test_two_devices_in_an_operation_are_refused_but_for_scalars() -> None:
    there, here = torch.ones(3, device="cuda"), torch.ones(3)
    assert (there + torch.tensor(2.0)).tolist() == [3, 3, 3]
    for fail in (lambda: there + here, lambda: torch.cat([there, here]), lambda: there @ here):
        with pytest.raises(RuntimeError, match="same device"):
            fail()
    with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
        torch.rand(3, device="cuda", generator=torch.Generator())
    with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\)"):
        there.numpy()


def test_waits_of_the_host_are_counted_by_kind_and_line(state: State) -> None:
    tensor = torch.arange(3, device="cuda")
    assert not state.waits
    assert (int(tensor[1]), tensor.nonzero().tolist(), tensor[tensor > 1].tolist()) == (1, [[1], [2]], [2])
    kinds = {kind for _, kind, place in state.waits if place.startswith(__file__)}
    assert kinds == {"local_scalar_dense", "nonzero", "index by a mask", "copy to the CPU"}
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchronizing"):
        tensor.sum().item()


@pytest.mark.parametrize("waits", [True, False])
def test_a_stream_that_does_not_wait_for_another_races(waits: bool, state: State) -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        made = torch.ones(3, device="cuda") * 2
    if waits:
        torch.cuda.current_stream().wait_stream(side)
    made.add_(1)
    assert bool(state.races) != waits
    made.record_stream(torch.cuda.current_stream())


@pytest.mark.parametrize("records", [True, False])
def test_memory_that_another_stream_still_uses_is_not_to_be_freed(records: bool, state: State) -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        made = torch.ones(3, device="cuda")
    torch.cuda.current_stream().wait_stream(side)
    result = made + 1
    if records:
        made.record_stream(torch.cuda.current_stream())
    del made
    assert bool(state.races) != records
    assert result.tolist() == [2, 2, 2]


def test_gradients_are_those_of_the_cpu_in_threads_too() -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    grads = []
    with PretendedGpu():
        for device in ("cpu", "cuda"):
            leaf = weight.clone().to(device).requires_grad_()

            def run(leaf: torch.Tensor = leaf) -> None:
                (leaf @ leaf.T).softmax(0).square().sum().backward()

            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert leaf.grad is not None and leaf.grad.device.type == device
            grads.append(leaf.grad.cpu())
    torch.testing.assert_close(grads[0], grads[1])


def test_more_than_its_memory_is_refused() -> None:
    with PretendedGpu(capacity=1000):
        held = torch.zeros(100, device="cuda")
        with pytest.raises(torch.cuda.OutOfMemoryError):
            torch.zeros(200, device="cuda")
        assert held.sum() == 0
