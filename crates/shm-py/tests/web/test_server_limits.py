"""What answers say: the values of headers, valid and not."""

import random

import pytest

from shm_limit._http.dates import parse_date
from shm_limit._http.server_limits import of_answer

NOW = 1_800_000_000.0
#: 10 minutes after NOW.
LATER = ["Fri, 15 Jan 2027 08:10:00 GMT", "Friday, 15-Jan-27 08:10:00 GMT", "Fri Jan 15 08:10:00 2027"]
ENDLESS = float("inf")


def answer(status, obey_fields=True, **fields):
    values = {name.replace("_", "-").lower(): [value] if isinstance(value, str) else value for name, value in fields.items()}
    return of_answer(status, lambda name: values.get(name.lower(), []), obey_fields, NOW)


@pytest.mark.parametrize(
    "value, seconds",
    [
        ("30", 30), (" 30 ", 30), ("0", 0), ("1.5", 1.5), ("31536000", 31536000), ("9" * 15, 10**15 - 1), ("9" * 16, ENDLESS),
        ("9" * 100_000, ENDLESS), ("0" * 100 + "7", 7), ("-5", None), ("+5", None), ("1e9", None), ("", None),
        ("soon", None), ("5 s", None),
        ("0x10", None), ("٣", None), ("nan", None), ("inf", None), ("5, 10", None), (["5", "10"], 10), (["x", "10"], 10),
        *[(date, 600) for date in LATER],
        ("Fri, 15 Jan 2027 07:00:00 GMT", None), ("Fri, 15 Jan 2027 08:00:00 GMT", None), ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Fri, 15 Jan 2027 08:00:01 GMT", 1),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799 - NOW),
        ("Fri, 32 Jan 2027 08:10:00 GMT", None), ("Fri, 15 Jan 2027 25:10:00 GMT", None), ("Fri, 15 Jan 2027 08:10:00 CET", None),
        ("Fri, 15 Jan 0000 08:10:00 GMT", None), ("Mon, 29 Feb 2027 00:00:00 GMT", None), ("15 Jan 2027 08:10:00 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    for status in (429, 503):
        found = answer(status, Retry_After=value)
        assert found.pause == seconds, found
        assert found.refused == (status == 429 or seconds is not None)
    assert answer(200, Retry_After=value) == (False, None)


def test_a_date_counts_by_the_servers_clock():
    assert answer(429, Retry_After=LATER[0], Date="Fri, 15 Jan 2027 08:09:00 GMT").pause == 60
    assert answer(429, Retry_After=LATER[0], Date="garbage").pause == 600
    assert answer(429, Retry_After=LATER[0], Date=["Fri, 15 Jan 2027 08:09:00 GMT"] * 2).pause == 600
    assert answer(429, Retry_After=LATER[0], Date="Fri, 15 Jan 2027 08:11:00 GMT") == (True, None)


def test_dates_of_two_digit_years_and_leap_seconds():
    assert parse_date("Sunday, 06-Nov-94 08:49:37 GMT") == parse_date("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777
    assert parse_date("Sun Nov  6 08:49:37 1994") == 784111777
    assert parse_date("Sat, 31 Dec 2016 23:59:60 GMT") == 1483228800


@pytest.mark.parametrize(
    "fields, seconds",
    [
        (dict(RateLimit='"default";r=0;t=30'), 30),
        (dict(RateLimit="default;r=0;t=30"), 30),
        (dict(RateLimit='"a";r=0;t=30, "b";r=0;t=90;pk=:AAA=:, "c";r=5;t=500'), 90),
        (dict(RateLimit=['"a";r=0;t=30', '"b";r=0;t=90']), 90),
        (dict(RateLimit='"default";r=1;t=30'), None),
        (dict(RateLimit='"default";r=0'), None),
        (dict(RateLimit='"default";r=0;t=-3'), None),
        (dict(RateLimit='"default";r=0;t=2.5'), None),
        (dict(RateLimit='"default";r=?0;t=30'), None),
        (dict(RateLimit='"default";r=0;t=@30'), None),
        (dict(RateLimit='"default";r=0;t=30,'), None),
        (dict(RateLimit='"default;r=0;t=30'), None),
        (dict(RateLimit='"default";r=0;t=999999999999999'), 999999999999999),
        (dict(RateLimit="limit=100, remaining=0, reset=30"), 30),
        (dict(RateLimit="limit=100, remaining=1, reset=30"), None),
        (dict(RateLimit="remaining=0"), None),
        (dict(RateLimit_Remaining="0", RateLimit_Reset="30"), 30),
        (dict(RateLimit_Remaining="3", RateLimit_Reset="30"), None),
        (dict(RateLimit_Remaining="x", RateLimit_Reset="30"), None),
        (dict(RateLimit_Remaining=["0", "5"], RateLimit_Reset="30"), None),
        (dict(RateLimit_Remaining="0", RateLimit_Reset="-30"), None),
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="30"), 30),
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="1800000040"), 40),
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="1800000040500"), 40.5),
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="1700000000"), None),
        # Seconds to wait, or since 1970? It is not plain.
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="900000000"), None),
        (dict(X_RateLimit_Remaining="0", X_RateLimit_Reset="Fri, 15 Jan 2027 08:10:00 GMT"), None),
        (dict(X_RateLimit_Remaining="0"), None),
        (dict(X_RateLimit_Reset="30"), None),
        # A whole second that is the rest of a shorter time.
        (dict(RateLimit='"default";r=0;t=1'), None),
        (dict(RateLimit='"default";r=0;t=2'), 2),
    ],
)
def test_fields_of_answers_that_are_no_refusal(fields, seconds):
    for status in (200, 404, 503):
        assert answer(status, **fields) == (False, seconds)
    assert answer(200, obey_fields=False, **fields) == (False, None)


