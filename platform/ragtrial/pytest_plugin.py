"""The pytest plugin: an experiment evaluated as a test, which passes where the evidence is there.

    def test_the_custom_model_is_worth_it(ragtrial):
        result = ragtrial.evaluate("experiments/handbook.yaml")
        ragtrial.assert_gate(result)

pytest finds it by the entry point `ragtrial`; `-p no:ragtrial` turns it off. Loading it imports nothing but this file: the rest of ragtrial
is imported by the first test that evaluates something.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from ragtrial.suite.gating import Gated

_HEADLINE, _REPORT, _EVALUATION = "ragtrial_verdict", "ragtrial_report", "ragtrial_evaluation"
"""Properties of a test, which pass from workers to the summary and into JUnit files."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The command line options."""
    group = parser.getgroup("ragtrial", "ragtrial: experiments as tests")
    group.addoption(
        "--ragtrial-limit",
        type=int,
        metavar="N",
        help="ask only a random sample of N queries of each experiment: quicker, and with less to show, so that a gate may not hold",
    )
    group.addoption(
        "--ragtrial-offline",
        action="store_true",
        help="skip experiments that ask an LLM, an embedding endpoint or a database server",
    )
    group.addoption(
        "--ragtrial-resume",
        action="store_true",
        help="take a finished evaluation of the same plan, data and models as it is, and go on with an interrupted one",
    )
    group.addoption(
        "--ragtrial-output",
        metavar="DIR",
        default="reports",
        help="where reports are written, in a folder for each experiment [default: reports]",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker, for `--strict-markers`."""
    config.addinivalue_line("markers", "ragtrial: evaluates an experiment (set on every test with the fixture `ragtrial`)")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test that evaluates: `-m 'not ragtrial'` leaves them out."""
    if "ragtrial" in getattr(item, "fixturenames", ()):
        item.add_marker("ragtrial")


class Evaluations:
    """What the fixture `ragtrial` is: evaluates experiments, and fails where a gate does not hold.

    Args:
        config: Of the session.
        shared: A folder that all workers of the session share.
        memory: What this process has evaluated.
        item: The test.
    """

    def __init__(self, config: pytest.Config, shared: Path, memory: "dict[tuple[Path, int | None], Gated]", item: pytest.Item) -> None:
        self._config = config
        self._shared = shared
        self._memory = memory
        self._item = item

    def evaluate(self, path: str | Path, *, limit: int | None = None, train: bool = False) -> "Gated":
        """Run `ragtrial evaluate` on an experiment file, once in a session, however many tests and workers ask.

        What is wrong with the experiment fails the test with the reason; where it needs the network and `--ragtrial-offline` is given, the
        test is skipped.

        Args:
            path: The experiment file, relative to pytest's root directory.
            limit: Ask only a random sample of so many queries; `--ragtrial-limit` makes it smaller.
            train: Train registered models that are missing, which may take long; without it a missing model fails the test.
        """
        __tracebackhide__ = True
        from ragtrial.errors import RagtrialError

        try:
            found = self._evaluated(self._config.rootpath / path, limit, train=train)
        except RagtrialError as error:
            _fail(f"{path} could not be evaluated, so nothing is shown: {error}")
        properties = {_EVALUATION: found.evaluation_id, _HEADLINE: found.headline, _REPORT: str(found.report)}
        self._item.user_properties += properties.items()
        return found

    def assert_gate(self, result: "Gated") -> None:
        """Fail the test where the experiment's evidence rule does not hold, with the verdict, the interval and what is broken."""
        __tracebackhide__ = True
        if not result.gate:
            _fail(str(result.gate))

    def _evaluated(self, path: Path, limit: int | None, *, train: bool) -> "Gated":
        from ragtrial.formats.experiment import load_experiment
        from ragtrial.settings import read_settings
        from ragtrial.suite.gating import evaluate_once, needs_network

        option = self._config.getoption
        most: int | None = option("--ragtrial-limit")
        asked = min((n for n in (limit, most) if n is not None), default=None)
        if option("--ragtrial-offline") and (why := needs_network(load_experiment(path).experiment)):
            pytest.skip(f"--ragtrial-offline: {why}")
        key = (path.resolve(), asked)
        if key not in self._memory:
            self._memory[key] = evaluate_once(
                path,
                settings=read_settings(),
                shared=self._shared,
                output=self._config.rootpath / option("--ragtrial-output"),
                limit=asked,
                resume=option("--ragtrial-resume"),
                allow_training=train,
            )
        return self._memory[key]


def _fail(message: str) -> NoReturn:
    __tracebackhide__ = True
    pytest.fail(message, pytrace=False)


@pytest.fixture(scope="session")
def _ragtrial_session(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "tuple[Path, dict[tuple[Path, int | None], Gated]]":
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if hasattr(request.config, "workerinput") else own  # workers of pytest-xdist have folders side by side
    return shared, {}


@pytest.fixture
def ragtrial(request: pytest.FixtureRequest, _ragtrial_session: "tuple[Path, dict[tuple[Path, int | None], Gated]]") -> Evaluations:
    """Evaluates experiment files: `ragtrial.evaluate(path)`, then `ragtrial.assert_gate(result)`."""
    shared, memory = _ragtrial_session
    return Evaluations(request.config, shared, memory, request.node)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each evaluation in one line, with its report."""
    found = {name[_EVALUATION]: name for name in _properties(terminalreporter)}
    if not found:
        return
    terminalreporter.write_sep("=", "ragtrial")
    for properties in found.values():
        terminalreporter.write_line(properties[_HEADLINE])
        terminalreporter.write_line(f"  {properties[_REPORT]}")


def _properties(terminalreporter: pytest.TerminalReporter) -> Iterator[dict[str, str]]:
    """What tests noted, one mapping for each evaluation that a test asked for."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            said = [(name, value) for name, value in getattr(report, "user_properties", ()) if name in (_EVALUATION, _HEADLINE, _REPORT)]
            for first in range(0, len(said), 3):
                yield {str(name): str(value) for name, value in said[first : first + 3]}
