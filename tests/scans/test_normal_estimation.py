"""Normals of a point cloud point into the room."""

import sys

import numpy as np
import pytest

from pointseg.errors import UsageError
from pointseg.scans.normal_estimation import estimate_normals, turn_to_viewpoints
from tests.scans.rooms import furnished_room


def test_most_normals_are_those_of_the_surfaces() -> None:
    xyz, normal = furnished_room(per_square_metre=400)
    estimated = estimate_normals(xyz)
    assert estimated.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(estimated, axis=1), 1, atol=1e-5)
    cosine = (estimated * normal).sum(axis=1)
    assert (cosine > 0.9).mean() > 0.85


def test_the_side_does_not_depend_on_the_one_that_comes_in() -> None:
    """Walls and floor are all right; furniture is where a viewpoint may be hidden."""
    xyz, normal = furnished_room(per_square_metre=400)
    random_side = np.random.default_rng(0).choice([-1.0, 1.0], (len(xyz), 1))
    turned = turn_to_viewpoints(xyz, normal * random_side)
    is_right = (turned * normal).sum(axis=1) > 0
    assert is_right.mean() > 0.9
    assert is_right[xyz[:, 2] > 1.0].all()


def test_one_point_and_strays_are_no_trouble() -> None:
    assert turn_to_viewpoints(np.zeros((1, 3)), np.array([[0.0, 0.0, -1.0]])).tolist() == [[0.0, 0.0, 1.0]]
    xyz, normal = furnished_room()
    far = np.vstack([xyz, [[1e6, 0, 0]]])
    turned = turn_to_viewpoints(far, np.vstack([normal, [[1.0, 0, 0]]]))
    assert ((turned[:-1] * normal).sum(axis=1) > 0).mean() > 0.9


@pytest.mark.parametrize("size_m", [(60_000, 60_000, 60_000), (1e6, 2, 2), (1e-6, 1e-6, 1e-6)])
def test_a_scan_of_any_size_is_done_soon(size_m: tuple[float, float, float]) -> None:
    """As where millimetres are taken for metres: the grid has a largest size, and rays a largest number of steps."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(300, 3))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    turned = turn_to_viewpoints(rng.random((300, 3)) * size_m, normal)
    np.testing.assert_allclose(np.abs(turned), np.abs(normal), atol=1e-6)


def test_without_open3d_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open3d", None)
    with pytest.raises(UsageError, match="needs Open3D; type: pip install 'pointseg\\[viz\\]'"):
        estimate_normals(np.zeros((20, 3)))
