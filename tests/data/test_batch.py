"""A batch is its scenes side by side."""

import torch

from pointseg.data.batch import collate
from pointseg.data.points import Points
from pointseg.data.voxelize import voxelize_by_mean


def test_scenes_are_concatenated_with_their_way_back() -> None:
    torch.manual_seed(0)
    scenes = []
    for index, num_points in enumerate((300, 1, 80)):
        xyz = torch.rand(num_points, 3)
        points = Points(xyz, torch.rand(num_points, 3), None, torch.randint(-1, 5, (num_points,)))
        scenes.append((f"scene{index}", points, voxelize_by_mean(points, 0.1, ("xyz", "rgb"))))
    batch = collate([(name, voxels) for name, _, voxels in scenes])

    assert batch.num_scenes == 3
    assert batch.names == ("scene0", "scene1", "scene2")
    assert batch.coords.dtype == torch.int32
    rows = [tuple(row) for row in batch.coords.tolist()]
    assert rows == sorted(set(rows))
    assert all(bool((batch.coords[:, 1 + axis] < batch.extent[axis]).all()) for axis in range(3))
    for index, (_, points, voxels) in enumerate(scenes):
        own = batch.voxel_of_point[index]
        assert (batch.coords[own, 0] == index).all()
        assert torch.equal(batch.features[own], voxels.features[voxels.voxel_of_point])
        assert torch.equal(batch.labels[batch.coords[:, 0] == index], voxels.label)
        assert len(own) == len(points)
