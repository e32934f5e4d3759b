"""The programs on the page of the drop-ins run as they are."""

import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[4] / "docs" / "python" / "compat.md"


def test_each_block_runs(start, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.S | re.M)
    assert len(blocks) == 4
    running = []
    for i, block in enumerate(blocks):
        file = tmp_path / f"block{i}.py"
        file.write_text(block)
        running.append(start("-W", "error", file))
    for process in running:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
