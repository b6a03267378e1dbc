"""Finding a free pose for one object: by a wall, on a table, in front of a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pointseg.rooms.recipes import Place
from pointseg.rooms.shapes import Shape

NUM_TRIES = 48
MAX_HOSTS = 4
"""So many hosts are tried, in random order."""
GAP_M = 0.01
"""Objects may overlap by this much."""
WALL_YAW = np.array([0.0, np.pi / 2, -np.pi / 2, np.pi])
"""Turn of an object whose back (its +y side) is at wall 0 (y = depth), 1 (x = 0), 2 (x = width), 3 (y = 0)."""


@dataclass(frozen=True)
class Pose:
    """Where an object stands: the centre of its footprint, its lower edge, and its turn about z."""

    x: float
    y: float
    z: float
    yaw: float
    host: int = -1
    """Index of the object it stands on, under, at or in front of; -1: none."""

    @cached_property
    def rotation(self) -> np.ndarray:
        """(2, 2): object axes to room axes."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cos, -sin], [sin, cos]])

    def box(self, size: np.ndarray) -> np.ndarray:
        """(6,) axis-aligned box of an object of this size: x0, y0, z0, x1, y1, z1."""
        return _boxes(np.array([[self.x, self.y, self.z, self.yaw]]), size)[0]

    def to_room(self, xyz: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Points (N, 3) in metres in the object's own frame, its lower front left corner at 0, to the room."""
        turned = (xyz[:, :2] - size[:2] / 2) @ self.rotation.T
        return np.column_stack([turned[:, 0] + self.x, turned[:, 1] + self.y, xyz[:, 2] + self.z])


@dataclass(frozen=True, eq=False)
class Placed:
    """An object that stands already."""

    name: str
    shape: Shape
    size_m: np.ndarray
    pose: Pose


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What an object has to find its place in."""

    room_m: np.ndarray
    """(3,) width, depth, height."""
    walls: tuple[int, ...]
    placed: Sequence[Placed]
    boxes: np.ndarray
    """(n, 6) axis-aligned boxes of ``placed``."""


def find_pose(place: Place, size: np.ndarray, around: Surroundings, rng: np.random.Generator) -> Pose | None:
    """Draw poses that suit ``place`` until one is free.

    Args:
        place: what is asked for.
        size: (3,) of the object, metres.
        around: the room and what stands in it.
        rng: the source of the draws.

    Returns:
        a pose inside the room that overlaps nothing, but for its host where it is on, under, over or around it;
        None if there was none.
    """
    if place.relation in ("side", "corner", "wall"):
        return _first_free(_poses_at_walls(place, size, around, rng), size, around)
    if place.relation in ("middle", "ceiling"):
        return _first_free(_poses_in_the_middle(place, size, around.room_m, rng), size, around)
    hosts = [i for name in place.hosts for i, other in enumerate(around.placed) if other.name == name]
    for host in rng.permutation(hosts)[:MAX_HOSTS].tolist():
        other = around.placed[host]
        local = _poses_at_host(place.relation, size, other, rng)
        turned = local[:, :2] @ other.pose.rotation.T + (other.pose.x, other.pose.y)
        candidates = np.column_stack([turned, local[:, 2], local[:, 3] + other.pose.yaw])
        pose = _first_free(candidates, size, around, host, may_overlap_host=place.relation != "at")
        if pose is not None:
            return pose
    return None


def _first_free(
    candidates: np.ndarray, size: np.ndarray, around: Surroundings, host: int = -1, may_overlap_host: bool = False
) -> Pose | None:
    """The first of ``candidates`` (n, 4: x, y, z, yaw) that is inside the room and overlaps nothing."""
    own = _boxes(candidates, size)
    inside = (own[:, :2] >= -GAP_M).all(axis=1) & (own[:, 3:] <= around.room_m + GAP_M).all(axis=1)
    low, high = around.boxes[:, :3], around.boxes[:, 3:]
    apart = np.any((own[:, None, :3] >= high - GAP_M) | (own[:, None, 3:] <= low + GAP_M), axis=2)
    if may_overlap_host:
        apart[:, host] = True
    free = np.flatnonzero(inside & apart.all(axis=1))
    if not len(free):
        return None
    x, y, z, yaw = candidates[free[0]].tolist()
    return Pose(x, y, z, yaw, host)


def _boxes(poses: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n, 6) axis-aligned boxes of an object of ``size`` (3,) in ``poses`` (n, 4)."""
    cos, sin = np.abs(np.cos(poses[:, 3])), np.abs(np.sin(poses[:, 3]))
    half = 0.5 * np.column_stack([cos * size[0] + sin * size[1], sin * size[0] + cos * size[1]])
    return np.column_stack([poses[:, :2] - half, poses[:, 2], poses[:, :2] + half, poses[:, 2] + size[2]])


def _poses_at_walls(place: Place, size: np.ndarray, around: Surroundings, rng: np.random.Generator) -> np.ndarray:
    width, depth, _ = around.room_m
    wall = rng.choice(around.walls, size=NUM_TRIES)
    free_length = np.where((wall == 0) | (wall == 3), width, depth) - size[0]  # below 0: it will not be inside
    share = rng.random(NUM_TRIES)
    if place.relation == "corner":
        share = np.round(share)
    offset = size[0] / 2 + share * free_length
    inward = size[1] / 2 + (0.0 if place.relation == "wall" else rng.uniform(0.0, 0.03, NUM_TRIES))
    x = np.choose(wall, [offset, inward, width - inward, offset])
    y = np.choose(wall, [depth - inward, offset, offset, inward])
    return np.column_stack([x, y, rng.uniform(*place.height_m, NUM_TRIES), WALL_YAW[wall]])


def _poses_in_the_middle(place: Place, size: np.ndarray, room: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    half = size[:2].max() / 2
    xy = half + rng.random((NUM_TRIES, 2)) * (room[:2] - 2 * half)
    # Large things stand square to the walls, small ones anyhow.
    spread = 0.06 if size[:2].max() > 0.75 else 0.6
    yaw = rng.integers(4, size=NUM_TRIES) * np.pi / 2 + rng.normal(0, spread, NUM_TRIES)
    z = room[2] - size[2] if place.relation == "ceiling" else 0.0
    return np.column_stack([xy, np.full(NUM_TRIES, z), yaw])


def _poses_at_host(relation: str, size: np.ndarray, host: Placed, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) x, y, z and turn in the frame of the host, whose centre is at 0 and whose front looks to -y."""
    if relation == "on":
        return _poses_on_top(size, host, rng)
    if relation == "at":
        return _poses_beside(size, host, rng)
    reach, turn = rng.uniform(-1, 1, NUM_TRIES), np.zeros(NUM_TRIES)
    if relation == "under":
        if (size > host.size_m + np.array([0, 0.05, 0])).any():
            return np.empty((0, 4))
        x = reach * (host.size_m[0] - size[0]) / 2
        return np.column_stack([x, rng.uniform(-0.02, 0.04, NUM_TRIES), turn, turn])
    if relation == "around":
        if size[0] < host.size_m[0] + 0.02 or size[2] < host.size_m[2]:
            return np.empty((0, 4))
        return np.array([[0.0, (host.size_m[1] - size[1]) / 2, host.pose.z, 0.0]])
    assert relation == "over", relation
    # Hung in front of the host, its upper edge a little above the host's, clear of the floor.
    z = max(host.pose.z + host.size_m[2] + 0.06 - size[2], 0.12 if size[2] < 1.9 else 0.03)
    x = reach * max(host.size_m[0] - size[0], 0.4 * host.size_m[0]) / 2
    return np.column_stack([x, np.full(NUM_TRIES, -(host.size_m[1] + size[1]) / 2), np.full(NUM_TRIES, z), turn])


def _poses_on_top(size: np.ndarray, host: Placed, rng: np.random.Generator) -> np.ndarray:
    if not host.shape.tops:
        return np.empty((0, 4))
    tops = np.array(host.shape.tops)[rng.integers(len(host.shape.tops), size=NUM_TRIES)] * host.size_m[:, None]
    extent = tops[:, :2, 1] - tops[:, :2, 0]
    # Things may hang over an edge a little.
    fits = (size[:2] <= extent * (1.25, 1.5)).all(axis=1)
    reach = np.maximum(extent - size[:2], 0) / 2
    xy = tops[:, :2].mean(axis=2) - host.size_m[:2] / 2 + rng.uniform(-1, 1, (NUM_TRIES, 2)) * reach
    turn = np.clip(rng.normal(0, 0.12, NUM_TRIES), -0.3, 0.3)
    return np.column_stack([xy, host.pose.z + tops[:, 2, 0], turn])[fits]


def _poses_beside(size: np.ndarray, host: Placed, rng: np.random.Generator) -> np.ndarray:
    """At one side of the host, most often the front, facing it."""
    side = rng.choice(4, size=NUM_TRIES, p=(0.5, 0.18, 0.16, 0.16))  # front, back, left, right
    along = np.where(side < 2, host.size_m[0], host.size_m[1])
    offset = rng.uniform(-0.5, 0.5, NUM_TRIES) * np.maximum(along - size[0] / 2, 0.1)
    out = np.where(side < 2, host.size_m[1], host.size_m[0]) / 2 + rng.uniform(0.02, 0.15, NUM_TRIES) + size[1] / 2
    x = np.choose(side, [offset, offset, -out, out])
    y = np.choose(side, [-out, out, offset, offset])
    turn = np.array([np.pi, 0.0, np.pi / 2, -np.pi / 2])[side] + rng.normal(0, 0.1, NUM_TRIES)
    return np.column_stack([x, y, np.zeros(NUM_TRIES), turn])
