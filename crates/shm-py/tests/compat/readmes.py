"""The code in the READMEs of the originals, as programs."""

import os
import pathlib
import re
import textwrap

import pytest

_NEAR = pathlib.Path(__file__).resolve().parents[5] / "shared" / "seeds"
FOLDER = pathlib.Path(os.environ.get("SHM_LIMIT_SEEDS", _NEAR))

#: Which import lines are changed, and to what. Nothing else is.
_IMPORTS = {
    r"from ratemate import": "from shm_limit.compat.ratemate import",
    r"from flowguard import": "from shm_limit.compat.flowguard import",
    r"from rate_limit\.(leaky_bucket|generic_cell_rate) import": "from shm_limit.compat.algorithms import",
    r"from nekkar\.core\.(limiter|cache) import": "from shm_limit.compat.nekkar import",
}


def text(name):
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"the READMEs of the originals are not here: {FOLDER} (or set SHM_LIMIT_SEEDS)")
    return file.read_text()


def blocks(name):
    """The Python code of a README, with the import lines changed: fenced blocks, those without a language, and indented ones."""
    page = text(name)
    fenced = re.compile(r"^```(\w*)\n(.*?)^```", re.S | re.M)
    found = [(match.start(), match[2]) for match in fenced.finditer(page) if match[1] in ("", "python")]
    rest = fenced.sub(lambda match: "\n" * len(match[0]), page)
    indented = re.compile(r"(?:^ {4}.*\n(?:\n(?= {4}))?)+", re.M)
    found += [(match.start(), textwrap.dedent(match[0])) for match in indented.finditer(rest)]
    codes = [code for _, code in sorted(found)]
    changed = []
    for code in codes:
        for old, new in _IMPORTS.items():
            code = re.sub(rf"^{old}", new, code, flags=re.M)
        changed.append(code)
    return changed


def ratemate():
    """Its blocks are parts of one program: the loop, and the task, are given in two versions each."""
    declaration, program, loop, task, greedy = blocks("ratemate.md")
    old_loop = "    for i in range(20):\n        future = executor.submit(task, i)\n        futures.append(future)\n"
    old_task = 'def task(n):\n    print(f"  task {n} called")\n    return n\n'
    assert old_loop in program and old_task in program
    return {
        "ratemate, waiting in the loop": declaration + program.replace(old_loop, textwrap.indent(loop, "    ")),
        "ratemate, waiting in the task": declaration + program.replace(old_task, task),
        "ratemate, greedy": declaration + greedy + program.replace(old_task, task),
    }
