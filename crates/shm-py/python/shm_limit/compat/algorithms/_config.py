"""The configuration of a bucket."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class BucketConfig:
    """Up to capacity at once, and capacity in each `seconds` on average.

    Errors: `ValueError` if one of them is too small.
    """

    capacity: int = 10
    seconds: float = 1

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.capacity / self.seconds <= 0:
            raise ValueError(f"fill_rate_per_sec must be positive and non-zero, and is {self.capacity} per {self.seconds} s")
        if self.capacity < 1:
            raise ValueError("capacity must be at least 1")


class LeakyBucketConfig(BucketConfig):
    """The configuration of a leaky bucket."""


class TokenBucketConfig(BucketConfig):
    """The configuration of a token bucket."""


class GCRAConfig(BucketConfig):
    """The configuration of the generic cell rate algorithm."""
