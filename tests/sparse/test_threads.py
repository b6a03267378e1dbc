"""Parts on threads: same results, nothing left changed, mistakes reported."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import pytest
import torch

from pointseg.sparse import SubMConv3d, rulebook
from pointseg.sparse.rulebook import run_parts
from tests.sparse.dense_reference import random_tensor

CPU = torch.device("cpu")


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_parts_run_side_by_side_and_come_back_in_order() -> None:
    """Two parts that wait for each other both finish, each on a thread where torch has one thread."""
    both = threading.Barrier(2, timeout=20)

    def work(part: int) -> tuple[int, int, bool]:
        both.wait()
        return part, torch.get_num_threads(), torch.is_grad_enabled()

    assert run_parts(work, 2, CPU) == [(0, 1, False), (1, 1, False)]
    assert run_parts(lambda part: part, 7, CPU) == list(range(7))


@pytest.mark.usefixtures("two_threads")
def test_torchs_own_number_of_threads_stays_for_this_thread_and_for_new_ones() -> None:
    run_parts(lambda part: time.sleep(0.01), 2, CPU)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]


@pytest.mark.usefixtures("two_threads")
def test_a_failure_in_a_part_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        run_parts(lambda part: 1 // (1 - part), 2, CPU)


def test_one_thread_and_two_give_the_same_convolution() -> None:
    """The cut into blocks depends on the number of threads; outputs and gradients do not, up to rounding."""
    layer = SubMConv3d(4, 5, 3, bias=False)
    before = torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 2):
            torch.set_num_threads(num_threads)
            tensor = random_tensor(6000, (25, 25, 25), channels=4, dtype=torch.float32)
            output = layer(tensor).features
            results.append([output, *torch.autograd.grad(output.square().sum(), [tensor.features, layer.weight])])
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_threads_that_ask_at_once_share_one_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service predicts from several threads; each of them made a pool of its own, and all but one were lost."""
    monkeypatch.setattr(rulebook, "_pools", {})
    everyone, pools = threading.Barrier(3, timeout=20), []
    made = rulebook.ThreadPoolExecutor

    def slow(*arguments: object, **choices: object) -> object:
        time.sleep(0.1)
        return made(*arguments, **choices)  # type: ignore[arg-type]

    monkeypatch.setattr(rulebook, "ThreadPoolExecutor", slow)

    def ask() -> None:
        everyone.wait()
        pools.append(rulebook._pool(2))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, pools))) == 1
    pools[0].shutdown()


def _run_in_child(connection: Connection) -> None:
    torch.set_num_threads(2)
    connection.send(run_parts(lambda part: part, 2, CPU))


@pytest.mark.usefixtures("two_threads")
def test_a_forked_process_makes_threads_of_its_own() -> None:
    """A fork inherits the pool without its threads; waiting for them would hang."""
    run_parts(lambda part: part, 2, CPU)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_run_in_child, args=(sender,))
    child.start()
    answered = receiver.poll(30)
    child.kill()
    child.join()
    assert answered
    assert receiver.recv() == [0, 1]
