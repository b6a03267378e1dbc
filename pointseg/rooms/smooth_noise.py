"""Smooth random fields in space."""

import numpy as np


def smooth_noise(xyz: np.ndarray, wavelength_m: float, rng: np.random.Generator, num_waves: int = 6) -> np.ndarray:
    """(N,) float32: a sum of random plane waves of about this length; mean 0, standard deviation about 1."""
    directions = rng.normal(size=(num_waves, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wave_vectors = directions * (2 * np.pi / (wavelength_m * rng.uniform(0.7, 1.4, size=(num_waves, 1))))
    phases = rng.uniform(0, 2 * np.pi, size=num_waves).astype(np.float32)
    x, y, z = (np.ascontiguousarray(xyz[:, i], dtype=np.float32) for i in range(3))
    total = np.zeros(len(xyz), dtype=np.float32)
    for (a, b, c), phase in zip(wave_vectors.astype(np.float32), phases, strict=True):
        total += np.sin(a * x + b * y + c * z + phase)
    return total * np.float32(np.sqrt(2 / num_waves))
