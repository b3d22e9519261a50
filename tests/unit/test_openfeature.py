"""The OpenFeature provider, through the real SDK."""

import asyncio
import importlib
import json
import re
import sys

import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from ragtrial.domain.live import TrafficState
from ragtrial.errors import InputError, MissingExtraError, StoreError
from ragtrial.formats.experiment import parse_experiment
from ragtrial.openfeature import RagtrialProvider
from ragtrial.splitting import Split


def experiment(name="tariffs", **live):
    primary = {"name": "preference" if live.get("mode") == "interleaved" else "nDCG@10", "min_effect": 0.01}
    arm = {"provider": "hashing", "dimensions": 32}
    content = {
        "name": name,
        "data": {"format": "beir", "path": "corpus"},
        "arms": [
            {"name": "baseline", "role": "control", "embedding": {**arm, "model": "a"}},
            {"name": "custom", "role": "treatment", "embedding": {**arm, "model": "b"}},
        ],
        "metrics": {"primary": {"name": "nDCG@10", "min_effect": 0.01}},
        "live": {"metrics": {"primary": primary}, **live},
    }
    return parse_experiment(json.dumps(content))


class Traffic:
    """What SQL would say, with a clock that stands until it is told to go on."""

    def __init__(self, **state):
        self.state = TrafficState(version=1, share=1.0, treatment=0.5, **state)
        self.now, self.asked, self.error = 0.0, 0, None

    def __call__(self, experiment):
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.state

    def clock(self):
        return self.now


@pytest.fixture
def traffic():
    return Traffic()


@pytest.fixture
def connected(traffic):
    """Sets the provider for some experiments; the SDK is empty again at the end."""

    def connect(*experiments):
        provider = RagtrialProvider(experiments or (experiment(),), state=traffic, clock=traffic.clock)
        api.set_provider_and_wait(provider)
        return provider, api.get_client()

    yield connect
    api.shutdown()


def unit(name):
    return EvaluationContext(targeting_key=name)


def unit_of(arm, traffic, **live):
    split = Split.of(experiment(**live))
    return next(name for name in (f"user-{n}" for n in range(1000)) if split.assign(name, traffic.state).arm == arm)


@pytest.mark.parametrize("arm", ["baseline", "custom"])
def test_a_string_flag_is_the_name_of_the_arm(connected, traffic, arm):
    name = unit_of(arm, traffic)
    details = connected()[1].get_string_details("tariffs", "neither", unit(name))
    assigned = Split.of(experiment()).assign(name, traffic.state)
    assert (details.value, details.variant, details.reason) == (arm, arm, Reason.SPLIT)
    assert details.flag_metadata == {
        "experiment": "tariffs",
        "reason": "split",
        "counted": True,
        "has_unit": True,
        "state_version": 1,
        "bucket": assigned.bucket,
        "propensity": 0.5,
    }


def test_a_boolean_flag_says_whether_the_arm_is_the_treatment(connected, traffic):
    _, client = connected()
    assert client.get_boolean_value("tariffs", False, unit(unit_of("custom", traffic))) is True
    assert client.get_boolean_value("tariffs", True, unit(unit_of("baseline", traffic))) is False


def test_an_object_flag_is_the_whole_assignment(connected, traffic):
    name = unit_of("custom", traffic)
    details = connected()[1].get_object_details("tariffs", {}, unit(name))
    assert details.value == {"unit": name, "arm": "custom", **details.flag_metadata}
    assert json.loads(json.dumps(details.value)) == details.value


def test_asynchronous_evaluations_say_the_same(connected, traffic):
    _, client = connected()
    name = unit_of("custom", traffic)
    assert asyncio.run(client.get_string_value_async("tariffs", "neither", unit(name))) == "custom"
    assert asyncio.run(client.get_boolean_value_async("tariffs", False, unit(name))) is True


@pytest.mark.parametrize("context", [None, EvaluationContext(), EvaluationContext(targeting_key="")])
def test_without_a_targeting_key_the_flag_is_the_baseline_and_says_why(connected, context):
    provider, client = connected()
    details = client.get_string_details("tariffs", "neither", context)
    assert (details.value, details.variant, details.reason, details.error_code) == ("baseline", "baseline", Reason.DEFAULT, None)
    assert details.flag_metadata["has_unit"] is False
    assert details.flag_metadata["counted"] is False
    assert "bucket" not in details.flag_metadata
    assert "unit" not in client.get_object_value("tariffs", {}, context)
    assert provider.errors == {}


@pytest.mark.parametrize(
    ("live", "reason", "arm"),
    [
        ({"overrides": {"user-1": "custom"}}, Reason.TARGETING_MATCH, "custom"),
        ({"deny": ["user-1"]}, Reason.TARGETING_MATCH, "baseline"),
        ({"holdout": 0.9999}, Reason.DEFAULT, "baseline"),
        ({"layer": {"name": "answers", "first": 0, "end": 1}}, Reason.DEFAULT, "baseline"),
    ],
)
def test_the_reason_says_why_a_unit_does_not_take_part(connected, live, reason, arm):
    details = connected(experiment(**live))[1].get_string_details("tariffs", "neither", unit("user-1"))
    assert (details.value, details.reason, details.flag_metadata["counted"]) == (arm, reason, False)


