"""What installing the package gives. Runs in an environment that has nothing but numpy, too."""

import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import mxferry
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [[str(Path(sys.executable).with_name("mxferry"))], [sys.executable, "-m", "mxferry"]]


def test_the_version_is_that_of_the_header():
    header = (ROOT / "include/mxferry/version.h").read_text()
    assert mxferry.__version__ == re.search(r'VERSION "(.*)"', header)[1]


def test_importing_is_quick_and_imports_nothing_large():
    code = "import sys, mxferry; print([m for m in ('numpy', 'torch') if m in sys.modules])"
    times = []
    for program in ("pass", code):
        begin = time.perf_counter()
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        times.append(time.perf_counter() - begin)
    assert ended.stdout == "[]\n", ended.stderr
    assert times[1] - times[0] < 0.2


def test_everything_that_is_listed_is_there():
    needs_torch = {"FP4_VALUES", "GPTOSSStateDictAdapter", "StateDictAdapter"}
    for name in mxferry.__all__:
        assert getattr(mxferry, name) is not None
    assert needs_torch <= set(dir(mxferry))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mxferry.no_such_name


@pytest.mark.parametrize("command", COMMANDS, ids=["script", "module"])
def test_the_command_runs(command, tmp_path):
    ended = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert ended.returncode == 0 and mxferry.__version__ in ended.stdout
    ended = subprocess.run([*command, "inspect", tmp_path / "none"], capture_output=True, text=True)
    assert ended.returncode == 3 and "no such folder" in ended.stderr


def test_errors_pickle():
    with pytest.raises(mxferry.Error) as raised:
        mxferry.inspect("/no/such/folder")
    copy = pickle.loads(pickle.dumps(raised.value))
    assert str(copy) == str(raised.value)
    assert copy.__dict__ == raised.value.__dict__
    assert copy.code == "not_a_checkpoint"


def mypy(*arguments, cwd):
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--cache-dir", os.devnull]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=cwd).stdout


def test_mypy_finds_nothing_in_the_package(tmp_path):
    pytest.importorskip("mypy")
    assert "no issues" in mypy("-p", "mxferry", cwd=tmp_path)


def test_the_package_is_typed(tmp_path):
    pytest.importorskip("mypy")
    package = Path(mxferry.__file__).parent
    assert (package / "py.typed").exists() and (package / "_core.pyi").exists()
    user = tmp_path / "user.py"
    user.write_text(
        "import mxferry\n"
        "report = mxferry.convert('a', 'b', to='nemo', progress=print)\n"
        "reveal_type(report.plan.shards[0].bytes)\n"
        "mxferry.verify('a', 'b').no_such_field\n"
    )
    found = mypy(user, cwd=tmp_path)
    assert 'Revealed type is "int"' in found.replace("builtins.", ""), found
    assert found.count("error:") == 1 and "no_such_field" in found
