"""nekkar's caches. `Nekkar` does not use them; they are here for programs that name them, or use them for something else."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from typing import Any, Optional


class BaseCache(ABC):
    """A cache, as nekkar defines it."""

    @abstractmethod
    def add(self, key: str, value: Any) -> bool:
        """Sets the key if it is not set. Returns whether it did."""

    @abstractmethod
    def get(self, key: str) -> Any:
        """The key's value; None if it is not set."""

    @abstractmethod
    def set(self, key: str, value: Any) -> None:
        """Sets the key."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Deletes the key."""


class MemcachedCache(BaseCache):
    """Values as JSON in memcached. Connects when it is first used; needs the package pymemcache then (`shm-limit[nekkar]`)."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._connected: Optional[Any] = None

    @property
    def _client(self) -> Any:
        if self._connected is None:
            self._connected = importlib.import_module("pymemcache.client.base").Client(self._server)
        return self._connected

    def add(self, key: str, value: Any) -> bool:
        """Sets the key if it is not set. Returns whether it did."""
        return bool(self._client.add(key, json.dumps(value), noreply=False))

    def get(self, key: str) -> Any:
        """The key's value; None if it is not set."""
        found = self._client.get(key)
        return None if found is None else json.loads(found)

    def set(self, key: str, value: Any) -> None:
        """Sets the key."""
        self._client.set(key, json.dumps(value))

    def delete(self, key: str) -> None:
        """Deletes the key."""
        self._client.delete(key)
