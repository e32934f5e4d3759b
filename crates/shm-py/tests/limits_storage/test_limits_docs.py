"""The code on the page `docs/python/limits.md` runs as it is, and does what the page says."""

import subprocess
import sys
import time

import pytest
from test_readme import PACKAGE, blocks, run

pytest.importorskip("flask_limiter")
pytest.importorskip("slowapi")

BEFORE, AFTER, SLOWAPI, LIMITS = blocks(PACKAGE.parent.parent / "docs" / "python" / "limits.md")

REQUESTS = """
client = app.test_client()
print(*(client.get("/").status_code for _ in range(8)))
"""


@pytest.fixture(autouse=True)
def _within_an_hour():
    while time.time() % 3600 > 3570:
        time.sleep(0.1)


def codes(code, directory):
    ran = run(code.replace("10 per minute", "10 per hour"), directory)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split()


def test_each_block_runs(tmp_path):
    for code in (BEFORE, AFTER, SLOWAPI, LIMITS):
        ran = run(code, tmp_path)
        assert ran.returncode == 0, ran.stderr


def test_one_string_makes_one_limit_of_many(tmp_path):
    assert set(AFTER.splitlines()) - set(BEFORE.splitlines()) == {
        "import shm_limit.limits",
        'limiter = Limiter(get_remote_address, app=app, storage_uri="shm://api")',
    }
    assert [codes(BEFORE + REQUESTS, tmp_path).count("200") for _ in range(2)] == [8, 8]
    assert [codes(AFTER + REQUESTS, tmp_path).count("200") for _ in range(2)] == [8, 2]


def test_without_the_import_the_error_is_the_one_on_the_page(tmp_path):
    ran = run(AFTER.replace("import shm_limit.limits\n", ""), tmp_path)
    assert "unknown storage scheme : shm://api" in ran.stderr


def test_what_the_storage_raises_is_caught_by_flask_limiter(tmp_path):
    nowhere = str(tmp_path / "nowhere")
    for option, limited in (("in_memory_fallback_enabled=True", 2), ("swallow_errors=True", 0)):
        code = AFTER.replace('"shm://api")', f'"shm://api?directory={nowhere}", {option})')
        found = codes(code + REQUESTS.replace("range(8)", "range(12)"), tmp_path)
        assert (found.count("200"), found.count("429")) == (12 - limited, limited), option


def test_the_core_of_the_package_does_not_import_it():
    code = "import sys, shm_limit; assert 'limits' not in sys.modules and 'shm_limit.limits' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
