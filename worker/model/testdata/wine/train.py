#!/usr/bin/env python3
"""Trains the wine model and writes it as a SavedModel into 1/.

    pip install -r requirements.txt
    python train.py

The wines come with the package scikit-learn. Takes half a minute.
"""

import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_wine

HERE = pathlib.Path(__file__).resolve().parent
SEED = 1
BATCH = 8


def split(n):
    """Returns which wines to train on and which are held out."""
    order = np.random.default_rng(SEED).permutation(n)
    return np.sort(order[: n * 3 // 4]), np.sort(order[n * 3 // 4 :])


def network(measured):
    """The 13 measurements as they are, in float64; the scales are in the model."""
    wine = keras.Input((measured.shape[1],), name="wine", dtype="float64")
    scale = keras.layers.Normalization(dtype="float64")
    scale.adapt(measured)
    x = keras.layers.Dense(16, activation="relu", dtype="float64")(scale(wine))
    return keras.Model(wine, keras.layers.Dense(3, activation="softmax", dtype="float64")(x))


def export(model, to):
    """Writes the SavedModel, whole or not at all. It takes eight wines, no more and
    no fewer, as a model does that was compiled for an accelerator."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    spec = tf.TensorSpec([BATCH, model.input_shape[1]], tf.float64, "wine")
    archive.add_endpoint("serving_default", lambda wine: {"cultivar": model(wine)}, [spec])
    with tempfile.TemporaryDirectory() as tmp:
        made = pathlib.Path(tmp, "1")
        archive.write_out(made, verbose=False)
        (made / "assets").rmdir()  # empty: the model has none
        shutil.rmtree(to, ignore_errors=True)
        shutil.move(made, to)


def main():
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    wines, cultivars = load_wine(return_X_y=True)
    seen, held_out = split(len(wines))
    model = network(wines[seen])
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(wines[seen], cultivars[seen], batch_size=16, epochs=60, verbose=0)
    export(model, HERE / "1")

    served = tf.saved_model.load(HERE / "1").signatures["serving_default"]
    right = 0
    for i in range(0, len(held_out), BATCH):
        few = held_out[i : i + BATCH]
        batch = np.zeros((BATCH, wines.shape[1]))
        batch[: len(few)] = wines[few]
        best = served(wine=tf.constant(batch))["cultivar"].numpy()[: len(few)].argmax(1)
        right += int((best == cultivars[few]).sum())
    print(f"held-out wines: {right} of {len(held_out)} right, accuracy {right / len(held_out):.4f}")


if __name__ == "__main__":
    main()
