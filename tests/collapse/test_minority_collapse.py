"""The paper's claim in the small: under imbalance a learned center classifier gives rare classes up."""

import pytest
import torch
import torch.nn.functional as F

from pointseg.collapse import CenterCollapse

NUM_FREQUENT, NUM_RARE, DIM = 5, 5, 16
NUM_CLASSES = NUM_FREQUENT + NUM_RARE
EVERY = 50
"""A rare class is in one batch of so many, a frequent one in each."""


class LearnedCenterClassifier(torch.nn.Module):
    """What the branch would be with learned rows in place of the simplex: cross-entropy of centers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(0.1 * torch.randn(NUM_CLASSES, DIM))

    def forward(self, centers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(centers @ self.rows.T, labels, reduction="sum")


def _train(branch: torch.nn.Module, seed: int) -> torch.Tensor:
    """Features that are free, as the last layer of a large network: one point a class, batch by batch. (K, D)."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.Parameter(0.1 * torch.randn(NUM_CLASSES, DIM, generator=generator))
    optimizer = torch.optim.SGD([features, *branch.parameters()], lr=0.1, weight_decay=0.05)
    for step in range(2000):
        rare = [k for k in range(NUM_FREQUENT, NUM_CLASSES) if (step + 10 * k) % EVERY == 0]
        labels = torch.tensor([*range(NUM_FREQUENT), *rare])
        optimizer.zero_grad()
        branch(features[labels], labels).backward()
        optimizer.step()
    return features.detach()


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    """Of all pairs of different rows."""
    cosines = F.cosine_similarity(rows.unsqueeze(0), rows.unsqueeze(1), dim=-1)
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    return cosines[first, second]


@pytest.mark.parametrize("seed", [0, 1])
def test_rare_classes_stay_apart_on_a_fixed_simplex_only(seed: int) -> None:
    """Learned: rows and features of the rare classes point one way, those of frequent classes do not.

    Fixed: the features of all classes, rare or not, are at the simplex' angle of each other.
    """
    torch.manual_seed(seed)
    learned = LearnedCenterClassifier()
    features = _train(learned, seed)
    for rows in (learned.rows.detach(), features):
        assert _cosines(rows[NUM_FREQUENT:]).min() > 0.95
        assert _cosines(rows[:NUM_FREQUENT]).max() < 0.0

    cosines = _cosines(_train(CenterCollapse.paper(DIM, NUM_CLASSES), seed))
    torch.testing.assert_close(cosines, torch.full_like(cosines, -1 / (NUM_CLASSES - 1)), rtol=0, atol=0.02)
