#!/usr/bin/env python3
"""Writes this folder's SavedModel, 1/, with a warm-up file of TensorFlow Serving's.

    pip install -r ../digits/requirements.txt
    python make.py

The file's messages are those of tensorflow_serving/apis/prediction_log.proto.
They are written by hand, since the package that has them pins an older
TensorFlow.
"""

import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf

FOLDER = pathlib.Path(__file__).resolve().parent / "1"


class HalfPlusThree(tf.Module):
    def __init__(self):
        self.a = tf.Variable(0.5, name="a")
        self.b = tf.Variable(3.0, name="b")
        self.seen = tf.Variable(0, dtype=tf.int64, name="seen", trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def serve(self, x):
        check = tf.debugging.assert_non_negative(x, message="x must not be negative")
        with tf.control_dependencies([check]):
            self.seen.assign_add(tf.size(x, out_type=tf.int64))
        return {"y": self.a * x + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def rows(self, since):
        return {"rows": self.seen - since}


def field(number, value):
    """A field of a protobuf message that is bytes, a string or a message."""
    size, length = len(value), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def predict(x, signature="", name="x", dtype=tf.float32):
    """A PredictionLog of a PredictRequest."""
    spec = field(1, b"warmed") + (field(3, signature.encode()) if signature else b"")
    tensor = tf.make_tensor_proto(x, dtype=dtype).SerializeToString()
    request = field(1, spec) + field(2, field(1, name.encode()) + field(2, tensor))
    return field(6, field(1, request))


def main():
    model = HalfPlusThree()
    shutil.rmtree(FOLDER, ignore_errors=True)
    tf.saved_model.save(model, FOLDER, signatures={"serving_default": model.serve, "rows": model.rows})
    (FOLDER / "assets").rmdir()
    (FOLDER / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(FOLDER / "assets.extra" / "tf_serving_warmup_requests")) as file:
        file.write(predict([1, 2, 3], "serving_default"))
        file.write(predict([4]))
        file.write(predict([0] * 8, "rows", "since", tf.int64))
        file.write(predict([-1]))  # the model refuses it
        file.write(predict([5], name="z"))  # no input of the model
        file.write(predict([6], dtype=tf.float64))  # of another type
        file.write(field(2, b""))  # a ClassifyLog


if __name__ == "__main__":
    main()
