import pytest

from shm_limit import RateLimit


@pytest.fixture
def limit(tmp_path):
    """Opens limiters in a directory of the test's own."""

    def open_limit(*args, **kwargs):
        kwargs.setdefault("name", "api")
        return RateLimit(*args, directory=tmp_path, **kwargs)

    return open_limit
