"""Train, dev and test: nothing that belongs together is parted."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ragtrial.domain.preparation import CorpusSplitSpec
from ragtrial.preparation.splits import Groups, split_by_document, split_by_time

NOTHING: frozenset[int] = frozenset()


def groups_of(n: int, joined: list[tuple[int, int]]) -> dict[int, list[int]]:
    groups = Groups(range(n))
    for a, b in joined:
        groups.join(a, b)
    return groups.members()


joined_numbers = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=30)


@given(joined_numbers, st.integers(0, 5))
def test_groups_stay_together_and_no_split_is_larger_than_planned(joined: list[tuple[int, int]], seed: int) -> None:
    groups = groups_of(40, joined)
    spec = CorpusSplitSpec(dev=0.2, test=0.3, seed=seed)
    splits = split_by_document(groups, [f"d{number}" for number in range(40)], spec, test=NOTHING)
    assert set(splits) == set(range(40))
    assert all(len({splits[number] for number in members}) == 1 for members in groups.values())
    assert list(splits.values()).count("test") <= 12
    assert list(splits.values()).count("dev") <= 8


@given(joined_numbers, st.lists(st.integers(1, 28), min_size=40, max_size=40))
def test_by_time_nothing_that_trains_is_newer_than_the_first_day_of_what_comes_after(
    joined: list[tuple[int, int]], days: list[int]
) -> None:
    groups = groups_of(40, joined)
    dates = [f"2024-02-{day:02}" for day in days]
    splits = split_by_time(groups, dates, CorpusSplitSpec(by="time", dev=0.2, test=0.2), test=NOTHING)
    newest = {splits[group]: [] for group in groups}
    for group, members in groups.items():
        assert len({splits[number] for number in members}) == 1
        newest[splits[group]].append(max(dates[number] for number in members))
    order = [newest[split] for split in ("train", "dev", "test") if split in newest]
    assert all(max(before) < min(after) for before, after in itertools.pairwise(order))


def test_shares_are_met_where_documents_are_single() -> None:
    groups = {number: [number] for number in range(100)}
    by_document = split_by_document(groups, [f"d{n}" for n in range(100)], CorpusSplitSpec(), test=NOTHING)
    by_time = split_by_time(groups, [f"20{n:02}-01-01" for n in range(100)], CorpusSplitSpec(by="time"), test=NOTHING)
    for splits in (by_document, by_time):
        assert [list(splits.values()).count(split) for split in ("train", "dev", "test")] == [80, 10, 10]
    assert [number for number, split in by_time.items() if split == "test"] == list(range(90, 100))


def test_the_draw_follows_ids_and_not_the_order_of_files() -> None:
    ids = [f"d{number}" for number in range(50)]
    forwards = split_by_document({n: [n] for n in range(50)}, ids, CorpusSplitSpec(), test=NOTHING)
    backwards = split_by_document({n: [n] for n in range(50)}, ids[::-1], CorpusSplitSpec(), test=NOTHING)
    assert {ids[n]: split for n, split in forwards.items()} == {ids[::-1][n]: split for n, split in backwards.items()}
    other = split_by_document({n: [n] for n in range(50)}, ids, CorpusSplitSpec(seed=1), test=NOTHING)
    assert forwards != other


def test_what_the_gold_set_was_made_from_is_in_the_test_split_and_counts_towards_it() -> None:
    groups = {0: [0, 1, 2], **{number: [number] for number in range(3, 30)}}
    splits = split_by_document(groups, [f"d{n}" for n in range(30)], CorpusSplitSpec(), test=frozenset({0}))
    assert [number for number, split in splits.items() if split == "test"] == [0, 1, 2]


def test_a_group_without_a_date_trains() -> None:
    splits = split_by_time({0: [0], 1: [1]}, [None, "2024-01-01"], CorpusSplitSpec(by="time", dev=0.0, test=0.9), test=NOTHING)
    assert splits == {0: "train", 1: "test"}
