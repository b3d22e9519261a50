"""`junit.xml`: the gate, each guardrail and each health check as a test case, for CI servers."""

import io

from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

from ragtrial.domain.planned import Guardrail
from ragtrial.domain.verdict import Check, Comparison
from ragtrial.report import words
from ragtrial.report.content import ReportContent


def as_junit(content: ReportContent) -> bytes:
    """The report as JUnit XML, UTF-8.

    A gate that doesn't hold, a broken guardrail and a failed check are failures. What is not known or not shown is skipped. A warning
    passes, and says what it warns of.
    """
    suite = TestSuite(words.plain(content.experiment.name))
    suite.add_testcase(_gate(content))
    for planned, comparison in content.guardrails:
        suite.add_testcase(_guardrail(planned, comparison))
    for check in content.analysis.checks:
        suite.add_testcase(_check(check))
    report = JUnitXml("ragtrial")
    report.add_testsuite(suite)
    buffer = io.BytesIO()
    report.write(buffer, pretty=True)
    return buffer.getvalue()


def _case(name: str, group: str) -> TestCase:
    return TestCase(words.plain(name), classname=f"ragtrial.{group}")


def _gate(content: ReportContent) -> TestCase:
    verdict = content.analysis.verdict
    case = _case(f"gate: {content.experiment.analysis.gate}", "verdict")
    sentence = words.plain(verdict.sentence)
    if verdict.gate_passed:
        case.system_out = sentence
    else:
        case.result = [Failure(sentence, verdict.decision)]
    return case


def _guardrail(planned: Guardrail, comparison: Comparison) -> TestCase:
    case = _case(planned.name, "guardrail")
    said = words.guardrail(comparison)
    state = None if comparison.guardrail is None else comparison.guardrail.state
    if state == "holds":
        case.system_out = said
    elif state == "broken":
        case.result = [Failure(said, "broken")]
    else:
        case.result = [Skipped(f"not shown to hold: {said}")]
    return case


def _check(check: Check) -> TestCase:
    case = _case(check.name, "check")
    said = words.plain(check.detail)
    if check.state == "fail":
        case.result = [Failure(said, "fail")]
    elif check.state == "unknown":
        case.result = [Skipped(said)]
    else:
        case.system_out = f"warning: {said}" if check.state == "warn" else said
    return case
