"""Colours: materials with their textures, then light, then the camera's noise."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from pointseg.rooms.mesh import RoomMesh
from pointseg.rooms.smooth_noise import smooth_noise
from pointseg.rooms.tables import read_table

TILE_M = 0.3


@dataclass(frozen=True)
class RoomMaterial:
    """One row of ``materials.tsv``."""

    name: str
    rgb: tuple[int, int, int]
    texture: str
    """plain, wood, fabric, speckle, brushed, tile, stripes, picture, print or books."""


@cache
def load_materials() -> dict[str, RoomMaterial]:
    """All materials by name."""

    def parse_material(row: dict[str, str]) -> RoomMaterial:
        return RoomMaterial(row["material"], (int(row["r"]), int(row["g"]), int(row["b"])), row["texture"])

    return {material.name: material for material in read_table("materials.tsv", parse_material)}


def paint_mesh(mesh: RoomMesh, rng: np.random.Generator) -> np.ndarray:
    """(N, 3) uint8: the colour of every vertex, with texture, the room's light, and noise."""
    materials = [load_materials()[name] for name in mesh.material_of_piece]
    shade_of_piece = _shades(mesh, materials, rng)
    rgb = shade_of_piece[mesh.piece_of_vertex]
    texture_of_vertex = np.array([material.texture for material in materials])[mesh.piece_of_vertex]
    # One random phase and frequency a piece, so that no two pieces of wood are the same.
    phase = rng.uniform(0, 2 * np.pi, size=(len(materials), 6))
    for texture in sorted(set(texture_of_vertex.tolist()) - {"plain"}):
        of = np.flatnonzero(texture_of_vertex == texture)
        piece = mesh.piece_of_vertex[of]
        rgb[of] = _apply_texture(
            texture, rgb[of], mesh.unit[of], mesh.size_of_piece_m[piece], phase[piece], rng.normal(size=len(of))
        )
    # Exposure and white balance are the camera's, and differ from scan to scan.
    rgb *= _light(mesh, rng)[:, None] * rng.uniform(0.75, 1.2) * rng.uniform(0.9, 1.1, size=3)
    rgb += rng.normal(0, 4.0, size=(len(rgb), 1)) + rng.normal(0, 2.5, size=rgb.shape)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _shades(mesh: RoomMesh, materials: list[RoomMaterial], rng: np.random.Generator) -> np.ndarray:
    """(pieces, 3): the material's colour, a little different on every object."""
    num_things = len(mesh.things)
    factor = rng.normal(1.0, 0.1, size=num_things)[:, None]
    tint = rng.normal(0.0, 8.0, size=(num_things, 3))
    # The walls of a room are painted alike.
    walls = [i for i, thing in enumerate(mesh.things) if thing.name == "wall"]
    factor[walls], tint[walls] = factor[walls[0]], tint[walls[0]]
    base = np.array([material.rgb for material in materials], dtype=np.float64)
    return base * factor[mesh.thing_of_piece] + tint[mesh.thing_of_piece]


def _apply_texture(
    texture: str, rgb: np.ndarray, unit: np.ndarray, size: np.ndarray, phase: np.ndarray, white: np.ndarray
) -> np.ndarray:
    """Colours (n, 3) of vertices at ``unit`` (n, 3) of pieces ``size`` (n, 3) metres, with ``phase`` (n, 6) a piece."""
    metres = unit * size
    x, y, z = metres.T
    if texture == "wood":
        along_x = size[:, 0] >= size[:, 2]
        across, along = np.where(along_x, z + y, x + y), np.where(along_x, x, z)
        grain = np.sin(70 * across + 3 * np.sin(5 * along + phase[:, 0]) + phase[:, 1]) + 0.5 * white
        return rgb * (1 + 0.07 * grain)[:, None]
    if texture in ("fabric", "speckle", "brushed"):
        strength = {"fabric": 0.05, "speckle": 0.09, "brushed": 0.03}[texture]
        return rgb * (1 + strength * white)[:, None]
    if texture == "tile":
        joint = ((metres / TILE_M + 0.5) % 1.0 < 0.12)[:, [0, 2]].any(axis=1)
        return rgb * np.where(joint, 0.8, 1.0)[:, None]
    if texture == "stripes":
        stripe = np.sin(2 * np.pi * unit[:, 0] * (4 + np.floor(phase[:, 2])) + phase[:, 0]) > 0
        other = 60 + 180 * (0.5 + 0.5 * np.sin(phase[:, 3:6]))
        return np.where(stripe[:, None], rgb, other)
    if texture == "print":
        line = (np.sin(90 * z + phase[:, 0]) > 0.3) & (unit[:, 0] > 0.1) & (unit[:, 0] < 0.9)
        return rgb * np.where(line, 0.86, 1.0)[:, None]
    if texture == "books":
        spine = np.floor(unit[:, 0] * (6 + np.floor(phase[:, 1]))) + 7 * np.floor(phase[:, 0] * 10)
        random = np.sin(spine[:, None] * np.array([12.9898, 78.233, 37.719, 93.989])) * 43758.5453 % 1.0
        return 30 + 150 * (0.65 * random[:, 3:] + 0.5 * random[:, :3])
    assert texture == "picture", texture
    u, v = unit[:, 0] * 3.0, (unit[:, 2] + unit[:, 1]) * 3.0
    first = np.sin((1 + 0.4 * phase[:, 0]) * u + phase[:, 1]) * np.sin((1 + 0.3 * phase[:, 2]) * v + phase[:, 3])
    second = np.sin(u * 1.7 - v + phase[:, 4])
    hue_a, hue_b = _muted(phase[:, 0:3], 75), _muted(phase[:, 3:6], 60)
    return rgb + first[:, None] * hue_a + second[:, None] * hue_b


def _muted(phase: np.ndarray, strength: float) -> np.ndarray:
    """(n, 3) colour offsets, mostly light against dark and little hue."""
    hue = np.sin(phase)
    return strength * (0.7 * hue[:, :1] + 0.45 * hue)


def _light(mesh: RoomMesh, rng: np.random.Generator) -> np.ndarray:
    """(N,) brightness: one lamp or window, daylight from above, dim corners near the floor."""
    low, high = mesh.xyz.min(axis=0), mesh.xyz.max(axis=0)
    lamp = low + (high - low) * rng.uniform([0.2, 0.2, 0.9], [0.8, 0.8, 1.1])
    to_lamp = lamp - mesh.xyz
    distance = np.linalg.norm(to_lamp, axis=1)
    facing = (to_lamp * mesh.vertex_normals()).sum(axis=1) / np.maximum(distance, 1e-6)
    falling_off = np.exp(-distance / rng.uniform(3.5, 7.0))
    brightness = 0.62 + 0.14 * np.clip(facing, -0.5, 1) + 0.32 * falling_off
    near_floor = np.exp(-np.clip(mesh.xyz[:, 2], 0, None) / 0.25)
    return brightness * (1 - 0.08 * near_floor) * (1 + 0.035 * smooth_noise(mesh.xyz, 1.2, rng))
