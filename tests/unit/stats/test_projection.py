"""A plane keeps neighbours, is the same each time, and is turned towards another one."""

import numpy as np
import pytest

from ragtrial.errors import NotEnoughDataError
from ragtrial.stats.projection import on_a_plane


def groups(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three tight groups of unit vectors, far from each other."""
    rng = np.random.default_rng(seed)
    centres = np.eye(3, 24)
    label = np.arange(n) % 3
    vectors = centres[label] + rng.normal(0, 0.05, (n, 24))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), label


def test_groups_stay_groups_and_the_plane_says_how_far_it_can_be_trusted() -> None:
    vectors, label = groups(60)
    plane = on_a_plane(vectors, seed=1)
    assert plane.points.shape == (60, 2)
    assert float(np.abs(plane.points).max()) == pytest.approx(1.0)
    distance = np.linalg.norm(plane.points[:, None] - plane.points[None], axis=2) + 9 * np.eye(60)
    assert (label[distance.argmin(axis=1)] == label).all()
    noise = np.random.default_rng(2).normal(size=(60, 24)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    assert 0.5 < on_a_plane(noise, seed=1).trustworthiness < plane.trustworthiness <= 1


def test_the_same_seed_gives_the_same_plane() -> None:
    vectors, _ = groups(30)
    assert (on_a_plane(vectors, seed=3).points == on_a_plane(vectors, seed=3).points).all()


def test_a_plane_is_turned_towards_another_one() -> None:
    vectors, _ = groups(45)
    plain = on_a_plane(vectors, seed=5)
    quarter = plain.points @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    turned = on_a_plane(vectors, seed=5, like=quarter)
    assert np.allclose(turned.points, quarter, atol=1e-6)


def test_too_few_texts_make_no_map() -> None:
    vectors, _ = groups(9)
    with pytest.raises(NotEnoughDataError, match="there are 9 texts: a map needs at least 10"):
        on_a_plane(vectors, seed=0)
