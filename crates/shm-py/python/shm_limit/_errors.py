"""Exceptions. The native part raises them by `of_kind`."""

from __future__ import annotations

from typing import Optional

__all__ = [
    "CorruptError",
    "InvalidRequestError",
    "LostError",
    "MismatchError",
    "NotFoundError",
    "RateLimited",
    "ShmLimitError",
]


class ShmLimitError(Exception):
    """A limiter cannot do what was asked for.

    The message names the limiter and its file, and says what to do next.

    kind: the kind of the error in a word that stays the same, such as "not_found".
    path: the limiter's file, if the error is about one.
    """

    kind: str = "failed"
    path: Optional[str] = None


class RateLimited(ShmLimitError):
    """A request was denied, and the caller asked for an exception.

    retry_after: in how many seconds the same request would be admitted if no other request came; None if that is not known.
    denied_by: "limits", "key", "table", "pause", "permits", "line" or "unavailable".
    denied_limit: which limit denied it, counted from 1; None if it was not a limit.
    """

    kind = "denied"

    def __init__(
        self,
        message: str,
        retry_after: Optional[float] = None,
        denied_by: str = "limits",
        denied_limit: Optional[int] = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.denied_by = denied_by
        self.denied_limit = denied_limit

    def __reduce__(self) -> tuple[type[RateLimited], tuple[str, Optional[float], str, Optional[int]]]:
        return (type(self), (str(self), self.retry_after, self.denied_by, self.denied_limit))


class InvalidRequestError(ShmLimitError, ValueError):
    """The request can never succeed: a name, rate or cost that is not valid, or a cost that is more than the limiter ever admits."""


class NotFoundError(ShmLimitError, LookupError):
    """No limiter of that name exists."""


class MismatchError(ShmLimitError):
    """The limiter exists with other settings than those given."""


class CorruptError(ShmLimitError):
    """The file holds what this library cannot have written, or is not a limiter of this version."""


class LostError(ShmLimitError):
    """The limiter was retired or removed, and the handle was told not to open its name again (`on_lost="error"`)."""


_CLASSES: dict[str, type[ShmLimitError]] = {
    "invalid_name": InvalidRequestError,
    "invalid_input": InvalidRequestError,
    "never_admissible": InvalidRequestError,
    "too_far": InvalidRequestError,
    "not_found": NotFoundError,
    "mismatch": MismatchError,
    "corrupt": CorruptError,
    "not_a_limiter": CorruptError,
    "incompatible": CorruptError,
    "other_clock": CorruptError,
    "retired": LostError,
    "removed": LostError,
    "line_full": RateLimited,
}


#: What a remedy names differently here.
_NAMES = {
    "OnMismatch::Keep": 'on_mismatch="keep"',
    "OnMismatch::Change": 'on_mismatch="change"',
    "OnLost::Reopen": 'on_lost="reopen"',
    "RateLimit::settle": "settle",
}


def of_kind(kind: str, message: str, path: Optional[object]) -> ShmLimitError:
    """The exception for an error of the library."""
    for rust, python in _NAMES.items():
        message = message.replace(rust, python)
    cls = _CLASSES.get(kind, ShmLimitError)
    error = cls(message, None, "line") if cls is RateLimited else cls(message)
    error.kind = kind
    error.path = None if path is None else str(path)
    return error
