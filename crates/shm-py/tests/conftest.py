import atexit
import os
import shutil
import signal
import tempfile

import pytest

from shm_limit import RateLimit

# What a test leaves goes with the directory, and the user's own limiters are left alone.
if "SHM_LIMIT_DIR" not in os.environ:
    os.environ["SHM_LIMIT_DIR"] = tempfile.mkdtemp(prefix="shm-limit-test-")
    atexit.register(lambda made_by: os.getpid() == made_by and shutil.rmtree(os.environ["SHM_LIMIT_DIR"], True), os.getpid())

# A shell that starts the tests in the background ignores it for them, and then Python installs no handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def limit(tmp_path):
    """Opens limiters in a directory of the test's own."""

    def open_limit(*args, **kwargs):
        kwargs.setdefault("name", "api")
        return RateLimit(*args, directory=tmp_path, **kwargs)

    return open_limit
