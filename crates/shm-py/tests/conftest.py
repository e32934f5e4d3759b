import signal

import pytest

from shm_limit import RateLimit

# A shell that starts the tests in the background ignores it for them, and then Python installs no handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def limit(tmp_path):
    """Opens limiters in a directory of the test's own."""

    def open_limit(*args, **kwargs):
        kwargs.setdefault("name", "api")
        return RateLimit(*args, directory=tmp_path, **kwargs)

    return open_limit
