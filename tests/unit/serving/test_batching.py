"""The one thread in front of models and store."""

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from ragtrial.domain.trial import Failure
from ragtrial.errors import OverloadedError
from ragtrial.serving.batching import BatchLimits, Found, MicroBatcher
from ragtrial.serving.borrowing import BorrowedEmbedder
from ragtrial.serving.counting import ServingCounts
from unit.serving.house import House, house

BOTH = ("baseline", "custom")


@pytest.fixture
def made(tmp_path):
    return house(tmp_path)


def batcher_of(made: House, **limits) -> MicroBatcher:
    arms = {name: made.arm(name).search for name in BOTH}
    return MicroBatcher(arms, counts=ServingCounts("house"), limits=BatchLimits(**limits))


async def held(made: House, batcher: MicroBatcher, *, arm: str = "baseline"):
    """A first query that keeps the thread busy until its model's gate opens."""
    made.models[arm].gate.clear()
    asked = made.models[arm].asked
    first = asyncio.create_task(batcher.find("first", [arm]))
    while made.models[arm].asked == asked:
        await asyncio.sleep(0.01)
    return first


def closing(batcher: MicroBatcher, made: House) -> None:
    for model in made.models.values():
        model.gate.set()
    batcher.close()


def test_queries_that_wait_together_are_embedded_together(made):
    async def run():
        batcher = batcher_of(made)
        first = await held(made, batcher)
        others = [asyncio.create_task(batcher.find(f"where is number{i}", ["baseline"])) for i in range(6)]
        await asyncio.sleep(0.02)
        made.models["baseline"].gate.set()
        found = await asyncio.gather(first, *others)
        closing(batcher, made)
        return found

    found = asyncio.run(run())
    assert [len(batch) for batch in made.models["baseline"].batches] == [1, 6]
    assert [each["baseline"].hits[0].passage_id for each in found[1:]] == [f"p00{i}" for i in range(6)]
    assert made.models["baseline"].threads == {"ragtrial-models"}


def test_a_lone_query_does_not_wait_for_others(made):
    async def run():
        batcher = batcher_of(made, wait_ms=20_000)
        start = time.perf_counter()
        await batcher.find("where is number1", ["baseline"])
        waited = time.perf_counter() - start
        closing(batcher, made)
        return waited

    assert asyncio.run(run()) < 15


def test_a_query_for_both_arms_is_found_in_one_pass_and_embedded_once_by_each_model(made):
    async def run():
        batcher = batcher_of(made)
        found = await batcher.find("where is number2", BOTH)
        closing(batcher, made)
        return found

    found = asyncio.run(run())
    assert {arm: each.hits[0].passage_id for arm, each in found.items()} == {"baseline": "p002", "custom": "p002"}
    assert [len(made.models[arm].batches) for arm in BOTH] == [1, 1]


def test_arms_with_the_same_model_share_one_embedding(tmp_path):
    made = house(tmp_path, same_model=True)

    async def run():
        batcher = batcher_of(made)
        found = await batcher.find("where is number2", BOTH)
        closing(batcher, made)
        return found

    assert set(asyncio.run(run())) == set(BOTH)
    assert sum(len(made.models[arm].batches) for arm in BOTH) == 1


def test_a_query_that_fails_fails_alone(made):
    made.models["baseline"].fails_on = {"bad"}

    async def run():
        batcher = batcher_of(made)
        first = await held(made, batcher)
        others = [asyncio.create_task(batcher.find(text, ["baseline"])) for text in ("good", "bad", "fine")]
        await asyncio.sleep(0.02)
        made.models["baseline"].gate.set()
        found = [each["baseline"] for each in await asyncio.gather(first, *others)]
        closing(batcher, made)
        return found

    _, good, bad, fine = asyncio.run(run())
    assert isinstance(good, Found)
    assert isinstance(fine, Found)
    assert bad == Failure(stage="embed", kind="ModelError", message="can't embed that")


