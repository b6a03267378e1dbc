"""Colours that stand for different things look different, in light and in shade."""

import numpy as np
import pytest

from pointseg.output.palette import choose_wrong_color, distances, oklab, tell_apart
from pointseg.taxonomy import Taxonomy

NONE = np.empty((0, 3), np.uint8)


def test_lightness_is_that_of_oklab() -> None:
    """White, black, and the red of the reference implementation."""
    np.testing.assert_allclose(oklab(np.array([255, 255, 255])), (1, 0, 0), atol=1e-3)
    np.testing.assert_allclose(oklab(np.array([0, 0, 0])), (0, 0, 0), atol=1e-9)
    np.testing.assert_allclose(oklab(np.array([255, 0, 0])), (0.62796, 0.22486, 0.12585), atol=1e-4)


def test_a_colour_in_the_shade_is_near_the_colour_itself() -> None:
    """Which of two greys is the other in the shade does not matter."""
    light, dark, blue = [200, 200, 200], [144, 144, 144], [40, 60, 200]
    matrix = distances(np.array([light, blue]), np.array([dark]))
    assert matrix[0, 0] < 0.001
    assert matrix[1, 0] > 0.1
    np.testing.assert_allclose(distances(np.array([dark]), np.array([light, blue])), matrix.T)


def test_near_identical_colours_are_told_apart_and_the_first_keeps_its_own(taxonomy: Taxonomy) -> None:
    names = ["cabinet", "wall", "doorframe", "floor", "trash can"]
    colors = np.array([taxonomy.colors[taxonomy.class_names.index(name)] for name in names])
    before = distances(colors, colors) + np.eye(5)
    assert before.min() < 0.02
    told = tell_apart(colors, NONE)
    assert (told[[0, 1, 3]] == colors[[0, 1, 3]]).all()  # those that look like no earlier one
    assert (told[2] != colors[2]).any()
    assert (distances(told, told) + np.eye(5)).min() > 0.04


def test_colours_that_differ_stay_as_they_are() -> None:
    colors = np.array([[200, 30, 30], [30, 30, 200], [30, 160, 30]], np.uint8)
    assert (tell_apart(colors, NONE) == colors).all()
    assert tell_apart(NONE, NONE).shape == (0, 3)


def test_a_colour_with_a_meaning_of_its_own_is_given_to_no_class() -> None:
    told = tell_apart(np.array([[220, 220, 220]], np.uint8), np.array([[225, 225, 225]], np.uint8))
    assert distances(told, np.array([[225, 225, 225]])).min() > 0.04


@pytest.mark.parametrize("number", [40, 200])
def test_of_many_classes_most_are_told_apart(taxonomy: Taxonomy, number: int) -> None:
    told = tell_apart(taxonomy.colors[:number], NONE)
    nearest = (distances(told, told) + np.eye(number)).min(axis=1)
    before = (distances(taxonomy.colors[:number], taxonomy.colors[:number]) + np.eye(number)).min(axis=1)
    assert np.median(nearest) > np.median(before)
    if number == 40:
        assert nearest.min() > 0.04


def test_wrong_has_the_best_colour_that_is_free() -> None:
    red, magenta = choose_wrong_color(NONE), choose_wrong_color(np.array([[214, 39, 40]]))
    assert red == (214, 39, 40)
    assert magenta != red
    assert choose_wrong_color(np.array([red, magenta])) not in (red, magenta)
