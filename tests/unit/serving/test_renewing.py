"""What is behind a gate that stops for good is made anew."""

from contextlib import ExitStack

import pytest

from ragtrial.domain.metric import metric_named
from ragtrial.domain.trial import Answer
from ragtrial.errors import CallError, StoppedError
from ragtrial.scoring.lexical import LexicalScorer
from ragtrial.serving.leading import Leadership
from ragtrial.serving.renewing import Renewed, RenewedGenerator, RenewedScorer
from unit.serving.house import CORPUS, GOLD


class Time:
    now = 0.0

    def __call__(self):
        return self.now


class Speaking:
    """A generator that stops for good after an answer."""

    version = "speaking/1"

    def __init__(self, number):
        self.number, self.left, self.settings = number, 1, {"model": "m"}

    def generate(self, query, passages):
        raise NotImplementedError

    def generate_many(self, readings, *, repetition=0):
        if not self.left:
            raise StoppedError("the endpoint is dead")
        self.left -= 1
        if readings[0][0].text == "bad":
            return (CallError("refused", "no"),)
        return tuple(Answer(text=f"answer of {self.number}", generator=self.version) for _ in readings)


def renewed_generator():
    clock, made, closed = Time(), [], []

    def make(stack: ExitStack) -> Speaking:
        number = len(made)
        made.append(number)
        stack.callback(closed.append, number)
        return Speaking(number)

    return Renewed(make, pause_s=5.0, monotonic=clock), clock, made, closed


def test_a_generator_that_stopped_is_made_anew_after_a_pause():
    renewed, clock, made, closed = renewed_generator()
    generator, query = RenewedGenerator(renewed), GOLD.queries[0]
    assert (generator.version, generator.settings) == ("speaking/1", {"model": "m"})
    assert generator.generate(query, CORPUS.passages[:1]).text == "answer of 0"
    with pytest.raises(StoppedError):
        generator.generate(query, CORPUS.passages[:1])
    clock.now = 4.9
    with pytest.raises(StoppedError, match="dead"):
        generator.generate(query, CORPUS.passages[:1])
    assert (made, closed) == ([0], [])
    clock.now = 5.0
    assert generator.generate(query, CORPUS.passages[:1]).text == "answer of 1"
    assert (made, closed) == ([0, 1], [0])
    renewed.close()
    assert closed == [0, 1]


def test_what_an_old_one_says_does_not_stop_the_new_one():
    renewed, clock, made, _ = renewed_generator()
    old = renewed.get()
    renewed.stopped(old, StoppedError("dead"))
    clock.now = 6.0
    new = renewed.get()
    renewed.stopped(old, StoppedError("dead, says somebody late"))
    assert renewed.get() is new
    assert len(made) == 2


def test_what_can_not_be_made_anew_is_tried_again_later():
    clock, tries = Time(), []

    def make(stack):
        tries.append(1)
        if len(tries) == 2:
            raise StoppedError("the spending cap is reached")
        return object()

    renewed = Renewed(make, pause_s=1.0, monotonic=clock)
    renewed.stopped(renewed.get(), StoppedError("dead"))
    clock.now = 2.0
    with pytest.raises(StoppedError, match="cap"):
        renewed.get()
    renewed.get()
    assert len(tries) == 3


def test_scorers_behind_one_gate_stop_and_start_together():
    class Stopping(LexicalScorer):
        def score(self, trials, gold):
            raise StoppedError("dead")

    clock, made = Time(), []

    def make(stack):
        made.append(1)
        kind = Stopping if len(made) == 1 else LexicalScorer
        return (LexicalScorer([metric_named("abstained")]), kind([metric_named("answer_f1")]))

    renewed = Renewed(make, pause_s=1.0, monotonic=clock)
    scorers = [RenewedScorer(renewed, place) for place in range(2)]
    assert [scorer.metrics[0].name for scorer in scorers] == ["abstained", "answer_f1"]
    with pytest.raises(StoppedError):
        scorers[1].score((), GOLD)
    with pytest.raises(StoppedError):
        scorers[0].score((), GOLD)
    clock.now = 1.0
    assert scorers[0].score((), GOLD) == ()
    assert scorers[1].score((), GOLD) == ()


def test_one_process_leads_until_it_lets_go(tmp_path):
    path = tmp_path / "folder" / "lead.lock"
    one, other = Leadership(path), Leadership(path)
    assert one.won()
    assert one.won()
    assert not other.won()
    one.release()
    with other.held():
        assert not one.won()
    assert one.won()
    one.release()
