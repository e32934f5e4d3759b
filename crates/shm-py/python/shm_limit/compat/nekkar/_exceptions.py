"""nekkar's exceptions, so that programs that catch them go on to work. Nothing here raises them."""

from __future__ import annotations


class BootesException(Exception):
    """The base of nekkar's exceptions."""


class RetryMaxCountReached(BootesException):
    """In nekkar: a lock was not to be had. Here is no lock."""
