"""The programs on the pages of the documentation."""

import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

DOCS = pathlib.Path(__file__).parents[4] / "docs"


class Block(NamedTuple):
    heading: str
    language: str
    #: The name of the file that the page gives it; empty if it has none.
    file: str
    code: str


def blocks(page):
    """The blocks of code of a page below `docs/`."""
    found, heading = [], ""
    pattern = r"^#+ (?P<heading>[^\n]*)$|(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```$"
    for match in re.finditer(pattern, (DOCS / page).read_text(), re.M | re.S):
        if match["heading"] is not None:
            heading = match["heading"]
        else:
            found.append(Block(heading, match["language"], match["file"] or "", match["code"]))
    return found


def program(heading, file=None):
    """The only Python block of the recipes below this heading, or that of this file."""
    [code] = [
        block.code
        for block in blocks("python/recipes.md")
        if block.heading == heading and block.language == "python" and file in (None, block.file)
    ]
    return code


def command(heading):
    """The command below this heading, without the name of its program: the one of this environment is run, as a module."""
    [code] = [block.code for block in blocks("python/recipes.md") if block.heading == heading and block.language == "sh"]
    return [sys.executable, "-m", *code.split()]


def environment(directory):
    """The limiters are in the test's own directory, and so is what gunicorn writes to its user's home."""
    folders = {"SHM_LIMIT_DIR": str(directory), "HOME": str(directory)}
    return {**os.environ, **folders, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}


def run(code, directory):
    """Runs a program as a file, as the start method "spawn" needs it. Returns what it prints."""
    (directory / "program.py").write_text(code)
    ran = subprocess.run(
        [sys.executable, "program.py"], cwd=directory, env=environment(directory), capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def without_refill(code):
    """The program with a limit of which no turn comes back while the test runs."""
    assert code.count("per=1,") >= 1
    return code.replace("per=1,", "per=3600,")
