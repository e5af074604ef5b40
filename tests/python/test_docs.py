"""Every ```python block of README.md and docs/ runs, in a folder with small checkpoints."""

import re
from pathlib import Path

import mxferry
import mxferry.nemo
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [
    pytest.param(block[1], id=f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}")
    for page in PAGES
    for block in BLOCK.finditer(page.read_text())
]


def test_there_are_snippets():
    assert len(SNIPPETS) >= 5


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippets_run(snippet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mxferry.sample("gpt-oss-20b", layers=1)
    exec(compile(snippet, "snippet", "exec"), {})
    mxferry.nemo.uninstall()
