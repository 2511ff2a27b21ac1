"""Makes the packages: ``make packages``. What they hold is laid out in a directory, and nfpm packs it.

    python packaging/build.py [DIRECTORY [VERSION]]

Two builds of the same commit are the same byte for byte: every time in them is the commit's.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
import textwrap
import time
import zipapp
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import shtab

from qga import __version__
from qga.agent.config.options import OPTIONS, default_of
from qga.tool.parser import parser

REPOSITORY = Path(__file__).resolve().parent.parent
HERE = REPOSITORY / "packaging"
OUT = REPOSITORY / "build" / "packages"
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/qga",
    "zsh": "usr/share/zsh/site-functions/_qga",
}
ROOMS = {"agent": ("protocol", "agent"), "host": ("protocol", "client", "tool")}


def main(out: Path, version: str = __version__) -> None:
    """Lay out the trees, and make the .deb, the .rpm and the zipapp of them."""
    os.environ["TZ"] = "UTC"  # a zip file has local times
    time.tzset()
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("*.deb"), *out.glob("*.rpm"), *out.glob("*.pyz")):
        old.unlink()
    stage = out / "stage"
    stage.mkdir()
    stage_agent(stage / "agent")
    stage_host(stage / "host")
    notice = "\n\ntomli, in /usr/lib/qga-agent/vendor:\n\n" + next(stage.rglob("tomli/NOTICE")).read_text()
    stage_documents(stage / "agent-documents", "qemu-ga.8", notice)
    stage_documents(stage / "host-documents", "qga.1", "")
    shutil.copytree(HERE / "scripts", stage / "scripts")
    write(stage / "changelog.yaml", changelog(version))
    make_zipapp(stage, out / "qemu-ga.pyz")
    normalise(stage)
    environment = {**os.environ, "VERSION": version, "SOURCE_DATE_EPOCH": str(epoch())}
    nfpm = Path(sys.executable).with_name("nfpm")
    for name in ("agent", "host"):
        for packager in ("deb", "rpm"):
            command = [str(nfpm), "package", "--config", str(HERE / f"{name}.yaml"), "--packager", packager]
            subprocess.run([*command, "--target", str(out)], cwd=stage, env=environment, check=True)
    shutil.rmtree(stage)


@cache
def epoch() -> int:
    """Return the time of the commit, in seconds since 1970, or SOURCE_DATE_EPOCH where that is set."""
    if "SOURCE_DATE_EPOCH" in os.environ:
        return int(os.environ["SOURCE_DATE_EPOCH"])
    words = ["git", "-C", str(REPOSITORY), "log", "-1", "--format=%ct"]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def stage_agent(root: Path) -> None:
    """Lay out what the agent's package installs."""
    lib = root / "usr/lib/qga-agent"
    copy_modules(lib, ROOMS["agent"])
    fetch_tomli(lib / "vendor")
    programs = root / "usr/libexec/qga-agent"  # a directory whose programs SELinux lets a service run
    for name in ("when-thawed", "import-settings"):
        write(programs / name, (HERE / name).read_text(), 0o755)
    launcher(programs / "qemu-ga", "qga-agent", "qga.agent.__main__")
    unit = (REPOSITORY / "qemu-ga.service").read_text().replace("/opt/qga/bin/", f"/{programs.relative_to(root)}/")
    write(root / "usr/lib/systemd/system/qemu-ga.service", unit)
    write(root / "usr/lib/udev/rules.d/61-qemu-ga.rules", (REPOSITORY / "qemu-ga.rules").read_text())
    write(root / "usr/lib/sysusers.d/qemu-ga.conf", (REPOSITORY / "qemu-ga.sysusers").read_text())
    write(root / "etc/qemu/qemu-ga.conf", configuration())
    write(root / "usr/share/lintian/overrides/qga-agent", (HERE / "qga-agent.lintian-overrides").read_text())


