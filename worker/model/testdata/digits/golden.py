#!/usr/bin/env python3
"""Writes images/ and golden.json: held-out digits as PNG files, and what TensorFlow
for Python says of them.

    pip install -r requirements.txt
    python golden.py

Needs npm and the SavedModel in 1/, not a training.
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

import data

HERE = pathlib.Path(__file__).resolve().parent
A_CLASS = 2


def sample(labels, held_out):
    """Draws held-out digits at random, as many of each class: not picked by eye,
    nor by what the model says of them."""
    draw = np.random.default_rng(data.SEED)
    return sorted(int(n) for label in range(10) for n in draw.choice(held_out[labels[held_out] == label], A_CLASS, replace=False))


def main():
    pixels, labels = data.load()
    _, held_out = data.split(len(pixels))
    served = tf.saved_model.load(HERE / "1").signatures["serving_default"]

    folder = HERE / "images"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    golden = []
    for n in sample(labels, held_out):
        name = f"{n:04}-label-{labels[n]}.png"
        (folder / name).write_bytes(tf.io.encode_png(pixels[n]).numpy())
        scores = served(image=tf.constant(pixels[n : n + 1] / 255, tf.float32))["output_0"].numpy()[0]
        golden.append({"image": name, "label": int(labels[n]), "probabilities": [float(p) for p in scores]})
        if scores.argmax() != labels[n]:
            print(f"{name}: taken for a {scores.argmax()}")
    rows = ",\n".join("  " + json.dumps(row) for row in golden)
    (HERE / "golden.json").write_text(f"[\n{rows}\n]\n")
    print(f"{len(golden)} images")


if __name__ == "__main__":
    main()
