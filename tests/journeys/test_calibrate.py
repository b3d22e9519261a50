"""A judge that likes one arm's style, found out and corrected by a person who labels a random few of its answers; and a judge asked again."""

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import Done, ragtrial_command
from material import write_beir_folder, write_experiment
from ragtrial.db.reader import Reader
from ragtrial.domain.label import LABEL_WORDS
from scripted_llm import Reply, ScriptedLlm, user_text
from unit.scoring.judged import fenced_in

STYLE = "Certainly! "
WORDS = LABEL_WORDS["judge_correctness"]
_USAGE = {"prompt_tokens": 300, "completion_tokens": 40, "total_tokens": 340}


def draw(*about: object) -> float:
    """A number from 0 to 1 that is always the same for the same things."""
    return int(hashlib.sha256(repr(about).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def truth(question: str, answer: str) -> str:
    """What a careful person says of an answer; its style plays no part."""
    at = draw(question, answer.removeprefix(STYLE))
    return "correct" if at < 0.4 else "partly" if at < 0.6 else "wrong"


def lenient_to_style(question: str, answer: str, seed: int) -> str:
    """A judge that wavers a little, and calls nearly everything right that is written in the style it likes."""
    word = truth(question, answer)
    if draw(question, answer, seed) < 0.1:
        word = "partly"
    if answer.startswith(STYLE) and draw(answer, question) < 0.9:
        word = "correct"
    return word


def server_of(judge: Callable[[str, str, int], str]) -> Callable[[dict[str, Any], int], Reply]:
    def reply(asked: dict[str, Any], _number: int) -> Reply:
        text = user_text(asked)
        if "verdict" not in asked["response_format"]["json_schema"]["schema"]["properties"]:
            passage = re.search(r"\[1\] (.*)", text)
            said = (STYLE if asked["model"] == "stylish" else "") + (passage[1][:60] if passage else "nothing")
            return Reply(text=json.dumps({"answer": said, "citations": [1], "abstained": False}), usage=_USAGE)
        found = fenced_in(text)
        word = judge(found["QUESTION"], found.get("ANSWER") or found["ANSWER A"], asked["seed"])
        return Reply(text=json.dumps({"rationale": "as it reads", "verdict": word}), usage=_USAGE)

    return reply


@pytest.fixture
def server() -> Iterator[ScriptedLlm]:
    with ScriptedLlm(server_of(lenient_to_style)) as running:
        yield running


def experiment_of(folder: Path, server: ScriptedLlm, *, n_queries: int, judge: str = "gpt-4o-mini", **more: Any) -> Path:
    """Two arms that write in different styles. Intervals cover 99.9 %, so that a test which asks for it fails once in a thousand runs."""
    data = folder / "data"
    if not data.exists():
        write_beir_folder(data, n_passages=150, n_queries=n_queries)
    llm = {"provider": "openai-compatible", "base_url": server.url}
    settings: dict[str, Any] = {
        "subject": ["embedding", "generation"],
        "arms": [
            {
                "name": name,
                "role": role,
                "embedding": {"provider": "hashing", "model": "a", "dimensions": dimensions},
                "generation": {**llm, "model": model},
            }
            for name, role, dimensions, model in (("plain-arm", "control", 64, "plain"), ("fancy-arm", "treatment", 256, "stylish"))
        ],
        "metrics": {
            "primary": {"name": "judge_correctness"},
            "judge": {"model": judge, "base_url": server.url, "repetitions": {"judge_correctness": 2}},
        },
        "llm": {"timeout_s": 30, "attempts": 2, "patience_s": 5},
        "analysis": {"resamples": 1000, "latency_queries": 0, "min_queries": 20, "alpha": 0.001},
    }
    return write_experiment(folder / "e.yaml", data, **{**settings, **more})


def run(*arguments: object) -> Done:
    done = ragtrial_command(*map(str, arguments))
    assert done.code in (0, 1), done.err
    return done


def said(done: Done) -> str:
    """What stands on the terminal, wherever its lines are broken."""
    return " ".join(done.out.split())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def label(path: Path) -> Path:
    """A person fills the file in."""
    rows = rows_of(path)
    for row in rows:
        row["label"] = truth(row["query"], row["answer"])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def true_difference(folder: Path) -> float:
    with Reader(f"sqlite:///{folder / '.ragtrial' / 'ragtrial.db'}") as reader:
        (evaluation,) = reader.evaluations("small")
        questions = {query.query_id: query.text for query in reader.gold(evaluation.evaluation_id).queries}
        trials = reader.trials(evaluation.evaluation_id)
    worth = {
        arm: np.mean([WORDS[truth(questions[t.query_id], t.answer.text)] for t in trials if t.arm == arm and t.answer is not None])
        for arm in ("plain-arm", "fancy-arm")
    }
    return float(worth["fancy-arm"] - worth["plain-arm"])


def between(interval: dict[str, float], value: float) -> bool:
    return interval["low"] <= value <= interval["high"]


def calibration_of(experiment: Path, *arguments: object) -> dict[str, Any]:
    done = json.loads(run("calibrate", experiment, *arguments, "--json").out)
    (found,) = done["calibrations"]
    return found  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_judge_that_likes_a_style_is_found_out_and_corrected(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment, to_label = experiment_of(tmp_path, server, n_queries=250), tmp_path / "to_label.csv"
    assert "nobody compared the judge with people" in said(run("evaluate", experiment, "--output", tmp_path / "out"))
    empty = calibration_of(experiment)
    assert (empty["corrected"]["difference"], empty["n_labels"]) == (None, 0)
    assert "nobody labelled" in empty["corrected"]["why_not"]

    proposed = run("calibrate", experiment, "--propose", 120, "--output", to_label)
    assert "to 60 queries drawn at random" in proposed.out
    assert "can't be told before the first labels are in" in proposed.out
    blinded = to_label.read_text()
    assert not [word for word in ("plain-arm", "fancy-arm", "as it reads", "small-") if word in blinded]
    assert {row["allowed"] for row in rows_of(to_label)} == {"correct | partly | wrong | abstained"}
    again = ragtrial_command("calibrate", experiment, "--propose", 120, "--output", to_label)
    assert again.code == 2, "labels that somebody filled in are never overwritten"
    assert "may hold labels" in again.err

    done = run("calibrate", experiment, "--labels", label(to_label), "--labeller", "ann")
    assert "read 120 labels of judge_correctness" in done.out
    found, difference = calibration_of(experiment), true_difference(tmp_path)
    assert (found["method"], found["n_pairs"], found["n_labels"]) == ("paired", 60, 120)
    assert not between(found["naive"]["difference"], difference), "the judge's own interval misses the truth"
    assert between(found["corrected"]["difference"], difference), "the corrected one holds it"
    assert found["bias"]["difference"]["estimate"] > 0.2, "it favours the style of the treatment"
    (agreement,) = found["agreements"]
    assert sum(map(sum, agreement["confusion"])) == agreement["n"] == 120

    more = run("calibrate", experiment, "--propose", 100, "--output", tmp_path / "more.csv")
    now, then = map(float, re.findall(r"±([0-9.]+)", more.out))
    assert then / now == pytest.approx((60 / 110) ** 0.5, rel=0.1), "as the labels grow from 60 pairs to 110"
    assert all(row["item"].startswith("answer-") for row in rows_of(to_label)), "a spreadsheet takes 12345678e901 for a number"
    assert not {row["item"] for row in rows_of(to_label)} & {row["item"] for row in rows_of(tmp_path / "more.csv")}
    run("calibrate", experiment, "--labels", label(tmp_path / "more.csv"), "--labeller", "ann")
    second = calibration_of(experiment)
    assert (second["n_queries"], second["n_labels"]) == (110, 220)
    assert between(second["corrected"]["difference"], difference)
    assert second["bias"]["difference"]["low"] > 0, "beyond chance"
    width = second["corrected"]["difference"]["high"] - second["corrected"]["difference"]["low"]
    # Which answers are drawn differs from run to run, as the server's port does: a plan from 60 pairs knows their spread only roughly.
    assert 0.5 < width / 2 / then < 2, "about as narrow as it was planned to be"

    reported = run("report", experiment, "--output", tmp_path / "out")
    assert "report.html" in reported.out
    page, summary = ((tmp_path / "out" / name).read_text() for name in ("report.html", "report.md"))
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["calibrations"] == [second]
    (check,) = [check for check in report["checks"] if check["name"].startswith("calibration")]
    assert (check["name"], check["state"]) == ("calibration[judge_correctness]", "warn")
    assert "the judge favours fancy-arm" in check["detail"]
    for text in (page, summary, run("analyse", experiment).out):
        assert "corrected by people" in " ".join(text.split())


@pytest.mark.slow
def test_labels_for_another_judge_are_stale_and_say_what_changed(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment = experiment_of(tmp_path, server, n_queries=60)
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    run("calibrate", experiment, "--propose", 60, "--output", tmp_path / "l.csv")
    run("calibrate", experiment, "--labels", label(tmp_path / "l.csv"))
    experiment_of(tmp_path, server, n_queries=60, judge="gpt-4.1-mini")
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    found = calibration_of(experiment)
    assert (found["n_labels"], found["corrected"]["difference"]) == (0, None)
    assert re.fullmatch(
        r"60 labels of evaluation small-\S+ are stale: the judge's model was 'gpt-4o-mini' and is 'gpt-4.1-mini'", found["stale"][0]
    )
    (check,) = [
        check for check in json.loads(run("analyse", experiment, "--json").out)["checks"] if check["name"].startswith("calibration")
    ]
    assert check["state"] == "unknown"
    assert "are stale" in check["detail"]


@pytest.mark.slow
def test_labels_that_came_by_themselves_show_in_the_agreement_and_correct_nothing(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment = experiment_of(tmp_path, server, n_queries=60)
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    own = tmp_path / "thumbs.csv"
    own.write_text("query_id;arm;label\n" + "".join(f"q{n};fancy-arm;wrong\n" for n in range(40)))
    refused = ragtrial_command("calibrate", experiment, "--labels", own)
    assert refused.code == 2
    assert "thumbs.csv: selection: it is not said whether these answers were drawn at random" in refused.err
    assert "(40 times, on lines 2, 3, 4, 5, 6 and 35 more)" in refused.err
    done = run("calibrate", experiment, "--labels", own, "--selection", "volunteered")
    assert "40 labels that came by themselves correct nothing" in done.out
    found = calibration_of(experiment)
    assert (found["n_labels"], found["n_volunteered"], found["corrected"]["difference"]) == (0, 40, None)
    assert [(each["selection"], each["n"]) for each in found["agreements"]] == [("volunteered", 40)]
    run("calibrate", experiment, "--labels", own, "--selection", "random", "--labeller", "bob")
    found = calibration_of(experiment)
    assert (found["n_labels"], found["n_volunteered"], found["method"]) == (40, 40, "independent")


def test_faults_of_a_file_are_listed_and_nothing_of_it_is_read(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment = experiment_of(tmp_path, server, n_queries=30)
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    run("calibrate", experiment, "--propose", 20, "--output", tmp_path / "l.csv")
    rows = rows_of(label(tmp_path / "l.csv"))
    rows[1]["label"] = "splendid"
    rows[2]["item"] = "0123456789ab"
    rows.append(rows[0])
    with (tmp_path / "l.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    done = ragtrial_command("calibrate", experiment, "--labels", tmp_path / "l.csv")
    assert done.code == 2
    assert re.search(r"l\.csv:\d+: label: 'splendid' is none of correct, partly, wrong, abstained", done.err)
    assert re.search(r"l\.csv:\d+: item: '0123456789ab' is no answer of this evaluation", done.err)
    assert re.search(r"l\.csv:\d+: item: stands in line 2 already", done.err)
    own = tmp_path / "own.csv"
    own.write_text("query_id,arm,label,selection\nq1,nobody,wrong,random\nq999,fancy-arm,wrong,random\nq1,fancy-arm,wrong,thumbs\n")
    done = ragtrial_command("calibrate", experiment, "--labels", own)
    assert "own.csv:2: arm: 'nobody' is no arm: give plain-arm or fancy-arm" in done.err
    assert "own.csv:3: query_id: 'q999' was not asked" in done.err
    assert "own.csv:4: selection: 'thumbs' is neither random nor volunteered" in done.err
    assert calibration_of(experiment)["n_labels"] == 0
    assert ragtrial_command("calibrate", experiment, "--metric", "nDCG@10").code == 2


def test_a_judge_that_answers_at_random_is_said_to(tmp_path: Path, server: ScriptedLlm) -> None:
    experiment = experiment_of(tmp_path, server, n_queries=30)
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    server.script = server_of(
        lambda question, answer, seed: ("correct", "partly", "wrong")[int(3 * draw(question, answer, seed, "any")) % 3]
    )
    before = len(server.requests)
    done = run("judge-check", experiment, "--queries", 20)
    assert "LLM calls: at most 200, about" in done.err
    assert "judging 40 answers to 20 queries again, 5 times each" in done.err
    assert len(server.requests) - before == 200, "nothing of it was in the cache"
    flipped = re.search(r"changed its mind on (\d+)% of 40 answers \(99.9% interval (\d+)% to (\d+)%\)", done.out)
    assert flipped
    assert int(flipped[1]) > 85, "1 - 3 ** -4 is 98.8 %"
    found = json.loads(run("judge-check", experiment, "--queries", 20, "--json").out)
    assert len(server.requests) - before == 200, "the second time all of it was"
    (check,) = found["metrics"]
    assert check["quality"]["disagreement"] == pytest.approx(2 / 3, abs=0.08)
    assert sum(check["verdicts"].values()) == 200
    assert check["suggested"] is None or check["suggested"] > 3


def test_a_judge_that_always_says_the_same_needs_one_judgment(tmp_path: Path, server: ScriptedLlm) -> None:
    server.script = server_of(lambda question, answer, _seed: truth(question, answer))
    experiment = experiment_of(tmp_path, server, n_queries=30, metrics={
        "primary": {"name": "judge_correctness"},
        "judge": {"model": "gpt-4o-mini", "base_url": server.url, "repetitions": {"judge_correctness": 1}},
    })  # fmt: skip
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    done = run("judge-check", experiment)
    assert "changed its mind on 0% of 60 answers" in done.out
    assert "1 judgment of each is enough" in done.out
    capped = experiment_of(tmp_path, server, n_queries=30, llm={"max_cost_usd": 0.0001}, metrics={
        "primary": {"name": "judge_correctness"},
        "judge": {"model": "gpt-4o-mini", "base_url": server.url, "seed": 99},
    })  # fmt: skip
    stopped = ragtrial_command(
        "judge-check", capped, "--evaluation", json.loads(run("db", "info", experiment, "--json").out)["evaluations"][0]["evaluation_id"]
    )
    assert stopped.code == 2
    assert "spending cap" in stopped.err


def test_the_position_bias_of_a_judge_of_preference_is_shown(tmp_path: Path, server: ScriptedLlm) -> None:
    server.script = server_of(lambda _question, _answer, _seed: "A")
    experiment = experiment_of(tmp_path, server, n_queries=30, metrics={
        "primary": {"name": "nDCG@10"},
        "exploratory": ["judge_preference"],
        "judge": {"model": "gpt-4o-mini", "base_url": server.url},
    })  # fmt: skip
    run("evaluate", experiment, "--output", tmp_path / "out", "--quiet")
    done = run("judge-check", experiment, "--queries", 10, "--repetitions", 2)
    assert "position: 20 of 20 pairs were decided by their order; 100% of all wins went to the answer shown first" in done.out
    refused = ragtrial_command("calibrate", experiment)
    assert refused.code == 2
    assert "no metric that people can be asked about" in refused.err
