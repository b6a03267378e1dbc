"""Which surfaces a person walking through the room with a depth camera would have seen."""

import numpy as np

from pointseg.rooms.layout import Layout
from pointseg.rooms.mesh import RoomMesh

PIXEL_RAD = np.deg2rad(2.4)
MIN_INCIDENCE_COS = 0.1
"""A surface seen at a flatter angle gives no depth."""


def visible_faces(mesh: RoomMesh, cameras: np.ndarray) -> np.ndarray:
    """(M,) bool: faces seen from at least one of ``cameras`` (C, 3)."""
    center = mesh.face_centers().astype(np.float32)
    normal = mesh.face_normals().astype(np.float32)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    seen = np.zeros(len(center), dtype=bool)
    for camera in cameras.astype(np.float32):
        seen |= _seen_from(camera, center, normal)
    return seen


def choose_cameras(layout: Layout, rng: np.random.Generator) -> np.ndarray:
    """(C, 3) positions of a camera at the height of a person's chest or head, clear of objects and far apart."""
    width, depth, _ = layout.size_m
    number = int(np.clip(width * depth / 1.8, 3, 14))
    candidates = rng.uniform([0.15, 0.15, 1.15], [width - 0.15, depth - 0.15, 1.85], size=(80, 3))
    boxes = layout.boxes()
    margin = 0.3
    inside = (candidates[:, None] > boxes[None, :, :3] - margin) & (candidates[:, None] < boxes[None, :, 3:] + margin)
    candidates = candidates[~np.any(inside.all(axis=2), axis=1)]
    chosen = [np.array([width / 2, -0.6, 1.7])] if 3 not in layout.walls else [np.array([width / 2, depth / 2, 1.9])]
    while len(candidates) and len(chosen) < number:
        distance = np.linalg.norm(candidates[:, None] - np.array(chosen)[None], axis=2).min(axis=1)
        chosen.append(candidates[int(np.argmax(distance))])
    return np.array(chosen)


def _seen_from(camera: np.ndarray, center: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """(M,) bool, by a panorama of depths: what lies clearly behind the nearest face of its pixel is hidden."""
    ray = center - camera
    distance = np.sqrt(np.einsum("ij,ij->i", ray, ray))
    incidence = -np.einsum("ij,ij->i", ray, normal) / distance
    facing = np.flatnonzero(incidence > MIN_INCIDENCE_COS)
    ray, distance, incidence = ray[facing], distance[facing], incidence[facing]
    azimuth = ((np.arctan2(ray[:, 1], ray[:, 0]) + np.pi) / PIXEL_RAD).astype(np.int64)
    elevation = ((np.arcsin(np.clip(ray[:, 2] / distance, -1, 1)) + np.pi / 2) / PIXEL_RAD).astype(np.int64)
    pixel = elevation * (int(2 * np.pi / PIXEL_RAD) + 2) + azimuth
    nearest = np.full(int(pixel.max(initial=0)) + 1, np.inf, dtype=np.float32)
    np.minimum.at(nearest, pixel, distance)
    # Within one pixel the depth of a slanted surface itself varies.
    slant = np.sqrt(1 - np.minimum(incidence, 1) ** 2) / np.maximum(incidence, 0.2)
    seen = np.zeros(len(center), dtype=bool)
    seen[facing] = distance <= nearest[pixel] + 0.012 + PIXEL_RAD * distance * slant
    return seen
