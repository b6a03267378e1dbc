"""How strongly the center branch pulls at the features, beside the labels."""

import torch

from pointseg.models import NetworkOutput


def measure_pull(
    output: NetworkOutput, by_labels: torch.Tensor, branch: torch.Tensor, classifier: torch.Tensor
) -> torch.Tensor:
    """‖∂(λ L_CR)/∂z‖ / ‖∂L_PR/∂z‖ over all points, z the last features: at 1 both pull alike, at 0 the branch is idle.

    No gradient of a parameter changes, and the graph stays for the backward pass.

    Args:
        output: of the network, at least float32, in the graph of both losses: a gradient of half precision overflows
            where a center has few points, and vanishes where a mean has many.
        by_labels: L_PR of the labels as the loss has it, a scalar.
        branch: λ L_CR, a scalar.
        classifier: (K, D) the weight by which the features became logits.

    Returns:
        Scalar of the classifier's dtype; zero where no point has a label.
    """
    (of_logits,) = torch.autograd.grad(by_labels, output.logits, retain_graph=True)
    (of_features,) = torch.autograd.grad(branch, output.features, retain_graph=True)
    norm = (of_logits.to(classifier.dtype) @ classifier.to(of_logits.device)).norm()
    return torch.where(norm > 0, of_features.to(classifier.dtype).norm() / norm, 0)
