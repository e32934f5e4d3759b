"""The recipe for Celery: four worker processes share one budget. The broker is a folder."""

import os
import subprocess
import sys
import time

import pytest

from pages import command, environment, program, without_refill
from running import running

pytest.importorskip("celery")

CONFIG = """
broker_url = "filesystem://"
broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "store_processed": False,
    "polling_interval": 0.05,
}
worker_enable_remote_control = False
"""

SEND = """
from tasks import send_mail
for i in range(30):
    send_mail.delay(f"user{i}")
"""


def test_the_processes_of_a_worker_share_one_budget(tmp_path, monkeypatch):
    (tmp_path / "tasks.py").write_text(without_refill(program("Celery")))
    (tmp_path / "celeryconfig.py").write_text(CONFIG)
    for folder in ("queue", "control"):
        os.mkdir(tmp_path / folder)
    # Its default loader reads celeryconfig.py.
    monkeypatch.setenv("CELERY_LOADER", "default")
    subprocess.run([sys.executable, "-c", SEND], cwd=tmp_path, env=environment(tmp_path), check=True, timeout=60)
    options = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
    with running([*command("Celery"), *options], tmp_path, lambda log: "ready" in log) as log:
        deadline = time.monotonic() + 60
        # The turns of the others come in minutes.
        while log().count("mail to ") + log().count("retry: Retry in") < 30 and time.monotonic() < deadline:
            time.sleep(0.1)
        found = log()
    assert (found.count("mail to "), found.count("retry: Retry in")) == (10, 20), found
    used = {line.split("ForkPoolWorker-")[1].split("]")[0] for line in found.splitlines() if "ForkPoolWorker-" in line}
    assert len(used) > 1, found
