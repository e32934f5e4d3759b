"""Structured fields: examples of RFC 9651, and garbage."""

import random

import pytest

from shm_limit._http.structured import Date, InvalidField, Token, parse_dictionary, parse_list

VALID = [
    ("", []),
    ("sugar, tea, rum", [("sugar", {}), ("tea", {}), ("rum", {})]),
    ('("foo" "bar"), ("baz"), ("bat" "one"), ()', [
        ((("foo", {}), ("bar", {})), {}), ((("baz", {}),), {}), ((("bat", {}), ("one", {})), {}), ((), {}),
    ]),
    ('("foo"; a=1;b=2);lvl=5, ("bar" "baz");lvl=1', [
        ((("foo", {"a": 1, "b": 2}),), {"lvl": 5}), ((("bar", {}), ("baz", {})), {"lvl": 1}),
    ]),
    ('abc;a=1;b=2; cde_456, (ghi;jk=4 l);q="9";r=w', [
        ("abc", {"a": 1, "b": 2, "cde_456": True}), ((("ghi", {"jk": 4}), ("l", {})), {"q": "9", "r": "w"}),
    ]),
    ("1; a; b=?0", [(1, {"a": True, "b": False})]),
    ("42, -7, 4.5, 0042, -0", [(42, {}), (-7, {}), (4.5, {}), (42, {}), (0, {})]),
    ('"hello \\"w\\\\orld"', [('hello "w\\orld', {})]),
    ("foo123/456:*", [("foo123/456:*", {})]),
    (":cHJldGVuZCB0aGlzIGlzIGJpbmFyeSBjb250ZW50Lg==:, :aGVsbG8:", [
        (b"pretend this is binary content.", {}), (b"hello", {}),
    ]),
    ("?1, @1659578233, @-1", [(True, {}), (Date(1659578233), {}), (Date(-1), {})]),
    ('%"This is intended for display to %c3%bcsers."', [("This is intended for display to üsers.", {})]),
    ("  a ,\t b  ", [("a", {}), ("b", {})]),
    ("999999999999999, 999999999999.999", [(999999999999999, {}), (999999999999.999, {})]),
    ('"default";r=50;t=30;pk=:c2htLWxvY2s=:', [("default", {"r": 50, "t": 30, "pk": b"shm-lock"})]),
    ("a;x=1;x=2", [("a", {"x": 2})]),
]

INVALID = [
    "a,", ",a", "a,,b", "a b", '"a', '"\\a"', '"\x7f"', "é", "(a", "a)", "(a)(b)", '("a""b")', "((a))", "1000000000000000", "1.",
    ".5",
    "1.2345", "1000000000000.1", "--1", "-", "@1.5", "@", "?2", "?", ":a b:", ":a", "a;", "a;A=1", "a;=1", "a; ", "a\n",
    '%"%C3"', '%"%c3"',
    '%"é"', ":a:", "a;b=", "a;b=,c", "\ta", "Ⅷ", "１",
]


@pytest.mark.parametrize("text, members", VALID)
def test_valid_lists(text, members):
    found = parse_list(text)
    assert found == members
    assert [type(value) for value, _ in found if not isinstance(value, str)] == [
        type(value) for value, _ in members if not isinstance(value, str)
    ]


@pytest.mark.parametrize("text", INVALID)
def test_invalid_lists(text):
    with pytest.raises(InvalidField):
        parse_list(text)


def test_strings_and_tokens_differ():
    [(token, _), (string, _)] = parse_list('a, "a"')
    assert isinstance(token, Token) and not isinstance(string, Token)


def test_dictionaries():
    assert parse_dictionary("limit=100, remaining=0,reset=30") == {"limit": (100, {}), "remaining": (0, {}), "reset": (30, {})}
    assert parse_dictionary("a=?0, b, c; foo=bar") == {"a": (False, {}), "b": (True, {}), "c": (True, {"foo": "bar"})}
    assert parse_dictionary("a=1, b=2;x=1;y=2, a=(1 2)") == {"b": (2, {"x": 1, "y": 2}), "a": (((1, {}), (2, {})), {})}
    assert list(parse_dictionary("a=1,b=2,a=3")) == ["b", "a"]
    assert parse_dictionary("") == {}
    for text in ["a=1,", "A=1", "a=", "1=a", "a =1", "a==1", '"a"=1']:
        with pytest.raises(InvalidField):
            parse_dictionary(text)


def test_garbage_is_invalid_and_nothing_worse():
    dice = random.Random(4)
    pieces = [*"\"\\;=, ():?@%art0-.é\x00*\t٣", "9" * 20]
    valid = 0
    for _ in range(40_000):
        text = "".join(dice.choice(pieces) for _ in range(dice.randrange(12)))
        for parse in (parse_list, parse_dictionary):
            try:
                parse(text)
                valid += 1
            except InvalidField:
                pass
    # Some of it is a field, so the parsers have got further than to the first character.
    assert valid > 1000
    for text, _ in VALID:
        for _ in range(300):
            changed = list(text) or ["a"]
            changed[dice.randrange(len(changed))] = dice.choice(pieces)
            try:
                parse_list("".join(changed))
            except InvalidField:
                pass


def test_a_long_field_is_parsed_in_time_proportional_to_its_length():
    # Quadratic time would be hours.
    assert len(parse_list(", ".join(["a;b=1"] * 200_000))) == 200_000
    half = 500_000
    for text in ['"' + "\\" * (half + 1), "(" * half, "9" * half, ":" + "=" * half, "a;" * half, '%"' + "%c3" * half + "!"]:
        with pytest.raises(InvalidField):
            parse_list(text)
