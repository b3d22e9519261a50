"""What every page says of a live experiment: the same as its reports, kept as a document that loses nothing."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from ragtrial.analysis.live_guardrail_looks import MOST_LOOKS, GuardrailLook, with_look
from ragtrial.analysis.live_guardrails import guardrail_of
from ragtrial.analysis.live_looks import until
from ragtrial.analysis.side_by_side import preferences_found
from ragtrial.db.live_board_reader import LiveBoardReader, StoredSnapshot
from ragtrial.db.live_reader import LiveReader
from ragtrial.db.roll_up import RollUp
from ragtrial.domain.live import Mode
from ragtrial.domain.live_scores import UnitSums, WithinScores
from ragtrial.errors import InputError, StoreError
from ragtrial.report import live_summary
from ragtrial.report.live_summary import SNAPSHOT_FORM, LiveSummary, as_document, read_live_summary
from ragtrial.stats.binary import wilson
from ragtrial.suite.live_snapshots import snapshot_of, summarise_live
from unit import live_logs
from unit.db.live_samples import DAY, START
from unit.report import live_samples

MODES: tuple[Mode, ...] = ("split", "shadow", "interleaved")


class Read:
    """A database with a live experiment that is rolled up."""

    def __init__(self, url: str, live_id: int, stack: ExitStack) -> None:
        self.live_id = live_id
        self.reader, self.board = stack.enter_context(LiveReader(url)), stack.enter_context(LiveBoardReader(url))
        self.writer = stack.enter_context(RollUp(url))
        self.writer.roll(live_id)
        self.live = next(live for live in self.reader.experiments() if live.live_id == live_id)

    @functools.cache  # noqa: B019  # a few, and all of one test module
    def summary(self) -> LiveSummary:
        return self.anew()

    def anew(self, before: LiveSummary | None = None) -> LiveSummary:
        return summarise_live(self.live, self.reader, self.board, now=START + 4 * DAY, before=before)

    def store(self, **changes: object) -> None:
        document = as_document(self.summary())
        snapshot = StoredSnapshot(form=SNAPSHOT_FORM, made_at=START, took_s=0.1, version=1, document=document, problem=None)
        self.writer.store_snapshot(self.live_id, dataclasses.replace(snapshot, **changes))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mode], Read]:
    """An experiment in each mode, filled once for all tests."""
    folder, stack = tmp_path_factory.mktemp("logs"), ExitStack()

    @functools.cache
    def read(mode: Mode) -> Read:
        url = f"sqlite:///{folder / f'{mode}.db'}"
        return Read(url, live_logs.fill(url, live_logs.experiment(mode)), stack)

    return read


@pytest.mark.parametrize("mode", MODES)
def test_a_summary_comes_back_from_its_document_as_it_was(logs: Callable[[Mode], Read], mode: Mode) -> None:
    read = logs(mode)
    read.store()
    found = read_live_summary(read.reader, read.board, read.live_id)
    assert found == read.summary()
    assert found is not None
    assert found.analysis.primary.effect is not None
    assert {type(value) for value in found.guardrail_looks.values()} <= {tuple}
    assert found.models == {"custom": "hashing-b@1"}
    assert found.analysis.verdict.decision != "refused"


@pytest.mark.parametrize("content", [live_samples.build(), live_samples.build(reached=False, n=150), live_samples.interleaved()])
def test_one_of_everything_survives_its_document(content: object) -> None:
    values = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}  # type: ignore[arg-type]
    summary = LiveSummary(**values)
    document = json.loads(json.dumps(as_document(summary), allow_nan=False))
    plan = json.loads(json.dumps(dataclasses.asdict(summary.experiment)))
    assert live_summary._adapter().validate_python({**document, "experiment": plan}) == summary


def test_a_plan_that_names_units_is_analysed_under_their_pseudonyms(url: str, stack: ExitStack) -> None:
    experiment = live_logs.experiment(guardrails=(), deny=("zoe",), overrides={"tester": "custom"})
    analysis = Read(url, live_logs.fill(url, experiment), stack).summary().analysis
    assert [check for check in analysis.checks if check.state == "fail"] == []
    assert analysis.verdict.decision != "refused"


@pytest.mark.parametrize("mode", ["split", "shadow"])
def test_the_last_look_at_a_guardrail_is_what_the_analysis_says(logs: Callable[[Mode], Read], mode: Mode) -> None:
    read, summary = logs(mode), logs(mode).summary()
    experiment = summary.experiment
    assert experiment.live is not None
    assert list(summary.guardrail_looks) == [planned.name for planned in experiment.live.metrics.guardrails]
    tested = 0
    for planned, comparison in summary.guardrails:
        looks = summary.guardrail_looks[planned.name]
        assert len(looks) <= MOST_LOOKS
        assert [look.at for look in looks] == sorted({look.at for look in looks})
        now = comparison.guardrail
        if now is None:
            assert looks[-1] == GuardrailLook(at=looks[-1].at)
            continue
        tested += 1
        last = looks[-1]
        assert (last.estimate, last.low, last.high) == pytest.approx((now.estimate, now.low, now.high), rel=1e-9, abs=1e-12)
        timed = read.reader.timed(read.live_id, planned.name, experiment=experiment)
        first = read.reader.times(read.live_id).first
        assert timed is not None
        assert first is not None
        table = until(timed, timed.ends.size - 1, split=mode == "split")
        if isinstance(table, WithinScores):
            sums = read.board.twin_sums(read.live_id, planned.name, arms=("baseline", "custom"), begin=first, ends=timed.ends)[-1]
            table = dataclasses.replace(table, control_mean=sums[0] / sums[2], treatment_mean=sums[1] / sums[2])
        found = guardrail_of(table, planned, experiment)
        assert (found.estimate, found.low, found.high) == pytest.approx((now.estimate, now.low, now.high), rel=1e-9, abs=1e-12)
        assert sum(look.estimate is not None for look in looks) > 3
    assert tested >= 3


def test_a_look_is_what_one_would_have_seen_then(logs: Callable[[Mode], Read]) -> None:
    """The log is cut at the moment of a look, and analysed anew."""
    read, experiment = logs("split"), logs("split").summary().experiment
    looks = read.summary().guardrail_looks["latency_ms"]
    middle = looks[len(looks) * 3 // 4]
    table = read.reader.split_scores(read.live_id, "latency_ms", experiment=experiment, until=math.nextafter(middle.at, 0))
    assert experiment.live is not None
    found = guardrail_of(table, experiment.live.metrics.guardrails[1], experiment)
    assert (middle.estimate, middle.low, middle.high) == pytest.approx((found.estimate, found.low, found.high))


def test_looks_go_on_from_what_was_seen_and_every_other_one_goes_when_there_are_many(logs: Callable[[Mode], Read]) -> None:
    read, first = logs("split"), logs("split").summary()
    seen = first.guardrail_looks["failed"]
    early = {name: tuple(dataclasses.replace(look, at=look.at - DAY) for look in looks) for name, looks in first.guardrail_looks.items()}
    again = read.anew(before=dataclasses.replace(first, guardrail_looks=early))
    last = again.guardrail_looks["failed"][-1]
    assert again.guardrail_looks["failed"][:-1] == early["failed"]
    assert (last.at, last.estimate, last.low) == pytest.approx((seen[-1].at, seen[-1].estimate, seen[-1].low))
    many = tuple(GuardrailLook(at=float(at)) for at in range(2 * MOST_LOOKS))
    again = read.anew(before=dataclasses.replace(first, guardrail_looks={"failed": many}))
    assert again.guardrail_looks["failed"] == (*many[1::2], last)


def test_a_second_look_at_the_same_moment_replaces_the_first_and_leaves_out_what_was_before(logs: Callable[[Mode], Read]) -> None:
    read, experiment = logs("split"), logs("split").summary().experiment
    assert experiment.live is not None
    planned = experiment.live.metrics.guardrails[1]
    table = read.reader.split_scores(read.live_id, planned.name, experiment=experiment)
    plain = with_look((GuardrailLook(at=1.0), GuardrailLook(at=2.0)), 2.0, table, planned, experiment)
    assert [look.at for look in plain] == [1.0, 2.0]
    assert plain[-1].estimate is not None

    def known(arm: UnitSums) -> UnitSums:
        alike = arm.totals + np.arange(arm.totals.size) % 7
        return dataclasses.replace(arm, pre_totals=alike, pre_counts=arm.counts)

    before = dataclasses.replace(table, control=known(table.control), treatment=known(table.treatment))
    assert guardrail_of(before, planned, experiment).high != plain[-1].high
    assert with_look((GuardrailLook(at=1.0),), 2.0, before, planned, experiment) == plain


def test_latency_has_every_stage_of_the_arms_that_count(logs: Callable[[Mode], Read]) -> None:
    read, summary = logs("split"), logs("split").summary()
    times = read.board.stage_times(read.live_id, mode="split")
    assert [(row.arm, row.stage) for row in summary.latency] == [
        (arm, stage) for arm in ("baseline", "custom") for stage in ("embed", "search", "generate", "total")
    ]
    row = summary.latency_of("custom", "total")
    assert row is not None
    assert row.quantiles is not None
    assert row.quantiles.n == len(times["custom"])
    assert row.quantiles.p95 == pytest.approx(np.percentile(times["custom"][:, -1], 95))
    assert row.sample_ms[0] == times["custom"][:, -1].min()
    assert row.sample_ms[-1] == times["custom"][:, -1].max()
    assert len(row.sample_ms) <= 200


def test_usage_counts_the_split_and_spending_counts_everything(url: str, stack: ExitStack) -> None:
    experiment = live_logs.experiment(guardrails=())
    live_id = live_logs.fill(url, experiment)
    log = live_logs.Log(url, live_id)
    more = live_logs.Assignment(unit=None, arm="custom", reason="override", bucket=1, version=1)
    log.trial(9_001, live_logs.live_trial("tester", "tester", made=live_logs.answered("custom"), assignment=more))
    log.close()
    summary = Read(url, live_id, stack).summary()
    (baseline, custom), (_, spent) = summary.usage, summary.spent
    assert (baseline.arm, custom.arm) == ("baseline", "custom")
    assert baseline.n_trials + custom.n_trials == 780
    assert (spent.n_trials, spent.n_priced) == (custom.n_trials + 1, custom.n_priced + 1)
    assert custom.cost_usd == pytest.approx(0.00012 * custom.n_priced)
    assert custom.completion_tokens == 7 * custom.n_counted
    assert custom.n_failed + custom.n_answers == custom.n_trials


def test_what_nobody_reported_has_no_sum(url: str, stack: ExitStack) -> None:
    experiment = live_logs.experiment()
    live_id = live_logs.registered(url, experiment)
    log = live_logs.Log(url, live_id)
    log.trial(1, live_logs.live_trial("t", made=live_logs.failed("baseline")))
    log.close()
    (usage,) = Read(url, live_id, stack).summary().usage
    assert (usage.n_trials, usage.n_priced, usage.cost_usd, usage.prompt_tokens, usage.completion_tokens) == (1, 0, None, None, None)


def test_preferences_side_by_side_are_part_of_it(url: str, stack: ExitStack) -> None:
    experiment = live_logs.experiment(guardrails=())
    live_id = live_logs.fill(url, experiment)
    log = live_logs.Log(url, live_id)
    for number, arm in ((9_001, "baseline"), (9_002, "custom")):
        given = live_logs.Assignment(unit=None, arm=arm, reason="override", bucket=1, version=1)
        log.trial(number, live_logs.live_trial(f"shown-{arm}", "tester", made=live_logs.answered(arm), assignment=given))
    log.close()
    choices = [(f"c{n}", f"p{n}", "right" if n < 9 else "left") for n in range(10)]
    live_logs.prefer(
        url, live_id, [*choices, ("c10", "p1", "both"), ("c11", "p2", "withdrawn")], left=9_001, right=9_002, left_arm="baseline"
    )
    found = Read(url, live_id, stack).summary().preferences
    assert (found.preferred, found.both, found.withdrawn, found.people, found.comparisons) == ((1, 9), 1, 1, 10, 12)
    assert found.share == 0.9
    # nine of ten people: 2 * (1 + 10) / 2^10
    assert found.p_value == pytest.approx(22 / 1024)


def test_nothing_is_said_before_the_first_snapshot_of_another_form_or_without_a_document(url: str, stack: ExitStack) -> None:
    read = Read(url, live_logs.registered(url, live_logs.experiment()), stack)
    assert read_live_summary(read.reader, read.board, read.live_id) is None
    read.store(form=SNAPSHOT_FORM + 1)
    assert read_live_summary(read.reader, read.board, read.live_id) is None
    read.store(document=None, problem="no plan")
    assert read_live_summary(read.reader, read.board, read.live_id) is None
    with pytest.raises(InputError, match="no live experiment 77"):
        read_live_summary(read.reader, read.board, 77)


def test_a_document_that_is_not_what_it_says_is_an_error_and_is_replaced_by_the_next_snapshot(url: str, stack: ExitStack) -> None:
    read = Read(url, live_logs.registered(url, live_logs.experiment()), stack)
    read.store(document={"made_at": 3})
    with pytest.raises(StoreError, match="make it again with ragtrial roll-up"):
        read_live_summary(read.reader, read.board, read.live_id)
    snapshot = snapshot_of(read.live, read.reader, read.board, version=1)
    assert snapshot.document is not None


def test_a_number_that_is_none_is_never_stored() -> None:
    content = live_samples.interleaved()
    values = {field.name: getattr(content, field.name) for field in dataclasses.fields(content)}
    looks = {"failed": (GuardrailLook(at=1.0, estimate=math.inf, low=0.0, high=1.0),)}
    with pytest.raises(ValueError, match=r"guardrail_looks.failed\[0\].estimate is inf"):
        as_document(LiveSummary(**values, guardrail_looks=looks))


@pytest.mark.parametrize("n_units", [0, 1, 2, 30])
@pytest.mark.parametrize("mode", MODES)
def test_a_young_experiment_has_reasons_in_the_place_of_numbers(url: str, stack: ExitStack, mode: Mode, n_units: int) -> None:
    experiment = live_logs.experiment(mode)
    live_id = live_logs.fill(url, experiment, n_units=n_units, scored=n_units > 1) if n_units else live_logs.registered(url, experiment)
    read = Read(url, live_id, stack)
    snapshot = snapshot_of(read.live, read.reader, read.board, version=1)
    assert snapshot.problem is None
    summary = read.summary()
    assert summary.analysis.verdict.decision == "too few"
    assert all(row.quantiles is not None or row.reason for row in summary.latency)
    assert summary.preferences.reason == "no answer was preferred to another so far"


def people(*rows: tuple[int, int]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def found_of(*rows: tuple[int, int]) -> live_summary.PreferencesFound:
    return preferences_found(people(*rows), alpha=0.05, both=0, neither=0, withdrawn=0, open_=0)


def test_one_choice_of_each_person_has_wilsons_interval_and_the_sign_test() -> None:
    found = found_of(*[(0, 1)] * 14, *[(1, 0)] * 6)
    assert (found.share, found.people, found.reason) == (0.7, 20, None)
    assert (found.low, found.high) == pytest.approx(wilson(14, 20, alpha=0.05)[1:])
    assert found.p_value == pytest.approx(2 * sum(math.comb(20, k) for k in range(7)) / 2**20)


def test_the_choices_of_one_person_prove_nothing() -> None:
    found = found_of((0, 50))
    assert (found.share, found.preferred, found.people) == (1.0, (0, 50), 1)
    assert (found.low, found.high, found.p_value) == (None, None, None)
    assert "one person" in str(found.reason)


def test_people_who_always_choose_alike_count_once_each() -> None:
    alike = found_of(*[(0, 20)] * 5, *[(20, 0)] * 3)
    apart = found_of(*[(8, 12)] * 5, *[(7, 13)] * 3)
    assert alike.low is not None
    assert alike.high is not None
    assert apart.low is not None
    assert apart.high is not None
    assert alike.high - alike.low > 2 * (apart.high - apart.low)
    everybody = found_of(*[(0, 20)] * 5)
    assert (everybody.low, everybody.high) == pytest.approx(wilson(5, 5, alpha=0.05)[1:])


def test_nobody_ahead_has_no_p_value_but_a_reason() -> None:
    found = found_of((2, 2), (1, 1))
    assert (found.share, found.p_value) == (0.5, None)
    assert found.reason == "everybody preferred both arms equally often"
