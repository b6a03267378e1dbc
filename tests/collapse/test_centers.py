"""Centers are class means, whatever is left out."""

import pytest
import torch

from pointseg.collapse import ClassCenters


def test_centers_are_the_means_of_a_literal_loop() -> None:
    torch.manual_seed(0)
    features, labels = torch.randn(500, 7, dtype=torch.float64), torch.randint(-1, 12, (500,))
    centers, counts = ClassCenters(10)(features, labels)
    for k in range(10):
        members = [features[i] for i in range(500) if labels[i] == k]
        assert counts[k] == len(members)
        torch.testing.assert_close(centers[k], torch.stack(members).mean(0))


def test_an_absent_class_has_no_center_and_ignored_points_have_no_weight() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [float("nan"), float("inf")]])
    result = ClassCenters(3)(features, torch.tensor([1, 1, -1]))
    assert result.present.tolist() == [False, True, False]
    assert result.centers.tolist() == [[0, 0], [2, 3], [0, 0]]


def test_half_precision_features_are_summed_in_float32() -> None:
    """A class of 100,000 points: a half-precision sum would stop growing at 2,048."""
    features = torch.ones(100_000, 2, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        centers, counts = ClassCenters(2)(features, torch.zeros(100_000, dtype=torch.int64))
    assert centers.dtype == torch.float32
    assert counts.tolist() == [100_000, 0]
    assert centers[0].tolist() == [1, 1]


def test_gradients_are_right() -> None:
    features = torch.randn(20, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(-1, 4, (20,))
    assert torch.autograd.gradcheck(lambda x: ClassCenters(5)(x, labels).centers, (features,))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(3,\)"):
        ClassCenters(2)(torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64))
