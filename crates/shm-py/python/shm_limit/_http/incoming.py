"""A server's requests: admitted, denied or not decided. As the Rust crate `shm-tower` does it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple, Optional, Union

from .. import _aio
from .._errors import InvalidRequestError, ShmLimitError
from .._native import Admission, Denied, LimitOfKey
from .._rate_limit import Seconds
from ..client_ip import ClientIp
from .budgets import Budget, Budgets, CostOf, KeyOf, Limiter

__all__ = ["Incoming", "Passed", "Refused"]

_log = logging.getLogger("shm_limit")

#: An ASGI scope or a WSGI environment.
Request = Mapping[str, Any]
Fields = list[tuple[str, str]]


class Passed(NamedTuple):
    """The request is passed to the application. There is no budget if nothing limits it or the limiter could not decide."""

    admission: Optional[Admission]
    budget: Optional[Budget]


class Refused(NamedTuple):
    """The request gets this status, with these fields and an empty body."""

    status: int
    fields: Fields


class Incoming:
    """How the requests of a server are limited. See `shm_limit.asgi.RateLimitMiddleware` for the parameters."""

    def __init__(
        self,
        limit: Limiter,
        *,
        key: Optional[KeyOf[Request]],
        mode: str,
        timeout: Optional[Seconds],
        max_waiters: Optional[int],
        on_error: str,
        cost: CostOf[Request],
        policy_name: str,
    ) -> None:
        if mode not in ("reject", "wait"):
            raise ValueError(f'mode must be "reject" or "wait", not {mode!r}')
        if mode == "reject" and (timeout is not None or max_waiters is not None):
            raise ValueError('timeout and max_waiters are for mode="wait"; requests that are rejected do not wait')
        if on_error not in ("fail_open", "fail_closed"):
            raise ValueError(f'on_error must be "fail_open" or "fail_closed", not {on_error!r}')
        self.waits = mode == "wait"
        self._budgets = Budgets[Request](limit, key, ClientIp(), cost)
        self._timeout = timeout
        self._max_waiters = max_waiters
        self._fails_open = on_error == "fail_open"
        self._policy_name = policy_name

    def decide(self, request: Request) -> Union[Passed, Refused]:
        """Decides in a thread, which waits if the mode says so."""
        try:
            budget = self._budgets.of(request)
            if budget is None:
                return Passed(None, None)
            cost = self._budgets.cost(request)
            return self._decided(
                budget, budget.acquire(cost, self._timeout, self._max_waiters) if self.waits else budget.try_acquire(cost)
            )
        except ShmLimitError as error:
            return self._undecided(error)

    async def decide_async(self, request: Request) -> Union[Passed, Refused]:
        """Decides in a task, which waits if the mode says so."""
        try:
            budget = self._budgets.of(request)
            if budget is None:
                return Passed(None, None)
            cost = self._budgets.cost(request)
            return self._decided(
                budget,
                await _aio.acquire(budget, cost, self._timeout, self._max_waiters) if self.waits else budget.try_acquire(cost),
            )
        except ShmLimitError as error:
            return self._undecided(error)

    def fields(self, passed: Passed) -> Fields:
        """What the response of this request tells the client about its limits."""
        if passed.budget is None:
            return []
        return self._fields(passed.budget, None)[0]

    def _decided(self, budget: Budget, outcome: Union[Admission, Denied]) -> Union[Passed, Refused]:
        if isinstance(outcome, Admission):
            return Passed(outcome, budget)
        fields, retry_after = self._fields(budget, outcome)
        return Refused(429, [*fields, ("Retry-After", str(retry_after))])

    def _fields(self, budget: Budget, denied: Optional[Denied]) -> tuple[Fields, int]:
        # A request without a key takes from the limits of all keys, which have names of their own.
        reporting = budget if isinstance(budget, LimitOfKey) else self._budgets.limit
        policy, limit, retry_after = reporting.response_fields(self._policy_name, denied)
        fields = [("RateLimit-Policy", policy), ("RateLimit", limit)]
        return [(name, value) for name, value in fields if value is not None], retry_after

    def _undecided(self, error: ShmLimitError) -> Union[Passed, Refused]:
        if isinstance(error, InvalidRequestError):
            _log.error("no request can be admitted, and each gets 500: %s", error)
            return Refused(500, [])
        if self._fails_open:
            _log.error("a request was passed without a limit: %s", error)
            return Passed(None, None)
        _log.error("a request was refused with 503: %s", error)
        return Refused(503, [])
