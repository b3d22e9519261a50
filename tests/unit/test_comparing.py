"""Runs of other systems, compared by the rules of an evaluation."""

from pathlib import Path

import pytest

from ragtrial.errors import InputError
from ragtrial.suite.comparing import compare_runs, lines_of


def write_runs(folder: Path, n: int = 150) -> dict[str, Path]:
    """Baseline: the relevant passage second on every third query, first on the others; custom: always first."""
    files = {name: folder / f"{name}.txt" for name in ("qrels", "baseline", "custom")}
    files["qrels"].write_text("".join(f"q{i} 0 good{i} 1\n" for i in range(n)))
    files["custom"].write_text("".join(f"q{i} Q0 good{i} 1 2.0 c\nq{i} Q0 bad{i} 2 1.0 c\n" for i in range(n)))
    scores = [(2.0, 1.0) if i % 3 else (1.0, 2.0) for i in range(n)]
    files["baseline"].write_text("".join(f"q{i} Q0 good{i} 1 {g} b\nq{i} Q0 bad{i} 2 {b} b\n" for i, (g, b) in enumerate(scores)))
    return files


def test_runs_of_any_system_are_compared_by_the_same_rules(tmp_path: Path) -> None:
    analysis = compare_runs(**write_runs(tmp_path), metrics=["RR@2", "R@1", "RR@2"], min_effect=0.01)
    assert [c.metric.name for c in analysis.comparisons] == ["RR@2", "R@1"]  # asked for twice, measured once
    # 50 of 150 queries have the passage second: reciprocal rank (100 x 1 + 50 x 1/2) / 150
    assert analysis.primary.baseline.mean == pytest.approx(125 / 150)
    assert analysis.primary.custom.mean == 1.0
    assert (analysis.primary.wins, analysis.primary.ties, analysis.primary.losses) == (50, 100, 0)
    assert analysis.verdict.decision == "adopt custom"
    states = {check.name: check.state for check in analysis.checks}
    assert (states["parity"], states["leakage"], states["judgments"]) == ("unknown", "unknown", "pass")
    assert "plan" not in states  # nobody planned it
    assert lines_of(analysis)[-1] == analysis.verdict.sentence


def test_queries_that_only_one_file_has_are_counted(tmp_path: Path) -> None:
    files = write_runs(tmp_path)
    kept = [line for line in files["custom"].read_text().splitlines() if not line.startswith(("q0 ", "q1 "))]
    files["custom"].write_text("\n".join([*kept, "q900 Q0 good1 1 1.0 c", ""]))
    analysis = compare_runs(**files, metrics=["RR@2"], min_effect=0.01)
    assert analysis.primary.custom.mean == pytest.approx(148 / 150)  # dropped queries got nothing
    details = {check.name: check.detail for check in analysis.checks}
    assert details["judgments"] == "1 ranked queries of custom have no judgment and are left out"
    assert "custom failed on 2 trials (search: not in the run: 2)" in details["coverage"]


@pytest.mark.parametrize(
    ("metrics", "min_effect", "message"),
    [
        (["nDGC@5"], 0.01, "--metric: unknown metric 'nDGC@5'"),
        (["answer_f1"], 0.01, "--metric 'answer_f1': rankings alone have only retrieval metrics"),
        (["R@1"], 0.0, "--min-effect is 0"),
        (["R@1"], float("nan"), "--min-effect is nan"),
    ],
)
def test_what_can_not_be_compared_is_refused(metrics: list[str], min_effect: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        compare_runs(**write_runs(tmp_path), metrics=metrics, min_effect=min_effect)


def test_a_single_query_decides_nothing(tmp_path: Path) -> None:
    analysis = compare_runs(**write_runs(tmp_path, n=1), metrics=["R@1"], min_effect=0.01)
    assert analysis.verdict.decision == "too few"
    assert analysis.primary.effect is None
