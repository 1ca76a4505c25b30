#!/usr/bin/env python3
"""Writes the tiny SavedModels of this folder; README.md says what each is for.

    pip install -r digits/requirements.txt
    python make.py
"""

import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent

f32 = lambda *shape: tf.TensorSpec(shape, tf.float32)


class HalfPlusTwo(tf.Module):
    def __init__(self):
        self.a = tf.Variable(0.5, name="a")
        self.b = tf.Variable(2.0, name="b")

    @tf.function(input_signature=[f32(None)])
    def serve(self, x):
        return {"y": self.a * x + self.b}


class StringEcho(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, text):
        return {"upper": tf.strings.upper(text), "length": tf.cast(tf.strings.length(text), tf.int64)}


class TwoInputs(tf.Module):
    @tf.function(input_signature=[f32(None, 2), tf.TensorSpec([None, 2], tf.int32)])
    def serve(self, a, b):
        return {"sum": a + tf.cast(b, tf.float32)}


class FixedBatch(tf.Module):
    @tf.function(input_signature=[f32(4, 3)])
    def serve(self, x):
        return {"double": x * 2}


class NoBatch(tf.Module):
    @tf.function(input_signature=[f32(3)])
    def serve(self, x):
        return {"sum": tf.reduce_sum(x)}


class FailsOnNegative(tf.Module):
    @tf.function(input_signature=[f32(None, 2)])
    def serve(self, x):
        tf.debugging.assert_non_negative(x, message="x must not be negative")
        return {"double": x * 2}


class AbortsOn(tf.Module):
    @tf.function(input_signature=[f32(None, 2)])
    def serve(self, x):
        def abort():
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="x is 666")]):
                return tf.identity(x)

        return {"x": tf.cond(tf.reduce_any(x == 666), abort, lambda: tf.identity(x))}


class Faulty(tf.Module):
    """Fails in every way a model can, as its input asks for.

    SleepDataset is the one op of TensorFlow's that waits without using a
    processor; it does so before the element and before the end of the data.
    """

    @tf.function(input_signature=[f32(None, 2)])
    def serve(self, x):
        tf.debugging.assert_non_negative(x, message="x must not be negative")

        def abort():
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="x is 666")]):
                return tf.identity(x)

        any_is = lambda value: tf.reduce_any(tf.equal(x, value))
        x = tf.cond(any_is(666.0), abort, lambda: tf.identity(x))
        seconds = tf.where(any_is(777.0), 3600.0, tf.where(any_is(555.0), 2.0, 0.02))
        spec = {"output_types": [tf.float32], "output_shapes": [[None, 2]]}
        data = tf.raw_ops.TensorDataset(components=[x * 2], output_shapes=spec["output_shapes"])
        data = tf.raw_ops.SleepDataset(input_dataset=data, sleep_microseconds=tf.cast(seconds / 2 * 1e6, tf.int64), **spec)
        return {"double": tf.raw_ops.DatasetToSingleElement(dataset=data, **spec)[0]}


class Dynamic(tf.Module):
    @tf.function(input_signature=[f32(None, None)])
    def serve(self, x):
        return {"sum": tf.reduce_sum(x, axis=1)}


class Tokens(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def serve(self, ids):
        return {"next": ids + 1, "known": tf.reduce_sum(tf.cast(ids >= 0, tf.int32), axis=1)}


class Mean(tf.Module):
    @tf.function(input_signature=[f32(None, 2)])
    def serve(self, x):
        # Declared as [None, 2], as of any batch; the run gives one row.
        return {"mean": tf.raw_ops.PlaceholderWithDefault(input=tf.reduce_mean(x, axis=0, keepdims=True), shape=[None, 2])}


def write(name, model, **options):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    tf.saved_model.save(model, folder, **options)
    (folder / "assets").rmdir()  # empty: none has any
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{name}: {size} bytes")


def main():
    keras.utils.set_random_seed(1)
    for name, module in {
        "halfplustwo": HalfPlusTwo(),
        "string_echo": StringEcho(),
        "two_inputs": TwoInputs(),
        "fixed_batch": FixedBatch(),
        "no_batch": NoBatch(),
        "fails_on_negative": FailsOnNegative(),
        "aborts_on": AbortsOn(),
        "faulty": Faulty(),
        "dynamic": Dynamic(),
        "tokens": Tokens(),
        "mean": Mean(),
    }.items():
        write(name, module, signatures={"serving_default": module.serve})

    # Written the way one would think, and wrong for Keras 3: the right way is
    # model.export(folder).
    x = keras.Input((3,), name="x")
    write("keras3_trap", keras.Model(x, keras.layers.Dense(2)(x)))


if __name__ == "__main__":
    main()
