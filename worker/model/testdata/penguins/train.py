#!/usr/bin/env python3
"""Trains the penguins model and writes it as a SavedModel into 1/.

    pip install -r requirements.txt
    python train.py

The penguins come with the package palmerpenguins. Takes half a minute.
"""

import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from palmerpenguins import load_penguins

HERE = pathlib.Path(__file__).resolve().parent
SEED = 1
SPECIES = ["Adelie", "Chinstrap", "Gentoo"]
ISLANDS = ["Biscoe", "Dream", "Torgersen"]
SEXES = ["female", "male"]
STRINGS = {"island": ISLANDS, "sex": SEXES}
NUMBERS = {"bill_length_mm": "float32", "bill_depth_mm": "float32", "flipper_length_mm": "int32", "body_mass_g": "int32"}


def load():
    """Returns the columns and the species of the 342 penguins that were measured.
    The sex of nine of them is not known: it is empty."""
    table = load_penguins().dropna(subset=list(NUMBERS))
    columns = {name: table[name].fillna("").to_numpy(dtype=object) for name in STRINGS}
    columns |= {name: table[name].to_numpy(dtype=dtype) for name, dtype in NUMBERS.items()}
    return columns, table["species"].map(SPECIES.index).to_numpy(dtype="int64")


def split(n):
    """Returns which penguins to train on and which are held out."""
    order = np.random.default_rng(SEED).permutation(n)
    return np.sort(order[: n * 3 // 4]), np.sort(order[n * 3 // 4 :])


def rows(columns, which):
    return {name: tf.constant(values[which]) for name, values in columns.items()}


def network(columns):
    """All that a caller would have to know about the columns is in the model: the
    vocabularies, the mean and the variance. A word that is not known counts as its
    own, so that an empty sex is one."""
    inputs = {name: keras.Input((), name=name, dtype="string") for name in STRINGS}
    inputs |= {name: keras.Input((), name=name, dtype=dtype) for name, dtype in NUMBERS.items()}
    parts = [
        keras.layers.StringLookup(vocabulary=words, output_mode="one_hot")(inputs[name][:, None])
        for name, words in STRINGS.items()
    ]
    for name in NUMBERS:
        scale = keras.layers.Normalization(axis=None)
        scale.adapt(columns[name].numpy().astype("float32"))
        parts.append(scale(keras.ops.cast(inputs[name], "float32"))[:, None])
    x = keras.layers.Concatenate()(parts)
    x = keras.layers.Dense(16, activation="relu")(x)
    return keras.Model(inputs, keras.layers.Dense(len(SPECIES), activation="softmax")(x))


def export(model, to):
    """Writes the SavedModel, whole or not at all: serving_default takes a tensor a
    column, examples takes serialized tf.Examples and parses them itself."""
    species = tf.constant(SPECIES)
    columns = {name: tf.TensorSpec([None], tf.string, name) for name in STRINGS}
    columns |= {name: tf.TensorSpec([None], dtype, name) for name, dtype in NUMBERS.items()}
    features = {name: tf.io.FixedLenFeature([], tf.string, "") for name in STRINGS}
    features |= {
        name: tf.io.FixedLenFeature([], tf.int64 if dtype == "int32" else tf.float32) for name, dtype in NUMBERS.items()
    }

    def judge(columns):
        probabilities = model(columns)
        best = tf.argmax(probabilities, axis=1)
        return {"probabilities": probabilities, "class": best, "species": tf.gather(species, best)}

    def parse(examples):
        parsed = tf.io.parse_example(examples, features)
        return judge({name: tf.cast(parsed[name], spec.dtype) for name, spec in columns.items()})

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", judge, [columns])
    archive.add_endpoint("examples", parse, [tf.TensorSpec([None], tf.string, "examples")])
    with tempfile.TemporaryDirectory() as tmp:
        made = pathlib.Path(tmp, "1")
        archive.write_out(made, verbose=False)
        (made / "assets").rmdir()  # empty: the vocabularies are in the graph
        shutil.rmtree(to, ignore_errors=True)
        shutil.move(made, to)


def main():
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    columns, species = load()
    seen, held_out = split(len(species))
    model = network(rows(columns, seen))
    model.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    model.fit(tf.data.Dataset.from_tensor_slices((rows(columns, seen), species[seen])).shuffle(1000, SEED).batch(32), epochs=60, verbose=0)
    export(model, HERE / "1")

    served = tf.saved_model.load(HERE / "1").signatures["serving_default"]
    right = int((served(**rows(columns, held_out))["class"].numpy() == species[held_out]).sum())
    print(f"held-out penguins: {right} of {len(held_out)} right, accuracy {right / len(held_out):.4f}")


if __name__ == "__main__":
    main()
