"""What a type checker sees in a user's program. It is checked and not run: mypy --strict and pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Optional, Union

from typing_extensions import assert_type

from shm_limit import Admission, Denied, KeyedRateLimit, Limit, RateLimit, RateLimited, Reservation

limit = RateLimit(10, per=timedelta(seconds=1), name="api", limits=None)
assert_type(limit.wait(), float)
assert_type(limit.try_acquire({"calls": 1, "tokens": 900}), Union[Admission, Denied])
assert_type(limit.reserve(2), Reservation)
assert_type(limit.schedule(3), list[float])
assert_type(limit.status()["next_in"], float)

outcome = limit.acquire(2, timeout=0.5, max_waiters=10)
if outcome:
    assert_type(outcome, Admission)
    assert_type(outcome.waited, float)
    outcome.release()
else:
    assert_type(outcome, Denied)
    assert_type(outcome.retry_after, Optional[float])
    error: RateLimited = outcome.exception()

with limit as admission:
    assert_type(admission, Admission)

keyed = KeyedRateLimit(5, per=1, name="users", in_all=[Limit("2000/s", burst=100)])
assert_type(keyed.key(("alice", 7)).try_acquire(), Union[Admission, Denied])


@limit
def function(number: int, text: str = "") -> bytes:
    return text.encode() * number


@limit
def generator() -> Iterator[int]:
    yield 1


@limit
async def coroutine(number: int) -> str:
    return str(number)


@limit
async def generator_of_tasks() -> AsyncIterator[int]:
    yield 1


async def tasks() -> None:
    assert_type(await limit.acquire_async(timeout=1), Union[Admission, Denied])
    assert_type(await limit.wait_async(), float)
    assert_type(await keyed.key("alice").acquire_async(), Union[Admission, Denied])
    assert_type(await coroutine(1), str)
    async with limit as held:
        assert_type(held, Admission)
    async for number in generator_of_tasks():
        assert_type(number, int)


assert_type(function(2, text="a"), bytes)
assert_type(list(generator()), list[int])
function("2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
limit.acquire(timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
