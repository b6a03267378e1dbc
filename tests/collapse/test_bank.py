"""The bank stands in for absent classes, and for nothing else."""

import pytest
import torch

from pointseg.collapse import CenterCollapse, ClassCenters
from pointseg.collapse.bank import CenterBank


def test_it_is_the_moving_average_of_a_literal_loop() -> None:
    torch.manual_seed(0)
    bank, average = CenterBank(6, 3, momentum=0.7), {}
    for _ in range(20):
        features, labels = torch.randn(8, 3), torch.randint(0, 6, (8,))
        batch = ClassCenters(6)(features, labels)
        filled, known = bank(batch)
        for k in range(6):
            if batch.present[k]:
                torch.testing.assert_close(filled[k], batch.centers[k])
                average[k] = 0.7 * average[k] + 0.3 * batch.centers[k] if k in average else batch.centers[k]
            elif k in average:
                torch.testing.assert_close(filled[k], average[k])
            assert bool(known[k]) == (k in average)
    assert len(average) == 6


def test_in_evaluation_it_remembers_nothing() -> None:
    bank = CenterBank(3, 2, momentum=0.5).eval()
    bank(ClassCenters(3)(torch.ones(2, 2), torch.tensor([0, 1])))
    assert not bank.is_known.any() and not bank.centers.any()


def test_a_stand_in_moves_the_projection_and_no_point() -> None:
    """The second batch lacks class 1: the projection is still held to its vertex."""
    torch.manual_seed(0)
    branch, without = (CenterCollapse.paper(3, 8, momentum=m) for m in (0.9, None))
    without.load_state_dict(branch.state_dict(), strict=False)
    first = torch.randn(4, 3)
    branch(first, torch.tensor([0, 0, 1, 1]))
    features, labels = torch.randn(3, 3, requires_grad=True), torch.zeros(3, dtype=torch.int64)
    gradients = [
        torch.autograd.grad(module(features, labels), (features, module.lift.weight)) for module in (branch, without)
    ]
    torch.testing.assert_close(gradients[0][0], gradients[1][0])
    assert not torch.allclose(gradients[0][1], gradients[1][1])


def test_in_a_batch_without_a_label_no_stand_in_counts() -> None:
    """The loss is zero, and the projection and the mean of the centers stay where they are."""
    torch.manual_seed(0)
    branch = CenterCollapse.paper(3, 8, momentum=0.9, subtract_mean=True, mean_momentum=0.5)
    branch(torch.randn(4, 3), torch.tensor([0, 0, 1, 2]))
    before = {name: value.clone() for name, value in branch.state_dict().items()}
    features = torch.randn(3, 3, requires_grad=True)
    loss = branch(features, torch.full((3,), -1))
    loss.backward()
    assert loss.item() == 0
    assert not features.grad.any() and not branch.lift.weight.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in branch.state_dict().items())


def test_it_is_part_of_the_state_and_off_by_default() -> None:
    assert not any(name.startswith("bank") for name in CenterCollapse.paper(8, 5).state_dict())
    branch = CenterCollapse.paper(8, 5, momentum=0.9)
    branch(torch.ones(2, 8), torch.tensor([1, 3]))
    assert branch.state_dict()["bank.is_known"].tolist() == [False, True, False, True, False]
    assert not any(name.startswith("bank") for name, _ in branch.named_parameters())


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_a_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match="momentum in 0 <= m < 1"):
        CenterBank(3, 2, momentum)
