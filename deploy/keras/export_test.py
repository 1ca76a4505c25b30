#!/usr/bin/env python3
"""Tests of export.py, on models that are made here: python export_test.py"""

import io
import json
import pathlib
import tempfile
import unittest
from contextlib import redirect_stdout

import export  # first, for it sets what TensorFlow reads from the environment
import h5py
import keras
import tensorflow as tf

CUSTOM = '''
import keras

class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(2)

    def call(self, x):
        return self.dense(x)
'''


class Export(unittest.TestCase):
    """Each test exports a file, or is told why that can't be."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"
        keras.utils.clear_session()

    def save(self, model, name="model.keras"):
        path = self.folder / name
        model.save(path)
        return path

    def export(self, path, *flags):
        """The signature of what a file became."""
        with redirect_stdout(io.StringIO()) as said:
            export.main([str(path), str(self.out), *map(str, flags)])
        self.said = said.getvalue()
        signature = tf.saved_model.load(str(self.out / "1")).signatures
        self.signatures = {n for n in signature if not n.startswith("__")}
        name = "serving_default"
        inputs = signature[name].structured_input_signature[1]
        return ({n: (s.dtype.name, s.shape.as_list()) for n, s in inputs.items()},
                {n: (t.dtype.name, t.shape.as_list()) for n, t in signature[name].structured_outputs.items()})

    def refused(self, path, *flags):
        with self.assertRaises(SystemExit) as caught, redirect_stdout(io.StringIO()):
            export.main([str(path), str(self.out), *map(str, flags)])
        if self.out.exists():
            self.assertEqual([p.name for p in self.out.iterdir() if p.name != "1"], [], "something was left behind")
        return str(caught.exception)

    def config(self):
        return json.loads((self.out / "penstock.json").read_text())

    def test_tensors_that_nobody_named_have_stable_names(self):
        dense = keras.layers.Dense(2, name="scores")
        path = self.save(keras.Sequential([keras.Input((3,)), dense]))
        for _ in range(2):
            keras.Input((5,))  # counts Keras's own numbers up
        self.assertEqual(self.export(path), ({"x": ("float32", [None, 3])}, {"scores": ("float32", [None, 2])}))
        self.assertEqual(self.signatures, {"serving_default"})

    def test_several_inputs_and_outputs_keep_their_names(self):
        a, b = keras.Input((2,), name="a"), keras.Input((3,), name="b", dtype="int32")
        both = keras.layers.Concatenate()([a, keras.ops.cast(b, "float32")])
        model = keras.Model({"a": a, "b": b}, {"sum": keras.ops.sum(both, -1), "most": keras.ops.max(both, -1)})
        inputs, outputs = self.export(self.save(model), "--signature", "predict")
        self.assertEqual(inputs, {"a": ("float32", [None, 2]), "b": ("int32", [None, 3])})
        self.assertEqual(sorted(outputs), ["most", "sum"])
        self.assertEqual(self.signatures, {"predict", "serving_default"})
        self.assertFalse((self.out / "penstock.json").exists())

    def test_a_list_of_outputs_is_named_after_its_layers(self):
        x = keras.Input((2,), name="x")
        model = keras.Model(x, [keras.layers.Dense(1, name="left")(x), keras.layers.Dense(3, name="right")(x)])
        self.assertEqual(sorted(self.export(self.save(model, "model.h5"))[1]), ["left", "right"])

    def test_half_floats_become_floats(self):
        x = keras.Input((4,), name="x", dtype="float16")
        model = keras.Model(x, keras.layers.Dense(2, dtype="float16", name="y")(x))
        self.assertEqual(self.export(self.save(model)), ({"x": ("float32", [None, 4])}, {"y": ("float32", [None, 2])}))

    def test_a_fixed_batch_and_open_lengths_are_kept(self):
        x = keras.Input(batch_shape=(4, None, 5), name="x")
        inputs, outputs = self.export(self.save(keras.Model(x, keras.layers.LSTM(2, name="y")(x))))
        self.assertEqual((inputs, outputs), ({"x": ("float32", [4, None, 5])}, {"y": ("float32", [4, 2])}))

    def test_a_model_of_strings_is_exported_with_its_words(self):
        words = keras.layers.TextVectorization(output_sequence_length=4, vocabulary=["some", "more", "words"])
        path = self.save(keras.Sequential([keras.Input((), dtype="string", name="text"), words]))
        self.assertEqual(self.export(path)[0], {"text": ("string", [None])})
        loaded = tf.saved_model.load(str(self.out / "1")).signatures["serving_default"]
        (ids,) = loaded(text=tf.constant(["more words"])).values()
        self.assertEqual(ids.numpy().tolist(), [[3, 4, 0, 0]])

    def test_an_image_classifier_gets_a_model_file(self):
        model = keras.Sequential([keras.Input((8, 9, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        labels = self.folder / "names.txt"
        labels.write_text("cat\ndog\n")
        self.export(self.save(model), "--labels", labels, "--preset", "torch")
        image = {"height": 8, "width": 9, "channels": 3, "preset": "torch"}
        self.assertEqual(self.config(), {"labels_file": "labels.txt", "image": image})
        self.assertEqual((self.out / "labels.txt").read_text(), "cat\ndog\n")

    def test_a_model_that_scales_its_images_gets_them_unscaled(self):
        model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Rescaling(1 / 255), keras.layers.GlobalMaxPooling2D()])
        self.export(self.save(model))
        self.assertEqual(self.config(), {"image": {"channels": 1, "scale": 1}})

    def test_a_model_file_that_is_there_is_left_alone(self):
        self.out.mkdir()
        (self.out / "penstock.json").write_text('{"top_k": 1}')
        self.export(self.save(keras.Sequential([keras.Input((8, 9, 3)), keras.layers.Flatten()])))
        self.assertEqual(self.config(), {"top_k": 1})
        self.assertIn("left as it is", self.said)

    def test_a_depthwise_convolution_of_keras_2_is_read(self):
        path = self.save(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.DepthwiseConv2D(3, name="y")]), "model.h5")
        with h5py.File(path, "r+") as f:
            config = json.loads(f.attrs["model_config"])
            for layer in config["config"]["layers"]:
                if layer["class_name"] == "DepthwiseConv2D":
                    layer["config"]["groups"] = 1
            f.attrs["model_config"] = json.dumps(config)
        self.assertEqual(self.export(path)[1], {"y": ("float32", [None, 6, 6, 3])})

    def test_code_in_the_file_runs_only_when_it_is_trusted(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: 2 * x, output_shape=(2,))])
        for name in ("lambda.keras", "lambda.h5"):
            path = self.save(model, name)
            self.assertIn("--unsafe", self.refused(path))
        self.export(path, "--unsafe")

    def test_layers_of_ones_own_need_their_code(self):
        scope = {"__name__": "custom"}
        exec(CUSTOM, scope)
        (self.folder / "custom.py").write_text(CUSTOM)
        path = self.save(keras.Sequential([keras.Input((2,)), scope["Twice"]()]))
        self.assertIn("--custom", self.refused(path))
        self.export(path, "--custom", self.folder / "custom.py")

    def test_a_model_of_ones_own_class_is_told_its_inputs(self):
        scope = {"__name__": "custom"}
        exec(CUSTOM, scope)
        (self.folder / "custom.py").write_text(CUSTOM)
        model = scope["Own"]()
        model(tf.zeros([1, 3]))
        path, custom = self.save(model), self.folder / "custom.py"
        self.assertIn("--input", self.refused(path, "--custom", custom))
        self.assertIn("x:float32:-1,28,28,1", self.refused(path, "--custom", custom, "--input", "x"))
        got = self.export(path, "--custom", custom, "--input", "x:float32:-1,3")
        self.assertEqual(got, ({"x": ("float32", [None, 3])}, {"y": ("float32", [None, 2])}))

    def test_what_is_no_whole_model_says_so(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.save_weights(self.folder / "some.weights.h5")
        self.assertIn("weights without their model", self.refused(self.folder / "some.weights.h5"))
        (self.folder / "cut.h5").write_bytes(self.save(model, "whole.h5").read_bytes()[:300])
        self.assertIn("damaged", self.refused(self.folder / "cut.h5"))
        (self.folder / "cut.keras").write_bytes(b"PK")
        self.assertIn("damaged", self.refused(self.folder / "cut.keras"))
        self.assertIn("no such file", self.refused(self.folder / "none.keras"))
        self.assertIn("is a directory", self.refused(self.folder))
        (self.folder / "model.pkl").write_bytes(b"")
        self.assertIn("must end in", self.refused(self.folder / "model.pkl"))

    def test_a_version_never_changes(self):
        path = self.save(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
        self.export(path)
        self.assertIn("there already", self.refused(path))

    def test_labels_that_misfit_leave_nothing_behind(self):
        path = self.save(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]))
        (self.folder / "names.txt").write_text("cat\ndog\n")
        self.assertIn("2 lines", self.refused(path, "--labels", self.folder / "names.txt"))
        self.assertFalse((self.out / "1").exists())
        self.assertIn("--preset", self.refused(path, "--preset", "tf"))

    def test_a_difference_in_predictions_is_found(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        specs = export.input_specs(model, [])
        serve = export.write(model, specs, "serving_default", self.folder / "written")
        model.layers[0].bias.assign([1.0])
        with self.assertRaisesRegex(export.Refused, "differ from the Keras model's by"):
            export.compare(serve, specs, "serving_default", self.folder / "written")


if __name__ == "__main__":
    unittest.main()
