#!/usr/bin/env python3
"""Fetches libtensorflow, the C library that worker/model/tf links.

The TensorFlow project ships it inside its wheel for Python. This script has pip
download that wheel (so the user's mirror, proxy and cache hold), checks it, and
unpacks the two libraries and the few headers that the Go binding needs. No
TensorFlow for Python is installed, and any Python from 3.9 on will do.

    fetch.py --lib lib --include .build/include
    fetch.py --check

The second only says whether the first can work here: in a second, at the start of
a build, instead of in the middle of it.

Running it again costs nothing. An interrupted run leaves nothing half done:
everything is unpacked aside and renamed into place, the libraries last.
"""

import sys

# Before anything that an older Python might stumble over.
if sys.version_info < (3, 9):
    sys.exit("libtensorflow: Python 3.9 or newer is needed, this is %d.%d: install one, or name it: make PYTHON=python3.12" % sys.version_info[:2])

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
import zipfile

REQUIREMENTS = pathlib.Path(__file__).resolve().with_name("requirements.txt")
PIN = re.search(r"^tensorflow-cpu==(?P<version>\S+).*?sha256:(?P<sha256>[0-9a-f]{64})", REQUIREMENTS.read_text(), re.M | re.S)
VERSION, SHA256 = PIN["version"], PIN["sha256"]
WHEEL_SIZE = 273_829_956  # bytes; for the progress bar alone
NEEDED = 1_800_000_000  # bytes on disk: the wheel twice while pip copies it, then what is in it

# Any pip finds the same wheel with these, whatever Python runs it.
TARGET = "--implementation cp --python-version 3.11 --abi cp311 --platform manylinux_2_27_x86_64".split()

LIBRARIES = {
    "tensorflow/libtensorflow_cc.so.2": "libtensorflow_cc.so.2",
    "tensorflow/libtensorflow_framework.so.2": "libtensorflow_framework.so.2",
    # Whoever passes the libraries on passes these on with them.
    "tensorflow/include/LICENSE": "LICENSE",
    "tensorflow/THIRD_PARTY_NOTICES.txt": "THIRD_PARTY_NOTICES.txt",
}
HEADERS = ("tensorflow/c/", "tensorflow/core/platform/", "tsl/platform/ctstring", "xla/tsl/c/")

# The binding links -ltensorflow; the wheel names its libraries otherwise.
LINKER_SCRIPT = "/* GNU ld script */\nINPUT(libtensorflow_cc.so.2 libtensorflow_framework.so.2)\n"

TERMINAL = sys.stderr.isatty()
CLEAR = "\r\033[K" if TERMINAL else ""  # a status line goes before the next line

STAMP = ".stamp"  # in the library folder: what was unpacked, name and size


class Problem(Exception):
    """What went wrong and what to do about it, in one line."""


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--lib", type=pathlib.Path, default="lib", help="folder for the libraries (%(default)s)")
    args.add_argument("--include", type=pathlib.Path, default=".build/include", help="folder for the headers (%(default)s)")
    args.add_argument("--check", action="store_true", help="only check that this machine has what it takes")
    args = args.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary folders go
    try:
        if args.check:
            check_platform()
            find_pip()
        else:
            fetch(args.lib.absolute(), args.include.absolute())
    except Problem as err:
        sys.exit(f"{CLEAR}libtensorflow: {err}")
    except OSError as err:
        full = err.errno in (errno.ENOSPC, errno.EDQUOT)
        sys.exit(f"{CLEAR}libtensorflow: {disk_full(args.lib.absolute()) if full else err}")
    except KeyboardInterrupt:
        sys.exit(f"{CLEAR}libtensorflow: interrupted; nothing is left half done, run it again to go on")


def fetch(lib, include):
    if complete(lib, include):
        (lib / STAMP).touch()  # newer than this script: make need not ask again
        return
    check_platform()
    pip = find_pip()
    started = time.monotonic()
    work = include.parent
    work.mkdir(parents=True, exist_ok=True)
    with alone(work / "libtensorflow.lock"):
        if complete(lib, include):  # another run did it while this one waited
            return
        for left in work.glob("libtensorflow-*"):  # by a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        if shutil.disk_usage(work).free < NEEDED:
            raise Problem(disk_full(work))
        with tempfile.TemporaryDirectory(prefix="libtensorflow-", dir=work) as tmp:
            tmp = pathlib.Path(tmp)
            wheel = download(pip, tmp)
            status(f"libtensorflow {VERSION}: unpacking")
            verify(wheel)
            unpack(wheel, tmp / "lib", tmp / "include")
            replace(tmp / "include", include, tmp / "old-include")
            replace(tmp / "lib", lib, tmp / "old-lib")
    say(f"✓ libtensorflow {VERSION}  {time.monotonic() - started:.1f} s")


def complete(lib, include):
    """Whether the pinned version is there: every file, with its right size."""
    try:
        stamp = json.loads((lib / STAMP).read_text())
        return stamp["sha256"] == SHA256 and stamp["lib"] == sizes(lib) and stamp["include"] == sizes(include)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sizes(folder):
    return {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file() and f.name != STAMP}


def check_platform():
    system, machine = platform.system(), platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise Problem(f"TensorFlow's library comes for Linux on x86-64, this is {system} on {machine}: build the worker there or in a container (make bin/penstock bin/producer works here)")
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION")
    except (OSError, ValueError):
        libc = None
    found = re.match(r"glibc (\d+)\.(\d+)", libc or "")
    if not found or (int(found[1]), int(found[2])) < (2, 27):
        raise Problem(f"TensorFlow's library needs glibc 2.27 or newer, this system has {libc or 'another C library'}: use Debian 10, Ubuntu 18.04, RHEL 8 or newer")