def test_a_refusal_says_itself_that_nothing_is_left():
    assert answer(429) == (True, None)
    assert answer(503) == (False, None)
    assert answer(429, X_RateLimit_Reset="30") == (True, 30)
    assert answer(429, RateLimit='"default";r=0;t=1') == (True, 1)
    assert answer(429, RateLimit='"default";r=0;t=30', Retry_After="5") == (True, 5)
    assert answer(429, RateLimit='"default";r=0;t=30', Retry_After="garbage") == (True, 30)
    assert answer(429, RateLimit='"default";r=0;t=30', obey_fields=False) == (True, None)
    # An instant that is past.
    assert answer(429, X_RateLimit_Reset="1700000000") == answer(429, X_RateLimit_Reset="1700000000000") == (True, None)
    assert answer(429, RateLimit='"default";r=0;t=30', Retry_After="Fri, 15 Jan 2027 07:00:00 GMT") == (True, 30)
    assert answer(429, X_RateLimit_Remaining="5", X_RateLimit_Reset="30") == (True, None)


def test_garbage_is_never_an_error_and_no_time_is_negative():
    dice = random.Random(7)
    pieces = ["0", "1", "9" * 30, "-", ".", " ", "r=0", "t=5", ";", ",", '"', "GMT", *LATER, "Jan", ":", "é", "\x00", "("]
    drafts = [f"{prefix}ratelimit-{name}" for prefix in ("", "x-") for name in ("remaining", "reset")]
    names = ["retry-after", "date", "ratelimit", *drafts]
    pauses = 0
    for _ in range(20_000):
        values = {name: ["".join(dice.choice(pieces) for _ in range(dice.randrange(4))) for _ in range(dice.choice([0, 1, 1, 2]))]
                  for name in names}
        found = of_answer(dice.choice([200, 429, 503]), values.__getitem__, True, NOW)
        assert found.pause is None or found.pause >= 0
        pauses += found.pause is not None
    assert pauses > 1000
