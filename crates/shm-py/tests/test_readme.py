"""The code in the package's README runs as it is."""

import os
import pathlib
import re
import subprocess
import sys

README = pathlib.Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)


def run(code, directory, *args):
    environment = {**os.environ, "SHM_LIMIT_DIR": str(directory)}
    return subprocess.run([sys.executable, "-c", code, *args], env=environment, capture_output=True, text=True)


def test_each_block_runs(tmp_path):
    assert len(BLOCKS) == 3
    for code in BLOCKS:
        ran = run(code, tmp_path)
        assert ran.returncode == 0, ran.stderr


SERVE = """
if True:
    status = []
    body = application({}, lambda line, headers: status.append((line, dict(headers))))
    print(status[0][0].split()[0])
"""


def test_the_application_limits_all_processes(tmp_path):
    codes = [run(BLOCKS[2] + SERVE, tmp_path).stdout.strip() for _ in range(3)]
    assert codes == ["200"] * 3
    many = BLOCKS[2] + SERVE.replace("if True:", "for _ in range(30):")
    codes = run(many, tmp_path).stdout.split()
    assert codes.count("200") < 30 and codes[-1] == "429"
