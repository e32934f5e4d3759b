import pytest

limits = pytest.importorskip("limits")


@pytest.fixture
def storage(tmp_path):
    """Opens storages in a directory of the test's own."""
    import shm_limit.limits  # noqa: F401

    def open_storage(uri="shm://api", **options):
        return limits.storage.storage_from_string(uri, directory=str(tmp_path), **options)

    return open_storage
