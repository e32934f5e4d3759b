"""Dates in headers: the three forms of RFC 9110, section 5.6.7. They do not depend on the locale."""

from __future__ import annotations

import calendar
import re
import time
from typing import Optional

__all__ = ["parse_date"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = "|".join(_MONTHS)
_DAY = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_LONG_DAY = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_TIME = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_FORMS = [
    re.compile(rf"(?:{_DAY}), (?P<day>[0-9]{{2}}) (?P<month>{_MONTH}) (?P<year>[0-9]{{4}}) {_TIME} GMT"),
    re.compile(rf"(?:{_LONG_DAY}), (?P<day>[0-9]{{2}})-(?P<month>{_MONTH})-(?P<year>[0-9]{{2}}) {_TIME} GMT"),
    re.compile(rf"(?:{_DAY}) (?P<month>{_MONTH}) (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})"),
]


def parse_date(text: str) -> Optional[int]:
    """The date in seconds since 1970; None if the text is not a date."""
    for form in _FORMS:
        found = form.fullmatch(text)
        if found is None:
            continue
        year, month, day = int(found["year"]), _MONTHS.index(found["month"]) + 1, int(found["day"])
        hour, minute, second = int(found["hour"]), int(found["minute"]), int(found["second"])
        if len(found["year"]) == 2:
            year += _century(year)
        # A leap second is 60.
        if year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1] or hour > 23 or minute > 59 or second > 60:
            return None
        return calendar.timegm((year, month, day, hour, minute, second))
    return None


def _century(year: int) -> int:
    """A year of two digits that would be more than 50 years ahead is in the past."""
    now = time.gmtime().tm_year
    century = now - now % 100
    return century - 100 if century + year > now + 50 else century
