from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sokbench.core.errors import InvalidInput
from sokbench.data.subset import select


def test_stride_is_the_sok_rule() -> None:
    assert select("stride:100", 10_000) == list(range(0, 10_000, 100))
    assert select("stride:3", 10) == [0, 3, 6]


def test_first_all_and_listed() -> None:
    assert select("first:3", 10) == [0, 1, 2]
    assert select("all", 4) == [0, 1, 2, 3]
    assert select("indices:7,3,7", 10) == [3, 7]


def test_random_never_changes() -> None:
    # pinned: recorded results name these inputs
    assert select("random:5:seed=0", 1000) == [87, 392, 404, 923, 942]


@given(st.integers(1, 60), st.integers(0, 40), st.integers(0, 5))
def test_random_subsets_of_a_seed_are_nested(count: int, more: int, seed: int) -> None:
    n = 100
    small, large = select(f"random:{count}:seed={seed}", n), select(f"random:{count + more}:seed={seed}", n)
    assert len(small) == count
    assert len(set(large)) == count + more
    assert set(small) <= set(large) <= set(range(n))
    assert small == sorted(small)


@given(st.integers(1, 500), st.integers(1, 500))
def test_every_rule_gives_as_many_as_asked(count: int, n: int) -> None:
    for rule in (f"stride:{count}", f"first:{count}", f"random:{count}:seed=1"):
        if count > n:
            with pytest.raises(InvalidInput, match=f"asks for {count} of {n}"):
                select(rule, n)
        else:
            assert len(set(select(rule, n))) == count


@pytest.mark.parametrize(
    "rule", ["", "last:5", "first:x", "first:-1", "random:5", "random:5:seed=-1", "indices:", "all:1"]
)
def test_unknown_rules_are_refused(rule: str) -> None:
    with pytest.raises(InvalidInput, match="unknown subset rule"):
        select(rule, 100)


def test_an_index_beyond_the_end_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names input 100, but there are 100"):
        select("indices:0,100", 100)
    with pytest.raises(InvalidInput, match="asks for 0"):
        select("first:0", 100)
