"""A client's requests: their turns, and the pauses and retries that answers ask for."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Generic, NamedTuple, Optional, TypeVar, Union

from .. import _aio
from .._errors import ShmLimitError
from .._native import Admission, Denied, LimitOfKey
from .._rate_limit import Cost, Seconds
from . import server_limits
from .budgets import Budget, Budgets, CostOf, KeyOf, Limiter

__all__ = ["IDEMPOTENT", "Outgoing", "Turn", "Verdict"]

Request = TypeVar("Request")

_log = logging.getLogger("shm_limit")

#: Requests of these methods can be sent again also if the server has acted on them (RFC 9110, section 9.2.2).
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


#: A limiter cannot be paused for longer.
_LONGEST_PAUSE = 366 * 86_400.0


class Turn(NamedTuple):
    """A request's turn: what admitted it, the budget that it was taken from, and its cost. The first two are None if nothing
    limits it.
    """

    admission: Optional[Admission]
    budget: Optional[Budget]
    cost: Cost

    def release(self) -> None:
        if self.admission is not None:
            self.admission.release()


class Verdict(NamedTuple):
    """What to do after an answer: for how many seconds to pause, 0.0 for not at all; and whether a retry makes sense, provided
    that it waits for the end of the pause.
    """

    pause: float
    retry: bool


class Outgoing(Generic[Request]):
    """How the requests of a client are limited. See `shm_limit.httpx.LimitedTransport` for the parameters."""

    def __init__(
        self,
        limit: Limiter,
        *,
        key: Optional[KeyOf[Request]],
        host: KeyOf[Request],
        cost: CostOf[Request],
        timeout: Optional[Seconds],
        max_waiters: Optional[int],
        retries: int,
        max_pause: Seconds,
        default_pause: Seconds,
        obey_fields: bool,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries must not be negative, and is {retries}")
        self.retries = retries
        self._budgets = Budgets(limit, key, host, cost)
        self._timeout = timeout
        self._max_waiters = max_waiters
        self._max_pause = _seconds("max_pause", max_pause)
        if self._max_pause > _LONGEST_PAUSE:
            raise ValueError(f"max_pause must be at most 366 days, and is {max_pause}")
        self._default_pause = _seconds("default_pause", default_pause)
        self._obey_fields = obey_fields

    def take(self, request: Request) -> Union[Turn, Denied]:
        """Waits for the request's turn in a thread."""
        budget = self._budgets.of(request)
        if budget is None:
            return Turn(None, None, 0)
        cost = self._budgets.cost(request)
        outcome = budget.acquire(cost, self._timeout, self._max_waiters)
        return outcome if isinstance(outcome, Denied) else Turn(outcome, budget, cost)

    async def take_async(self, request: Request) -> Union[Turn, Denied]:
        """Waits for the request's turn in a task."""
        budget = self._budgets.of(request)
        if budget is None:
            return Turn(None, None, 0)
        cost = self._budgets.cost(request)
        outcome = await _aio.acquire(budget, cost, self._timeout, self._max_waiters)
        return outcome if isinstance(outcome, Denied) else Turn(outcome, budget, cost)

    def after(self, status: int, values: server_limits.FieldValues, method: str) -> Verdict:
        """What to do after an answer with this status and these headers."""
        answer = server_limits.of_answer(status, values, self._obey_fields, time.time())
        pause = answer.pause
        if pause is None:
            pause = self._default_pause if answer.refused else 0.0
        pause = min(pause, self._max_pause)
        # A server that answers 503 may have acted on the request.
        can_repeat = status == 429 or method.upper() in IDEMPOTENT
        comes_in_time = self._timeout is None or pause <= _seconds("timeout", self._timeout)
        return Verdict(pause, answer.refused and can_repeat and comes_in_time)

    def pause(self, turn: Turn, seconds: float) -> bool:
        """Pauses the turn's budget for all processes, if there are seconds to pause; a longer pause stays. May block for up to
        two seconds. Returns whether the same request would now wait for the end of the pause. It would not if it takes from no
        budget, if the budget cannot be paused, in shadow mode, and if it takes no calls from a key: a key is paused by its calls.
        """
        if turn.budget is None:
            return False
        if seconds <= 0:
            return True
        try:
            turn.budget.pause_for(seconds)
            _log.info("a server wants no requests for %.3f s: paused %r for all processes", seconds, turn.budget)
            if isinstance(turn.budget, LimitOfKey) and _calls(turn.cost) == 0:
                return False
            return not self._budgets.are_in_shadow()
        except ShmLimitError as error:
            # The answer is worth more than the pause.
            _log.warning("no pause of %.3f s, which a server asked for: %s", seconds, error)
            return False


def _calls(cost: Cost) -> int:
    return cost.get("calls", 0) if isinstance(cost, dict) else cost


def _seconds(what: str, time: Seconds) -> float:
    seconds = time.total_seconds() if isinstance(time, timedelta) else float(time)
    if not seconds >= 0:
        raise ValueError(f"{what} must not be negative, and is {time}")
    return seconds
