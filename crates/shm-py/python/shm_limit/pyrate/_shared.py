"""What all buckets in shared memory have in common: a put is one decision, and what it found is remembered for `waiting`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Optional, Union

from pyrate_limiter import AbstractBucket, Decision, Rate, RateItem

from .._errors import InvalidRequestError
from .._native import Admission, Denied
from ._clock import boot_clock, down, up
from ._limits import Policy

__all__ = ["SharedBucket"]

#: After how many milliseconds to try again if it is not known when a request will be admitted: while all permits are held, say,
#: or while a table of keys is full.
_POLL = 100
#: For how many milliseconds the timestamp that an item got in its put is taken for the present.
_RECENT = 20


class SharedBucket(AbstractBucket):
    """A bucket whose budget is in shared memory. `limiter_lock()` is None: no process waits for another."""

    is_async = False
    _clock = boot_clock

    @abstractmethod
    def _take(self, weight: int) -> Union[Admission, Denied]:
        """Takes so many units now, or none."""

    @abstractmethod
    def _wait(self, weight: int) -> int:
        """In how many milliseconds so many units could be taken if no other process took any. Takes nothing.

        InvalidRequestError: never.
        """

    def _set_algorithm(self, algorithm: Policy) -> None:
        # AbstractBucket calls it a LogAlgorithm, and StateBucket has another attribute for the other kind.
        self._algorithm = algorithm  # type: ignore[assignment]

    def _too_heavy(self, weight: int) -> Optional[Rate]:
        """The first rate that never admits this weight."""
        return next((rate for rate in self._rates if weight > self._algorithm.max_weight(rate)), None)

    def put(self, item: RateItem) -> bool:
        """Takes the item's weight from the budget of all processes, or nothing. One decision, without a lock; never waits.

        The item's timestamp becomes the instant of the decision. After a denial, `failing_rate` is the rate that the item has
        to wait for longest. Errors are those of RateLimit.try_acquire, except that a weight that can never be admitted is a
        denial.
        """
        decision = Decision()
        if item.weight != 0:
            decision = self._decide(item)
        return self._record(item, decision)

    def _decide(self, item: RateItem) -> Decision:
        too_heavy = self._too_heavy(item.weight)
        if too_heavy is not None:
            return Decision(failing_rate=too_heavy)
        try:
            outcome = self._take(item.weight)
        except InvalidRequestError as error:
            if error.kind != "never_admissible":
                raise
            # The limiter has been given smaller limits than this bucket.
            return Decision(failing_rate=self._rates[0])
        if isinstance(outcome, Admission):
            item.timestamp = up(outcome.at_ns)
            self._admitted(item)
            return Decision()
        item.timestamp = down(outcome.at_ns)
        index = min(outcome.denied_limit or 1, len(self._rates)) - 1
        retry_at = outcome.retry_at_ns
        return Decision(self._rates[index], _POLL if retry_at is None else up(retry_at) - item.timestamp)

    def _admitted(self, item: RateItem) -> None:
        """Notes an item that was admitted."""

    def waiting(self, item: RateItem) -> int:
        """After how many milliseconds, rounded up, an item that was denied would be admitted if no other process took anything; 0
        after an admission, and -1 if its weight can never be admitted.
        """
        if self.failing_rate is None:
            return 0
        assert item.weight > 0, "Item's weight must > 0"
        if self._too_heavy(item.weight) is not None:
            return -1
        recorded = self._recorded_wait(item)
        if recorded is not None:
            return recorded
        try:
            return self._wait(item.weight)
        except InvalidRequestError as error:
            if error.kind != "never_admissible":
                raise
            return -1

    def _recorded_wait(self, item: RateItem) -> Optional[int]:
        recorded = self._last_wait
        if recorded is None or recorded[0] != item.weight:
            return None
        # An item that was put just now has the timestamp of its decision. Any other timestamp may be of another clock.
        now = boot_clock.now()
        is_recent = now - _RECENT <= item.timestamp <= now
        return max(0, recorded[1] - (item.timestamp if is_recent else now))

    def leak(self, current_timestamp: Optional[int] = None) -> int:
        """Does nothing, and returns 0: what is outdated does not count, and takes no memory of its own."""
        return 0

    def _forget(self) -> None:
        self.failing_rate = None
        self._last_wait = None
