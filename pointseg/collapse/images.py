"""Images as points, for which the branch is the same."""

import torch


def flatten_images(
    features: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
    """Images (B, D, H, W) with labels (B, H, W) as points: (BHW, D), (BHW,), the image of each (BHW,), and B.

    Raises:
        ValueError: the labels have another batch or size than the features.
    """
    num_images, channels, height, width = features.shape
    if labels.shape != (num_images, height, width):
        raise ValueError(
            f"expected labels {(num_images, height, width)} for features {tuple(features.shape)}, "
            f"got {tuple(labels.shape)}"
        )
    image_of_point = torch.arange(num_images, device=labels.device).repeat_interleave(height * width)
    return features.permute(0, 2, 3, 1).reshape(-1, channels), labels.reshape(-1), image_of_point, num_images
