"""What the URI of a storage and its keywords say."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Optional, Union
from urllib.parse import parse_qsl, unquote, urlsplit

from limits.errors import ConfigurationError

#: `shm://` without a name.
DEFAULT_NAME = "limits"
DEFAULT_CAPACITY = 1_000_000

Option = Union[float, str, bool, None]


@dataclass(frozen=True)
class Options:
    """Where the limiters of a storage are, and how they are made."""

    name: str = DEFAULT_NAME
    directory: Optional[str] = None
    capacity: int = DEFAULT_CAPACITY
    entries: int = DEFAULT_CAPACITY
    mode: Optional[int] = None


def options_of(uri: Optional[str], keywords: dict[str, Option]) -> Options:
    """The options of a URI and of keywords, which come first.

    Raises ConfigurationError for what is not an option, and for values that are not what they have to be.
    """
    parts = urlsplit(uri or "shm://")
    if parts.path not in ("", "/") or parts.fragment or "@" in parts.netloc or ":" in parts.netloc:
        raise ConfigurationError(
            f"{uri!r} is not a storage of shm_limit: write shm://NAME, and the directory as an option: shm://NAME?directory=/run/limits"
        )
    given: dict[str, Option] = dict(parse_qsl(parts.query, keep_blank_values=True))
    given.update(keywords)
    unknown = sorted(given.keys() - {"directory", "capacity", "entries", "mode"})
    if unknown:
        raise ConfigurationError(
            f"{unknown[0]!r} is not an option of the storage {uri!r}; it has capacity, entries, directory and mode"
        )
    directory, mode = given.get("directory"), given.get("mode")
    return Options(
        name=unquote(parts.netloc) or DEFAULT_NAME,
        directory=None if directory is None else os.fspath(_text("directory", directory)),
        capacity=_count("capacity", given.get("capacity", DEFAULT_CAPACITY)),
        entries=_count("entries", given.get("entries", DEFAULT_CAPACITY)),
        mode=None if mode is None else _mode(mode),
    )


def _text(option: str, value: Option) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path:
        raise ConfigurationError(f"the option {option} must be a path, not {value!r}")
    return path


def _count(option: str, value: Option) -> int:
    if isinstance(value, str) and re.fullmatch("[0-9_]+", value, re.ASCII):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"the option {option} must be a number from 1 on, not {value!r}")
    return value


def _mode(value: Option) -> int:
    if isinstance(value, str) and re.fullmatch("(0o)?[0-7]{3,4}", value, re.ASCII):
        value = int(value, 8)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigurationError(f'the option mode must be octal digits such as "660", not {value!r}')
    return value