def find_pip():
    """Returns the command that runs pip: this Python's own, else the first on PATH."""
    for pip in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        with contextlib.suppress(OSError):
            if subprocess.run([*pip, "--version"], capture_output=True).returncode == 0:
                return pip
    raise Problem(f"{sys.executable} has no pip: install it (Debian, Ubuntu: apt install python3-pip; else python3 -m ensurepip --user)")


@contextlib.contextmanager
def alone(path):
    """Holds a lock, so that two makes at a time don't download twice."""
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("libtensorflow: another run is fetching it, waiting for that")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def download(pip, tmp):
    """Has pip download the wheel into tmp and shows how far it is."""
    scratch, to, log = tmp / "pip", tmp / "wheel", tmp / "pip.log"
    scratch.mkdir()
    command = [*pip, "download", "--no-deps", "--only-binary=:all:", *TARGET, "--require-hashes", "-r", REQUIREMENTS,
               "--dest", to, "--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
    # pip writes to a temporary file first: in a folder of its own, its size says
    # how far the download is. A setting against installs outside a virtual
    # environment must not stop a download.
    env = {**os.environ, "TMPDIR": str(scratch), "PIP_REQUIRE_VIRTUALENV": "0"}
    with open(log, "wb") as out, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env) as process:
        try:
            progress = Progress(f"libtensorflow {VERSION}: downloading", WHEEL_SIZE)
            while process.poll() is None:
                progress.show(largest_file(tmp))
                time.sleep(0.2)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise Problem(why_pip_stopped(log.read_text(errors="replace"), tmp))
    return next(to.glob("*.whl"))


def largest_file(folder):
    largest = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                largest = max(largest, os.stat(os.path.join(path, name)).st_size)
    return largest


def why_pip_stopped(log, tmp):
    if "DO NOT MATCH THE HASHES" in log:
        return wrong_hash("the wheel that pip found")
    if "No space left on device" in log or "Disk quota exceeded" in log:
        return disk_full(tmp.parent)
    if re.search(r"NewConnectionError|NameResolutionError|name resolution|ConnectTimeout|ReadTimeout|timed out|unreachable|refused|ProxyError|SSLError|Connection (broken|reset)|IncompleteRead|Connection aborted|from versions: none", log):
        return (f"pip finds no package index with tensorflow-cpu {VERSION}: check the network, or set a mirror or proxy (pip config set global.index-url URL); "
                "without a network, put the wheel into a folder and set PIP_FIND_LINKS to it")
    errors = [line for line in log.splitlines() if line.startswith("ERROR: ")] or log.strip().splitlines() or ["it said nothing"]
    return f"pip cannot download tensorflow-cpu {VERSION}: {errors[-1].removeprefix('ERROR: ')}"


def verify(wheel):
    """Checks the hash once more, since a pip configuration can loosen pip's check."""
    digest = hashlib.sha256()
    with open(wheel, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != SHA256:
        raise Problem(wrong_hash(wheel.name))


def unpack(wheel, lib, include):
    """Unpacks what is needed; the zip's checksums are verified on the way."""
    lib.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member, name in LIBRARIES.items():
            copy_out(archive, member, lib / name)
        for member in archive.namelist():
            name = member.removeprefix("tensorflow/include/")
            if name.startswith(HEADERS) and name.endswith(".h"):
                copy_out(archive, member, include / name)
    (lib / "libtensorflow.so").write_text(LINKER_SCRIPT)
    (lib / STAMP).write_text(json.dumps({"version": VERSION, "sha256": SHA256, "lib": sizes(lib), "include": sizes(include)}, indent=1))


def copy_out(archive, member, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, open(to, "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def replace(new, place, old):
    """Puts a folder in another's place; old takes the other one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        place.rename(old)
    new.rename(place)


def wrong_hash(what):
    return (f"{what} is not tensorflow-cpu {VERSION} as published (sha256 {SHA256}): "
            "empty pip's cache (pip cache purge) and try again; if it stays so, don't trust the index or mirror that pip is set to")


def disk_full(folder):
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return f"fetching it takes {NEEDED / 1e9:.1f} GB on the disk of {folder} and in pip's cache, {free / 1e9:.1f} GB are free here: make room and run it again"


class Progress:
    """How far a download is: a bar on a terminal, a line each quarter elsewhere."""

    def __init__(self, what, total):
        self.what, self.total = what, total
        self.started, self.quarter = time.monotonic(), -1

    def show(self, done):
        part = min(done / self.total, 1)
        if TERMINAL:
            rate = done / max(time.monotonic() - self.started, 0.1) / 1e6
            bar = ("#" * int(part * 24)).ljust(24, ".")
            status(f"{self.what} [{bar}] {part:4.0%} of {self.total / 1e6:.0f} MB, {rate:.0f} MB/s")
        elif int(part * 4) > self.quarter:
            self.quarter = int(part * 4)
            say(f"{self.what}: {part:.0%} of {self.total / 1e6:.0f} MB")


def status(line):
    """Shows a line on a terminal until the next one; says nothing elsewhere."""
    if TERMINAL:
        print(f"{CLEAR}{line}", end="", file=sys.stderr, flush=True)


def say(line):
    print(f"{CLEAR}{line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
