#!/usr/bin/env python3
"""Writes the moderation model as a SavedModel: MobileNetV2 with the trained weights of
the npm package nsfwjs, which are TensorFlow.js' files.

    convert.py --to .build/models

Needs npm and Node.js: the package holds the network as a script. make verify calls
it; the SavedModel has 19 MB, so no test that always runs needs it.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "nsfwjs@4.3.0"
SHA512 = "593283b5ed2fa755fdecdd61df83fbf46fe11beb154f7f939c3cfd762d56b1e2" \
         "0947ddefd75138be2357ed583d5ac3ba1d8a11efbd8dceada233c8e8dd7059fa"
FOLDER = "package/dist/models/mobilenet_v2/"
EXTRACT = """
const model = require('./model.min.js')
const weights = require('./group1-shard1of1.min.js')
process.stdout.write(JSON.stringify({model, weights}))
"""
CONFIG = {"image": {"input": "image", "height": 224, "width": 224, "channels": 3}}


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--to", type=pathlib.Path, default=".build/models", help="folder for the model (%(default)s)")
    place = args.parse_args().to / PACKAGE.replace("@", "-")
    if place.is_dir():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=place.parent) as tmp:
        tmp = pathlib.Path(tmp)
        model, weights = extract(fetch(tmp))
        network = build(model)
        restore(network, model["weightsManifest"][0], weights)
        archive = keras.export.ExportArchive()
        archive.track(network)
        archive.add_endpoint("serving_default", lambda image: {"classes": network(image)}, [tf.TensorSpec([None, 224, 224, 3], tf.float32, "image")])
        archive.write_out(tmp / "model", verbose=False)
        (tmp / "model" / "penstock.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
        (tmp / "model").rename(place)


def fetch(to):
    """Has npm fetch the package and returns the folder of its MobileNetV2."""
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=to, check=True, stdout=subprocess.DEVNULL)
    (packed,) = to.glob("*.tgz")
    if hashlib.sha512(packed.read_bytes()).hexdigest() != SHA512:
        sys.exit(f"models: {PACKAGE} is not as published: don't trust the registry or mirror that npm is set to")
    with tarfile.open(packed) as archive:
        for name in ("model.min.js", "group1-shard1of1.min.js"):
            (to / name).write_bytes(archive.extractfile(FOLDER + name).read())
    return to


def extract(folder):
    """Returns the network's description and the bytes of its weights."""
    run = subprocess.run(["node", "-e", EXTRACT], cwd=folder, check=True, stdout=subprocess.PIPE)
    files = json.loads(run.stdout)
    return files["model"], base64.b64decode(files["weights"])


# What Keras 3 still calls as Keras 2.2 did, by layer.
SETTINGS = {
    "ZeroPadding2D": ["padding"],
    "Conv2D": ["filters", "kernel_size", "strides", "padding", "activation", "use_bias"],
    "DepthwiseConv2D": ["kernel_size", "strides", "padding", "activation", "use_bias"],
    "BatchNormalization": ["axis", "epsilon", "center", "scale"],
    "ReLU": ["max_value", "negative_slope", "threshold"],
    "AveragePooling2D": ["pool_size", "strides", "padding"],
    "Dense": ["units", "activation", "use_bias"],
    "Add": [], "Flatten": [], "Dropout": ["rate"],
}


def build(model):
    """Puts the network together, layer by layer, without its weights."""
    layers, made = model["modelTopology"]["model_config"]["config"]["layers"], {}
    for layer in layers:
        name, kind, config = layer["name"], layer["class_name"], layer["config"]
        if kind == "InputLayer":
            first = made[name] = keras.Input(config["batch_input_shape"][1:], name="image")
            continue
        built = getattr(keras.layers, kind)(name=name, **{key: config[key] for key in SETTINGS[kind]})
        inputs = [made[source] for source, *_ in layer["inbound_nodes"][0]]
        made[name] = built(inputs if len(inputs) > 1 else inputs[0])
    return keras.Model(first, made[layers[-1]["name"]])


def restore(network, manifest, weights):
    """Sets the weights: each tensor is kept as bytes with a least value and a scale."""
    at, values = 0, {}
    for tensor in manifest["weights"]:
        n = int(np.prod(tensor["shape"]))
        coarse, by = np.frombuffer(weights, "uint8", n, at), tensor["quantization"]
        values[tensor["name"]] = (coarse.astype("float32") * by["scale"] + by["min"]).reshape(tensor["shape"])
        at += n
    if at != len(weights):
        sys.exit(f"models: {PACKAGE} has {len(weights)} bytes of weights, its manifest says {at}")
    for layer in network.layers:
        # Keras 3 calls a depthwise kernel a kernel.
        names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
        layer.set_weights([values[name if name in values else name.replace("/kernel", "/depthwise_kernel")] for name in names])


if __name__ == "__main__":
    main()
