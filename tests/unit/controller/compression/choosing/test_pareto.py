"""The front is what nothing dominates; the hypervolume is what it covers, against counting cells."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.compression.choosing.pareto import Point, dominates, front, hypervolume

SIDE = 5
GRID = st.integers(0, SIDE)
POINTS = st.lists(st.builds(Point, GRID, GRID, GRID), max_size=8)
CORNER = Point(SIDE, SIDE, SIDE)


@given(POINTS)
def test_front_when_given_points_then_none_on_it_is_dominated_and_all_others_are(points: list[Point]) -> None:
    on_front = set(front(points))
    for index, point in enumerate(points):
        assert (index in on_front) == (not any(dominates(other, point) for other in points))


@given(POINTS)
def test_hypervolume_when_measured_then_is_the_number_of_unit_cells_that_are_dominated(points: list[Point]) -> None:
    cells = itertools.product(range(SIDE), repeat=3)
    covered = sum(any(all(mine <= its for mine, its in zip(p, cell, strict=True)) for p in points) for cell in cells)
    assert hypervolume(points, CORNER) == pytest.approx(covered)


@given(POINTS, st.builds(Point, GRID, GRID, GRID))
def test_hypervolume_when_a_point_comes_then_never_shrinks_and_grows_only_by_what_is_not_dominated(
    points: list[Point], new: Point
) -> None:
    before, after = hypervolume(points, CORNER), hypervolume([*points, new], CORNER)
    assert after >= before - 1e-9
    is_inside = all(one < SIDE for one in new)
    is_new = not any(other == new or dominates(other, new) for other in points)
    assert (after > before + 1e-9) == (is_inside and is_new)


def test_hypervolume_when_a_point_is_beyond_the_reference_in_one_axis_then_adds_nothing() -> None:
    assert hypervolume([Point(0, 0, 9)], CORNER) == 0.0