def test_a_stop_is_seen_within_a_second(connected, traffic):
    _, client = connected()
    name = unit_of("custom", traffic)
    assert client.get_string_value("tariffs", "neither", unit(name)) == "custom"
    traffic.state = TrafficState(version=2, share=1.0, treatment=0.5, stopped=True)
    traffic.now = 1.0
    details = client.get_string_details("tariffs", "neither", unit(name))
    assert (details.value, details.reason, details.flag_metadata["state_version"]) == ("baseline", Reason.DISABLED, 2)


def test_the_state_is_asked_for_once_a_second_at_most(connected, traffic):
    _, client = connected()
    for traffic.now in (0.0, 0.5, 0.999, 1.0, 1.5):
        client.get_string_value("tariffs", "neither", unit("user-1"))
    assert traffic.asked == 2


def test_a_state_that_cannot_be_read_is_counted_and_gives_the_default(connected, traffic):
    provider, client = connected()
    traffic.error = StoreError("the database is gone")
    for _ in range(3):
        details = client.get_string_details("tariffs", "neither", unit("user-1"))
        assert (details.value, details.reason, details.error_code) == ("neither", Reason.ERROR, ErrorCode.GENERAL)
        assert "the traffic of experiment 'tariffs' can't be read: the database is gone" in details.error_message
    assert asyncio.run(client.get_string_value_async("tariffs", "neither", unit("user-1"))) == "neither"
    assert provider.errors == {"GENERAL": 4}
    assert traffic.asked == 1
    traffic.error, traffic.now = None, 1.0
    assert client.get_string_value("tariffs", "neither", unit("user-1")) in ("baseline", "custom")


def test_a_foreign_error_of_the_state_is_counted_and_its_message_kept_away(connected, traffic):
    provider, client = connected()
    traffic.error = RuntimeError("postgresql://user:password@host")
    assert "password" not in client.get_string_details("tariffs", "neither", unit("user-1")).error_message
    assert provider.errors == {"GENERAL": 1}


def test_an_unknown_flag_is_counted_and_gives_the_default(connected):
    provider, client = connected()
    details = client.get_string_details("tarifs", "neither", unit("user-1"))
    assert (details.value, details.error_code) == ("neither", ErrorCode.FLAG_NOT_FOUND)
    assert details.error_message == "there is no experiment 'tarifs': there are tariffs"
    assert provider.errors == {"FLAG_NOT_FOUND": 1}


def test_arms_are_no_numbers(connected):
    provider, client = connected()
    assert client.get_integer_details("tariffs", 7, unit("user-1")).error_code == ErrorCode.TYPE_MISMATCH
    assert client.get_float_value("tariffs", 0.5, unit("user-1")) == 0.5
    assert client.get_integer_details("tarifs", 7, unit("user-1")).error_code == ErrorCode.FLAG_NOT_FOUND
    assert provider.errors == {"TYPE_MISMATCH": 2, "FLAG_NOT_FOUND": 1}


def test_interleaved_answers_are_neither_true_nor_false(connected):
    _, client = connected(experiment(mode="interleaved"))
    assert client.get_string_value("tariffs", "neither", unit("user-1")) == "interleaved"
    assert client.get_boolean_details("tariffs", False, unit("user-1")).error_code == ErrorCode.TYPE_MISMATCH


def test_a_targeting_key_that_is_no_text_is_refused(connected):
    provider, client = connected()
    assert client.get_string_details("tariffs", "neither", unit(42)).error_code == ErrorCode.INVALID_CONTEXT
    assert provider.errors == {"INVALID_CONTEXT": 1}


def test_experiments_have_flags_of_their_own(connected, traffic):
    _, client = connected(experiment("one"), experiment("two"))
    arms = {(client.get_string_value("one", "", unit(f"u{n}")), client.get_string_value("two", "", unit(f"u{n}"))) for n in range(50)}
    assert len(arms) == 4
    assert traffic.asked == 2


def test_two_experiments_of_one_name_are_refused(traffic):
    with pytest.raises(InputError, match="there are two experiments called 'tariffs'"):
        RagtrialProvider([experiment(), experiment(salt="other")], state=traffic)


def test_the_documents_hook_logs_those_who_are_counted_and_nobody_else(connected, repository, traffic):
    text = (repository / "docs" / "splitting.md").read_text(encoding="utf-8")
    program = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class LogExposures" in block)
    logged = []
    named = {
        "experiment": experiment("handbook"),
        "current_state": traffic,
        "log": lambda unit, arm, metadata: logged.append((unit, arm, metadata["state_version"])),
    }
    connected()
    exec(program, named)  # noqa: S102  it stands in our own document
    assert logged == [("user-1", named["arm"], 1)]
    named["client"].get_string_value("handbook", "baseline", EvaluationContext())
    assert len(logged) == 1


def test_without_the_sdk_the_module_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "openfeature"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "openfeature", None)
    monkeypatch.delitem(sys.modules, "ragtrial.openfeature")
    with pytest.raises(MissingExtraError, match=r"the OpenFeature provider needs 'openfeature-sdk'.*pip install 'ragtrial\[openfeature\]'"):
        importlib.import_module("ragtrial.openfeature")