def test_a_bug_in_a_model_is_a_failure_that_does_not_repeat_the_query(made, caplog):
    made.models["baseline"].bugs_on = {"secret text"}

    async def run():
        batcher = batcher_of(made)
        bad = await batcher.find("secret text", ["baseline"])
        good = await batcher.find("where is number1", ["baseline"])
        closing(batcher, made)
        return bad["baseline"], good["baseline"]

    bad, good = asyncio.run(run())
    assert isinstance(bad, Failure)
    assert bad.kind == "ZeroDivisionError"
    assert "secret" not in bad.message + caplog.text
    assert "house.py" in caplog.text
    assert isinstance(good, Found)


def test_a_store_that_is_gone_is_not_asked_for_every_query_of_a_batch(made):
    searches = []

    async def run():
        batcher = batcher_of(made)
        made.index.lost.add("baseline")
        plain = made.index.search
        made.index.search = lambda *args, **kwargs: (searches.append(1), plain(*args, **kwargs))[1]
        first = await held(made, batcher)
        others = [asyncio.create_task(batcher.find(f"q{i}", ["baseline"])) for i in range(10)]
        await asyncio.sleep(0.02)
        made.models["baseline"].gate.set()
        found = await asyncio.gather(first, *others)
        closing(batcher, made)
        return found

    found = asyncio.run(run())
    assert all(isinstance(each["baseline"], Failure) and each["baseline"].stage == "search" for each in found)
    assert len(searches) == 1 + 1 + 2


def test_one_arms_failure_leaves_the_other_arm_alone(made):
    made.models["custom"].fails_on = {"where is number3"}

    async def run():
        batcher = batcher_of(made)
        found = await batcher.find("where is number3", BOTH)
        closing(batcher, made)
        return found

    found = asyncio.run(run())
    assert isinstance(found["custom"], Failure)
    assert found["baseline"].hits[0].passage_id == "p003"


def test_a_full_queue_refuses_at_once(made):
    async def run():
        batcher = batcher_of(made, waiting=2)
        first = await held(made, batcher)
        waiting = [asyncio.create_task(batcher.find(f"q{i}", ["baseline"])) for i in range(2)]
        await asyncio.sleep(0.02)
        start = time.perf_counter()
        with pytest.raises(OverloadedError) as refused:
            await batcher.find("one too many", ["baseline"])
        waited = time.perf_counter() - start
        made.models["baseline"].gate.set()
        await asyncio.gather(first, *waiting)
        closing(batcher, made)
        return refused.value, waited

    refused, waited = asyncio.run(run())
    assert refused.retry_after_s > 0
    assert waited < 0.1


def test_who_stops_waiting_leaves_the_queue(made):
    async def run():
        batcher = batcher_of(made, waiting=1)
        first = await held(made, batcher)
        left = asyncio.create_task(batcher.find("never mind", ["baseline"]))
        await asyncio.sleep(0.02)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        stays = asyncio.create_task(batcher.find("where is number1", ["baseline"]))
        await asyncio.sleep(0.02)
        made.models["baseline"].gate.set()
        await asyncio.gather(first, stays)
        closing(batcher, made)

    asyncio.run(run())
    assert made.models["baseline"].batches == [("first",), ("where is number1",)]


def test_users_go_before_silent_work_which_goes_in_small_batches(made):
    async def run():
        batcher = batcher_of(made, silent_batch=2, silent_gather_s=0.0)
        first = await held(made, batcher)
        silent = [asyncio.create_task(batcher.find(f"silent{i}", ["custom"], silent=True)) for i in range(4)]
        await asyncio.sleep(0.02)
        user = asyncio.create_task(batcher.find("user", ["custom"]))
        await asyncio.sleep(0.02)
        made.models["baseline"].gate.set()
        await asyncio.gather(first, user, *silent)
        closing(batcher, made)

    asyncio.run(run())
    assert made.models["custom"].batches == [("user",), ("silent0", "silent1"), ("silent2", "silent3")]


def test_silent_work_waits_while_a_user_is_in_the_house_but_not_for_ever(made):
    async def run():
        batcher = batcher_of(made, silent_gather_s=0.0, silent_patience_s=1.0)
        start = time.perf_counter()
        with batcher.user():
            silent = asyncio.create_task(batcher.find("silent", ["custom"], silent=True))
            await asyncio.sleep(0.15)
            waiting = not silent.done()
            await silent
        waited = time.perf_counter() - start
        closing(batcher, made)
        return waiting, waited

    waiting, waited = asyncio.run(run())
    assert waiting
    assert waited >= 1.0


