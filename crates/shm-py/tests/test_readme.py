"""The code in the package's README, and in that of the project, runs as it is."""

import os
import pathlib
import re
import subprocess
import sys

PACKAGE = pathlib.Path(__file__).parent.parent


def blocks(readme):
    return re.findall(r"```python\n(.*?)```", readme.read_text(), re.S)


BLOCKS = blocks(PACKAGE / "README.md")


def run(code, directory, *args):
    environment = {**os.environ, "SHM_LIMIT_DIR": str(directory)}
    return subprocess.run([sys.executable, "-c", code, *args], env=environment, capture_output=True, text=True)


def test_each_block_runs(tmp_path):
    of_project = blocks(PACKAGE.parent.parent / "README.md")
    assert (len(BLOCKS), len(of_project)) == (3, 1)
    of_page = blocks(PACKAGE.parent.parent / "docs" / "python.md")
    assert of_page and of_page[0].strip() in BLOCKS[2]
    for code in BLOCKS + of_project + of_page:
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
