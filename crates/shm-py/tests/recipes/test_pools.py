"""The recipes for pools: processes of every start method, and threads."""

import pytest

from pages import program, run, without_refill


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_the_processes_of_a_pool_share_one_budget(tmp_path, method):
    code = program("Pools of processes", "pool.py").replace('get_context("spawn")', f'get_context("{method}")')
    assert run(without_refill(code), tmp_path) == "20 pages\n"


def test_a_pool_waits_for_its_turns(tmp_path):
    assert run(program("Pools of processes", "pool.py"), tmp_path) == "60 pages\n"


def test_threads_share_one_budget(tmp_path):
    code = program("Threads", "threads.py")
    assert run(code, tmp_path) == "60 pages\n"
    assert run(without_refill(code).replace('name="threads"', 'name="again"'), tmp_path) == "20 pages\n"