def stage_host(root: Path) -> None:
    """Lay out what the host's package installs."""
    copy_modules(root / "usr/lib/qga", ROOMS["host"])
    launcher(root / "usr/bin/qga", "qga", "qga.tool.__main__")
    for shell, path in COMPLETIONS.items():
        write(root / path, shtab.complete(parser(None), shell=shell))
    write(root / "usr/share/lintian/overrides/qga", (HERE / "qga.lintian-overrides").read_text())


def copy_modules(lib: Path, rooms: tuple[str, ...]) -> None:
    """Copy these rooms of qga and the schema; nothing that is compiled."""
    for room in rooms:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / "qga" / room, lib / "qga" / room, ignore=ignore)
    shutil.copy(REPOSITORY / "qga" / "__init__.py", lib / "qga")
    shutil.copytree(REPOSITORY / "schema", lib / "qga" / "_schema")


def fetch_tomli(directory: Path) -> None:
    """Unpack tomli, which Python 3.9 and 3.10 need to read a policy, with its licence."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    words += ["--target", str(directory), "--no-deps", "--only-binary", ":all:", "--platform", "any"]
    words += ["--python-version", "3.9", "--implementation", "py", "--abi", "none"]
    subprocess.run([*words, "--require-hashes", "--requirement", str(HERE / "tomli.txt")], check=True)
    for metadata in directory.glob("*.dist-info"):
        (licence,) = metadata.rglob("LICENSE*")
        shutil.copy(licence, directory / "tomli" / "NOTICE")
        shutil.rmtree(metadata)


def launcher(path: Path, package: str, module: str) -> None:
    """Write the program, which runs private modules with the system's Python."""
    write(path, (HERE / "launcher").read_text().replace("@PACKAGE@", package).replace("@MODULE@", module), 0o755)


def configuration() -> str:
    """Return qemu-ga.conf with every key in a comment, at its default."""
    lines = [
        "# The configuration of qemu-ga. What is in a comment is the default; qemu-ga --check-config reads it.",
        "",
    ]
    lines += ["[general]"]
    for option in OPTIONS:
        lines += ["", *textwrap.wrap(option.help, 100, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"#{option.key}={default_of(option)}")
    return "\n".join(lines) + "\n"


def stage_documents(directory: Path, page: str, notice: str) -> None:
    """Lay out what rpm marks as documents: the man page, the licence, with that of others, and the history."""
    compressed(directory / f"{page}.gz", (REPOSITORY / "docs" / page).read_bytes())
    compressed(directory / "CHANGELOG.md.gz", (REPOSITORY / "CHANGELOG.md").read_bytes())
    write(directory / "copyright", (REPOSITORY / "LICENSE").read_text() + notice)


def changelog(version: str) -> str:
    """Return the entry of this version as nfpm reads it; what has changed is in CHANGELOG.md."""
    day = datetime.fromtimestamp(epoch(), UTC).isoformat()
    return f"""\
- semver: {version}-1
  date: {day}
  packager: The qga authors <qga@example.org>
  deb: {{urgency: medium, distributions: [stable]}}
  changes:
    - note: A new version of the project.
"""


def make_zipapp(stage: Path, target: Path) -> None:
    """Make one file that serves: ``python3 qemu-ga.pyz``."""
    tree = stage / "zipapp"
    copy_modules(tree, ROOMS["agent"])
    shutil.copytree(stage / "agent/usr/lib/qga-agent/vendor", tree, dirs_exist_ok=True)
    write(tree / "__main__.py", "import sys\n\nfrom qga.agent.__main__ import main\n\nsys.exit(main())\n")
    normalise(tree)
    zipapp.create_archive(tree, target, "/usr/bin/env python3", compressed=True)
    target.chmod(0o755)


def compressed(path: Path, content: bytes) -> None:
    """Write a file compressed as Debian's policy wants it, without a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 9, mtime=0))


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def normalise(root: Path) -> None:
    """Give all that was laid out the time of the commit, and modes that depend on no umask."""
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (epoch(), epoch()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else OUT, *sys.argv[2:3])
