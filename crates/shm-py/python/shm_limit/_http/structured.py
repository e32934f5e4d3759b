"""Structured fields (RFC 9651): lists and dictionaries, as in `RateLimit: "default";r=0;t=30`.

A field that is not valid is an error as a whole, as the RFC wants it. Parsing takes time in proportion to the field's length.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple, Union

__all__ = ["Date", "InvalidField", "Item", "Token", "parse_dictionary", "parse_list"]


class InvalidField(ValueError):
    """The text is not a structured field of that kind."""


class Token(str):
    """A token, such as `requests`; a string is a `str`, and is written in quotation marks."""


class Date(NamedTuple):
    """A date, in seconds since 1970."""

    seconds: int


Bare = Union[bool, int, float, str, bytes, Date]
Parameters = dict[str, Bare]
#: A value and its parameters. The value of an inner list is a tuple of items.
Item = tuple[Union[Bare, tuple["Item", ...]], Parameters]

_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_NUMBER = re.compile(r"(-?)([0-9]+)(\.[0-9]+)?")
_STRING = re.compile(r'"((?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*")
_BYTES = re.compile(r":([A-Za-z0-9+/=]*):")
_BOOLEAN = re.compile(r"\?([01])")
_DISPLAY = re.compile(r'%"((?:[\x20-\x21\x23-\x24\x26-\x7e]|%[0-9a-f]{2})*)"')
_OPTIONAL_SPACE = re.compile(r"[ \t]*")
_SPACES = re.compile(r" *")


def parse_list(text: str) -> list[Item]:
    """The members of a list. Raises InvalidField."""
    parser = _Parser(text)
    members = [parser.member()] if parser.has_more() else []
    while parser.has_more():
        parser.comma()
        members.append(parser.member())
    return members


def parse_dictionary(text: str) -> dict[str, Item]:
    """The members of a dictionary; the last one of a key counts. Raises InvalidField."""
    parser = _Parser(text)
    members: dict[str, Item] = {}
    is_first = True
    while parser.has_more():
        if not is_first:
            parser.comma()
        is_first = False
        key = parser.key()
        members.pop(key, None)
        members[key] = parser.member() if parser.skip("=") else (True, parser.parameters())
    return members


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text.strip(" ")
        self.at = 0

    def has_more(self) -> bool:
        return self.at < len(self.text)

    def invalid(self) -> InvalidField:
        return InvalidField(f"not a structured field, at character {self.at + 1}")

    def next_is(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def skip(self, character: str) -> bool:
        found = self.next_is(character)
        self.at += found
        return found

    def match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.invalid()
        self.at = found.end()
        return found

    def comma(self) -> None:
        """A comma between members, and what must follow it."""
        self.match(_OPTIONAL_SPACE)
        if not self.skip(","):
            raise self.invalid()
        self.match(_OPTIONAL_SPACE)
        if not self.has_more():
            raise self.invalid()

    def key(self) -> str:
        return self.match(_KEY).group()

    def member(self) -> Item:
        return self.inner_list() if self.next_is("(") else self.item()

    def inner_list(self) -> Item:
        self.skip("(")
        items: list[Item] = []
        while True:
            spaces = self.match(_SPACES).group()
            if self.skip(")"):
                return tuple(items), self.parameters()
            if items and not spaces:
                raise self.invalid()
            items.append(self.item())

    def item(self) -> Item:
        return self.bare(), self.parameters()

    def parameters(self) -> Parameters:
        found: Parameters = {}
        while self.skip(";"):
            self.match(_SPACES)
            key = self.key()
            found[key] = self.bare() if self.skip("=") else True
        return found

    def bare(self) -> Bare:
        first = self.text[self.at : self.at + 1]
        if first == '"':
            return re.sub(r"\\(.)", r"\1", self.match(_STRING).group(1))
        if first == ":":
            return self.bytes(self.match(_BYTES).group(1))
        if first == "?":
            return self.match(_BOOLEAN).group(1) == "1"
        if first == "@":
            self.at += 1
            date = self.number()
            if isinstance(date, float):
                raise self.invalid()
            return Date(date)
        if first == "%":
            return self.display(self.match(_DISPLAY).group(1))
        if first == "-" or "0" <= first <= "9":
            return self.number()
        return Token(self.match(_TOKEN).group())

    def number(self) -> Union[int, float]:
        sign, whole, fraction = self.match(_NUMBER).groups()
        if len(whole) > (15 if fraction is None else 12) or (fraction is not None and len(fraction) > 4):
            raise self.invalid()
        return int(sign + whole) if fraction is None else float(sign + whole + fraction)

    def bytes(self, encoded: str) -> bytes:
        try:
            return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except binascii.Error:
            raise self.invalid() from None

    def display(self, encoded: str) -> str:
        try:
            return re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), encoded.encode("ascii")).decode("utf-8")
        except UnicodeDecodeError:
            raise self.invalid() from None
