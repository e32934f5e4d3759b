"""What a server's answer says about its limits: for how long its clients should send nothing.

Everything in an answer is untrusted: what cannot be read is ignored, and never an error.
"""

from __future__ import annotations

import re
from typing import Callable, NamedTuple, Optional

from . import structured
from .dates import parse_date

__all__ = ["Answer", "FieldValues", "of_answer"]

#: All values of the header of this name.
FieldValues = Callable[[str], list[str]]

_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
#: Longer texts of digits are more seconds than anything here can mean; they are not converted, since that takes long.
_MOST_DIGITS = 15
_ENDLESS = float("inf")
_YEAR = 366 * 86_400
#: A reset of at least so many seconds cannot be a time to wait, and is an instant since 1970: it is later than 2001.
_EPOCH = 1e9
_EPOCH_MILLISECONDS = 1e12


class Answer(NamedTuple):
    """What an answer says.

    refused: the server refused the request because of a limit, and the same request can be sent later: 429, or 503 with a
    `Retry-After`.
    pause: for how many seconds no request should be sent; infinity: for longer than can be told. None: not known.
    """

    refused: bool
    pause: Optional[float]


def of_answer(status: int, values: FieldValues, obey_fields: bool, now: float) -> Answer:
    """What an answer with this status and these headers says; `now` is the time in seconds since 1970."""
    if status in (429, 503):
        retry_after = _retry_after(values, now)
        if retry_after is not None:
            return Answer(True, retry_after)
    refused = status == 429
    if not obey_fields:
        return Answer(refused, None)
    pause = _rate_limit(values)
    if pause is None:
        pause = _reset(values, "ratelimit", refused, now)
    if pause is None:
        pause = _reset(values, "x-ratelimit", refused, now)
    # The fields are whole seconds. A server of ten evenly spaced requests a second says after each of them that none is left for
    # "1" second; to obey that would divide its rate by ten.
    if not refused and pause is not None and pause <= 1:
        pause = None
    return Answer(refused, pause)


def _retry_after(values: FieldValues, now: float) -> Optional[float]:
    """The longest of the valid `Retry-After`."""
    found = [_delay(value.strip(), values, now) for value in values("retry-after")]
    return max((delay for delay in found if delay is not None), default=None)


def _delay(text: str, values: FieldValues, now: float) -> Optional[float]:
    if _SECONDS.fullmatch(text):
        return _number(text)
    date = parse_date(text)
    if date is None:
        return None
    # By the server's clock, if it says what that shows.
    server = [parse_date(value.strip()) for value in values("date")]
    begin = server[0] if len(server) == 1 and server[0] is not None else now
    return date - begin if date > begin else None


def _number(text: str) -> float:
    whole, _, fraction = text.partition(".")
    whole = whole.lstrip("0")
    return _ENDLESS if len(whole) > _MOST_DIGITS else float(f"{whole or '0'}.{fraction[:9] or '0'}")


def _rate_limit(values: FieldValues) -> Optional[float]:
    """The longest time of the limits of which nothing is left, in `RateLimit`: that of draft 8 and later, or that of draft 7."""
    text = ", ".join(values("ratelimit"))
    try:
        limits = structured.parse_list(text)
    except structured.InvalidField:
        return _draft_7(text)
    times = [_whole(parameters.get("t")) for _, parameters in limits if _whole(parameters.get("r")) == 0]
    return max((float(time) for time in times if time is not None), default=None)


def _draft_7(text: str) -> Optional[float]:
    """`limit=100, remaining=0, reset=30`"""
    try:
        members = structured.parse_dictionary(text)
    except structured.InvalidField:
        return None
    remaining, reset = (_whole(members[key][0]) if key in members else None for key in ("remaining", "reset"))
    return None if remaining != 0 or reset is None else float(reset)


def _whole(value: object) -> Optional[int]:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _reset(values: FieldValues, prefix: str, refused: bool, now: float) -> Optional[float]:
    """The fields of earlier drafts, `…-Remaining` and `…-Reset`: seconds to wait, or an instant in seconds or milliseconds since
    1970, if it is plain which. A refusal says by itself that nothing is left.
    """
    remaining = _only(values(f"{prefix}-remaining"))
    reset = _only(values(f"{prefix}-reset"))
    if reset is None or (remaining != 0 if remaining is not None else not refused):
        return None
    if reset <= _YEAR:
        return reset
    if reset < _EPOCH:
        return None
    instant = reset / 1000 if reset >= _EPOCH_MILLISECONDS else reset
    return instant - now if instant > now else None


def _only(found: list[str]) -> Optional[float]:
    if len(found) != 1 or not _SECONDS.fullmatch(found[0].strip()):
        return None
    return _number(found[0].strip())
