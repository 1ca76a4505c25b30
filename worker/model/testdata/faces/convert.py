#!/usr/bin/env python3
"""Writes the faces model as a SavedModel into 1/: MTCNN's first network, with the
weights of the package mtcnn.

    pip install -r requirements.txt
    python convert.py
"""

import os
import pathlib
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import joblib
import keras
import mtcnn
import tensorflow as tf
from mtcnn.network.pnet import PNet

HERE = pathlib.Path(__file__).resolve().parent


def main():
    network = PNet()
    network.build()
    network.set_weights(joblib.load(pathlib.Path(mtcnn.__file__).with_name("assets") / "weights" / "pnet.lz4"))

    def judge(image):
        boxes, faces = network((tf.cast(image, tf.float32) - 127.5) / 128)
        return {"boxes": boxes, "faces": faces}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serving_default", judge, [tf.TensorSpec([None, None, None, 3], tf.uint8, "image")])
    with tempfile.TemporaryDirectory() as tmp:
        made = pathlib.Path(tmp, "1")
        archive.write_out(made, verbose=False)
        (made / "assets").rmdir()  # empty: the model has none
        shutil.rmtree(HERE / "1", ignore_errors=True)
        shutil.move(made, HERE / "1")


if __name__ == "__main__":
    main()
