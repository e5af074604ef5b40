"""Which calls of two commands change places, and from where an interleaving need not be run again."""

import sys

import pytest
from commuting import Call, Calls, next_step

CASES = [
    # Two that only look.
    (("stat", "/d/a"), ("stat", "/d/a"), True),
    (("opendir", "/d"), ("read", "/d/a"), True),
    # A change, and what looks at the same, lists it, or needs its folder.
    (("pwrite", "/d/a"), ("pread", "/d/a"), False),
    (("pwrite", "/d/a"), ("pread", "/d/b"), True),
    (("create", "/d/a"), ("opendir", "/d"), False),
    (("create", "/d/w/a"), ("opendir", "/d"), True),
    (("rename", "/d/w", "/d/t"), ("stat", "/d/w/a"), False),
    (("rename", "/d/w", "/d/t"), ("open", "/d/t"), False),
    (("rename", "/d/w", "/d/t"), ("open", "/d/wide"), True),
    (("rmdir", "/d"), ("create", "/d/a"), False),
    (("mkdir", "/d"), ("stat", "/d/a"), False),
    # Locks, which are given back by closing as well.
    (("flock", "/d/lock"), ("flock", "/d/lock"), False),
    (("flock", "/d/lock"), ("flock", "/d/other"), True),
    (("close", "/d/lock"), ("flock", "/d/lock"), False),
    (("close", "/d/a"), ("pwrite", "/d/a"), True),
]


def call(words: tuple[str, ...], step: int = 1) -> Call:
    return Call(words[0], words[1:], step)


@pytest.mark.parametrize(("one", "other", "commute"), CASES)
def test_two_calls_change_places(one, other, commute):
    assert Calls([call(other)]).commute_with(call(one)) == commute
    if "close" not in (one[0], other[0]):
        assert Calls([call(one)]).commute_with(call(other)) == commute


def test_the_next_step_comes_after_the_first_that_does_not_commute():
    first = [call(("stat", "/d/a"), 1), call(("pwrite", "/d/b"), 2), call(("pwrite", "/d/c"), 3)]
    closing = call(("close", "/d/lock"), 0)
    looking = [call(("stat", "/d/b"))]
    assert next_step(first, looking, 1) == 3
    assert next_step(first, looking, 2) == 3
    assert next_step(first, looking, 3) == sys.maxsize
    locking = [call(("flock", "/d/lock"))]
    assert next_step([first[0], closing, *first[1:]], locking, 1) == 2
    assert next_step([first[0], closing, *first[1:]], locking, 2) == sys.maxsize
