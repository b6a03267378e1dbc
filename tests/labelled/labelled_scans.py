"""Small labelled rooms as files, for the tests of the import."""

from pathlib import Path

import numpy as np

NAMES = {1: "floor", 2: "wall", 3: "chair"}
_KINDS = {"float": "<f4", "double": "<f8", "uchar": "u1", "char": "i1", "ushort": "<u2", "int": "<i4"}


def make_room(seed: int, num_points: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) metres and (N,) ids of NAMES: a floor, the walls, and a chair in the middle, each of another colour."""
    rng = np.random.default_rng(seed)
    u, v = rng.random((2, num_points))
    kind = rng.integers(1, 4, num_points)
    floor = np.stack([4 * u, 3 * v, 0 * u], axis=1)
    wall = np.stack([4 * u, np.where(u < 0.5, 0, 3), 2.5 * v], axis=1)
    chair = np.stack([1.5 + 0.5 * u, 1.5 + 0.5 * v, 0.5 + 0 * u], axis=1)
    return np.choose(kind[:, None] - 1, [floor, wall, chair]), kind


def write_ply(path: Path, xyz: np.ndarray, color: bool = True, normal: bool = True, **properties: tuple) -> Path:
    """A binary PLY; each of ``properties`` is (PLY's type, values)."""
    columns: dict[str, tuple[str, np.ndarray]] = {axis: ("double", xyz[:, i]) for i, axis in enumerate("xyz")}
    if color:
        shade = (60 * np.asarray(next(iter(properties.values()))[1] if properties else xyz[:, 2])) % 256
        columns |= dict.fromkeys(("red", "green", "blue"), ("uchar", shade))
    if normal:
        columns |= {name: ("float", np.full(len(xyz), float(name == "nz"))) for name in ("nx", "ny", "nz")}
    columns |= properties
    table = np.empty(len(xyz), dtype=[(name, _KINDS[kind]) for name, (kind, _) in columns.items()])
    for name, (_, values) in columns.items():
        table[name] = values
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}"]
    header += [f"property {kind} {name}" for name, (kind, _) in columns.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\n".join([*header, "end_header", ""]).encode() + table.tobytes())
    return path


def write_rooms(folder: Path, names: list[str], first: int = 0) -> None:
    """A labelled room for each name (``sub/name``), all different."""
    for seed, name in enumerate(names, start=first):
        xyz, label = make_room(seed)
        write_ply(folder / f"{name}.ply", xyz, label=("int", label))


def write_table(path: Path, names: dict[int, str] = NAMES) -> Path:
    """A table of classes."""
    path.write_text("id\tname\n" + "".join(f"{i}\t{name}\n" for i, name in names.items()))
    return path