def test_a_full_silent_lane_refuses_silent_work_only(made):
    async def run():
        batcher = batcher_of(made, silent_waiting=1)
        with batcher.user():
            silent = asyncio.create_task(batcher.find("silent", ["custom"], silent=True))
            await asyncio.sleep(0.02)
            with pytest.raises(OverloadedError):
                await batcher.find("shed", ["custom"], silent=True)
            await batcher.find("user", ["custom"])
        await silent
        closing(batcher, made)

    asyncio.run(run())


def test_other_work_runs_on_the_same_thread_and_its_errors_come_back(made):
    async def run():
        batcher = batcher_of(made)
        name = await batcher.call(lambda: threading.current_thread().name)
        with pytest.raises(ZeroDivisionError):
            await batcher.call(lambda: 1 / 0)
        closing(batcher, made)
        return name

    assert asyncio.run(run()) == "ragtrial-models"


def test_a_borrowed_embedder_gives_the_same_vectors_on_the_models_thread(made):
    model, texts = made.models["custom"], [f"text {i}" for i in range(20)]

    async def run():
        batcher = batcher_of(made)
        borrowed = BorrowedEmbedder(model, batcher, asyncio.get_running_loop())
        vectors = await asyncio.to_thread(borrowed.embed, texts, kind="passage")
        closing(batcher, made)
        return vectors

    assert (asyncio.run(run()) == model.inner.embed(texts, kind="passage")).all()
    assert model.threads == {"ragtrial-models"}
    assert [len(batch) for batch in model.batches] == [8, 8, 4]


def test_closing_refuses_what_waits(made):
    async def run():
        batcher = batcher_of(made)
        first = await held(made, batcher)
        late = asyncio.create_task(batcher.find("late", ["baseline"]))
        await asyncio.sleep(0.02)
        threading.Timer(0.05, made.models["baseline"].gate.set).start()
        await asyncio.to_thread(batcher.close)
        await first
        with pytest.raises(OverloadedError):
            await late
        with pytest.raises(OverloadedError):
            await batcher.find("later", ["baseline"])

    asyncio.run(run())


def test_a_model_that_returns_too_few_vectors_fails_its_queries_and_the_thread_lives_on(made):
    class Short:
        def __init__(self, inner):
            self.inner, self.identity, self.short = inner, inner.identity, True

        def embed(self, texts, *, kind, progress=None):
            vectors = self.inner.embed(texts, kind=kind)
            return vectors[:-1] if self.short else vectors

    async def run():
        arm = made.arm("baseline").search
        model = Short(arm.embedder)
        arms = {"baseline": replace(arm, embedder=model)}
        batcher = MicroBatcher(arms, counts=ServingCounts("house"))
        failed = await asyncio.wait_for(batcher.find("where is number1", ["baseline"]), 60)
        model.short = False
        found = await asyncio.wait_for(batcher.find("where is number1", ["baseline"]), 60)
        closing(batcher, made)
        return failed["baseline"], found["baseline"]

    failed, found = asyncio.run(run())
    assert isinstance(failed, Failure)
    assert found.hits[0].passage_id == "p001"


def test_silent_work_takes_no_more_than_its_share_of_the_thread(made):
    """Each pass takes 20 ms, so with a share of a fifth there are 80 ms between two: ten passes need more than 0.7 s."""

    def pass_over():
        time.sleep(0.02)
        return time.perf_counter()

    async def run():
        batcher = batcher_of(made, silent_share=0.2, silent_gather_s=0.01)
        ends = await asyncio.gather(*(batcher.call(pass_over) for _ in range(10)))
        closing(batcher, made)
        return ends

    ends = asyncio.run(run())
    assert ends[-1] - ends[0] >= 9 * 0.1


def test_users_are_found_while_silent_work_rests(made):
    async def run():
        batcher = batcher_of(made, silent_share=0.01, silent_gather_s=0.01)
        await batcher.call(lambda: time.sleep(0.1))  # 9.9 s of rest
        start = time.perf_counter()
        await batcher.find("where is number1", ["baseline"])
        waited = time.perf_counter() - start
        closing(batcher, made)
        return waited

    assert asyncio.run(run()) < 1
