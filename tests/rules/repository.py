"""The files of the repository, for rules that look at all of them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files(*suffixes: str) -> list[Path]:
    """Tracked files and new ones that git does not ignore, by path relative to ROOT.

    With suffixes, only files whose name ends in one of them. Outside a git checkout (an unpacked
    release), all files but those in build/ and in hidden folders and caches.
    """
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listing.returncode == 0:
        names = [Path(name) for name in listing.stdout.split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*")]
        names = [
            name
            for name in names
            if name.parts[0] != "build" and not any(x.startswith((".", "__")) for x in name.parts)
        ]
    wanted = tuple(suffixes) or ("",)
    return sorted(name for name in names if name.name.endswith(wanted) and (ROOT / name).is_file())
