"""What the points of a task say: slopes worked by hand, plateaus and mastery."""

import pytest

from gymformer.curriculum import CurriculumGenerator, Progress


def told(*points: tuple[int, float, float]) -> Progress:
    progress = Progress()
    for count, success, difficulty in points:
        progress.add(count, success, difficulty)
    return progress


def test_a_slope_is_the_weighted_least_squares_of_the_last_200_episodes():
    """After 100, 200 and 300 episodes the success is 0.9, 0.2 and 0.4; the first lies too far back. The others rise by 0.2 in 100."""
    progress = told((100, 0.9, 0.0), (100, 0.2, 0.0), (100, 0.4, 0.1))
    assert progress.slope("success") == pytest.approx(0.2) and progress.slope("difficulty") == pytest.approx(0.1)
    # x = 10, 20, 50 with weights 1, 1, 3: their mean is 36, x - 36 = -26, -16, 14; Σ w x² = 676 + 256 + 588 = 1520,
    # and of y = 0, 1, 1 Σ w x y = -16 + 42 = 26.
    progress = told((10, 0.0, 0.0), (10, 1.0, 0.0), (30, 1.0, 0.0))
    assert progress.slope("success") == pytest.approx(100 * 26 / 1520)
    assert told((10, 0.5, 0.0)).slope("success") == told().slope("success") == 0.0


@pytest.mark.parametrize(
    ("points", "state"),
    [
        ([(50, 0.9, 1.0)], "new"),
        ([(50, 0.9, 1.0)] * 4, "mastered"),
        ([(50, 0.7, 1.0)] * 4, "plateau"),
        ([(50, 0.8, 0.1 * n) for n in range(4)], "rising"),
        ([(50, 0.4, 0.5 - 0.1 * n) for n in range(4)], "falling"),
        ([(50, 0.5 + 0.1 * n, 0.5) for n in range(4)], "rising"),
    ],
)
def test_the_state_of_a_task(points, state):
    assert told(*points).summary()["state"] == state


def test_the_summary_reads_as_a_table_and_as_a_plot(tmp_path):
    generator = CurriculumGenerator(tasks={"sums": {"kind": "sums"}, "words": {"kind": "words"}})
    header, *lines = str(generator).splitlines()
    assert header.split() == ["task", "episodes", "difficulty", "per", "100", "success", "per", "100", "chance", "state"]
    assert lines[0].split() == ["sums", "0", "0.10", "+0.00", "0%", "+0%", "50%", "new"]
    generator.plot(tmp_path / "progress.png")
    assert (tmp_path / "progress.png").stat().st_size > 5000
