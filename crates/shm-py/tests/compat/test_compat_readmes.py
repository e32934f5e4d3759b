"""Every code block of the READMEs of the originals runs, with only its import line changed.

They run at the same time, each as a process of its own. Those that take minutes run with time that passes faster (see faster.py);
with SHM_LIMIT_REAL_TIME=1 they take the time that they take.
"""

import os
import pathlib
import re
import time

import readmes

HERE = pathlib.Path(__file__).parent
REAL_TIME = os.environ.get("SHM_LIMIT_REAL_TIME") == "1"

#: A module that stands for requests: it notes when a request would be sent.
REQUESTS = """
import time
def get(url, **kwargs):
    print("request", url, time.monotonic(), flush=True)
patch = get
"""


def numbers(out, pattern):
    """The numbers in what a program wrote. (Threads write in between each other's lines.)"""
    return [float(number) for number in re.findall(pattern, out)]


class Programs:
    """Programs that run at the same time."""

    def __init__(self, start, tmp_path):
        self.start, self.tmp_path, self.running = start, tmp_path, {}

    def add(self, name, code, times=1):
        file = self.tmp_path / (re.sub(r"\W+", "_", name) + ".py")
        file.write_text(code)
        k = 1 if REAL_TIME else times
        process = self.start(HERE / "faster.py", k, file, PYTHONPATH=str(self.tmp_path))
        self.running[name] = (process, time.monotonic(), k)

    def output(self, name, at_least=0.0):
        """What the program wrote. It must have ended well, and not before it could, in seconds of its own time."""
        process, began, k = self.running[name]
        out, err = process.communicate(timeout=600 if REAL_TIME else 90)
        assert process.returncode == 0, f"{name}: {err}"
        assert (time.monotonic() - began) * k >= at_least, name
        return out, err


def test_every_block_runs(start, tmp_path):
    programs = Programs(start, tmp_path)
    (tmp_path / "requests.py").write_text(REQUESTS)
    for name, code in readmes.ratemate().items():
        programs.add(name, code, times=20)
    flowguard = readmes.blocks("flowguard.md")
    assert len(flowguard) == 2
    # Its tasks sleep in the event loop, whose time is not faster.
    programs.add("flowguard, async", flowguard[0])
    programs.add("flowguard, sync", flowguard[1], times=60)
    algorithms = readmes.blocks("rate-limiting-algorithms.md")
    assert len(algorithms) == 5
    for i, code in enumerate(algorithms):
        programs.add(f"algorithms {i}", code)
    (nekkar,) = readmes.blocks("nekkar.md")
    programs.add("nekkar", nekkar, times=20)

    # ratemate: 20 calls, one each 2.5 s; with greedy all at once.
    for name, pattern in [
        ("ratemate, waiting in the loop", r"  task \d+ called"),
        ("ratemate, waiting in the task", r"  task \d+: waited for [\d.e-]+ secs"),
    ]:
        out, _ = programs.output(name, at_least=19 * 2.5)
        assert len(re.findall(pattern, out)) == out.count("completed") == 20
    out, _ = programs.output("ratemate, greedy")
    assert numbers(out, r"waited for ([\d.e-]+) secs") == [0.0] * 20

    # flowguard: 15 calls at 10 a second, then 15 at 5 in 2 seconds, and 15 of a decorated function.
    _, err = programs.output("flowguard, async", at_least=1 + 4 + 4)
    assert err.count("Permit acquired") == 45
    # 30 calls each at 15 a minute in blocks, and by acquire; some of 30 that do not wait; 30 of a function at 5 a minute.
    _, err = programs.output("flowguard, sync", at_least=60 + 60 + 5 * 60)
    acquired, denied = err.count("Permit acquired"), err.count("No permit is available")
    assert acquired + denied == 120 and acquired >= 92 and denied >= 15

    # Algorithms: 4 per 2 s, and 3 per 1.5 s; after the burst one each half second.
    out, _ = programs.output("algorithms 0", at_least=7 * 0.3 + 1)
    levels = numbers(out, r"level: (\d+)")
    assert len(levels) == 7 and max(levels) <= 4 and levels[0] == 1
    assert re.fullmatch(r"Current level after leaking: [012]", out.splitlines()[-1])
    out, _ = programs.output("algorithms 1", at_least=3 + 1)
    assert len(out.splitlines()) == 22 and re.fullmatch(r"Current level after waiting 1 second: [012]", out.splitlines()[-1])
    out, _ = programs.output("algorithms 2", at_least=3 + 2)
    assert len(out.splitlines()) == 23 and re.fullmatch(r"Current level after waiting 1 second: [34]", out.splitlines()[-1])
    out, _ = programs.output("algorithms 3", at_least=9 * 0.5)
    assert len(out.splitlines()) == 12
    out, _ = programs.output("algorithms 4", at_least=8 * 0.5)
    assert len(out.splitlines()) == 12

    # nekkar: 100 requests, one each 0.6 s.
    out, err = programs.output("nekkar", at_least=99 * 0.6)
    assert out.count("request http://localhost:8000/a ") == 100
    assert "not across hosts" in err
