#!/usr/bin/env python3
"""Writes golden.json: the rows that TensorFlow and Keras for Python make of the
pictures here. With --images it makes those anew, too; Pillow's JPEG files may
differ from version to version, so the committed ones are what counts.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1 pillow
    python make.py

    pip install scikit-image==0.26.0    # for --images
"""

import base64
import importlib.util
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).resolve().parent
ORIENTATION = 0x0112


def make_images():
    package = pathlib.Path(importlib.util.find_spec("skimage").origin).parent
    whole = Image.open(package / "data" / "chelsea.png")
    cat = whole.crop((90, 40, 381, 232)).resize((97, 64), Image.Resampling.LANCZOS)
    cat.info.pop("icc_profile", None)
    cat.save(HERE / "cat.png")
    cat.convert("L").save(HERE / "grey.png")
    cat.convert("L").save(HERE / "grey.jpg", quality=90)
    alpha = Image.linear_gradient("L").resize(cat.size)
    with_alpha = cat.copy()
    with_alpha.putalpha(alpha)
    with_alpha.save(HERE / "alpha.png")
    samples = np.asarray(cat.convert("L"), np.uint16) * 257 - 100 * (np.asarray(alpha, np.uint16) % 2)
    Image.fromarray(samples).save(HERE / "16-bit.png")
    cat.save(HERE / "cat.jpg", quality=85)
    cat.save(HERE / "progressive.jpg", quality=85, progressive=True)
    cat.convert("CMYK").save(HERE / "cmyk.jpg", quality=85)
    cat.resize((9, 7)).save(HERE / "small.png")
    small = cat.resize((48, 32))
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        exif[0x010F] = "Penstock"  # another entry before it
        small.save(HERE / f"exif-{orientation}.jpg", quality=80, exif=exif)


def decode(name, channels, upright):
    """The pixels as TensorFlow reads them, turned as Pillow turns them."""
    content = (HERE / name).read_bytes()
    pixels = tf.io.decode_image(content, channels=min(channels, 3) if name.endswith("jpg") else channels).numpy()
    if upright and name.endswith("jpg"):
        with Image.open(HERE / name) as file:
            orientation = file.getexif().get(ORIENTATION, 1)
        planes = []
        for plane in np.moveaxis(pixels, -1, 0):
            image = Image.fromarray(plane)
            image.getexif()[ORIENTATION] = orientation
            planes.append(np.asarray(ImageOps.exif_transpose(image)))
        pixels = np.dstack(planes)
    if channels == 4 and name.endswith("jpg"):
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    return tf.constant(pixels, tf.float32)


def fit(pixels, spec):
    """The row's pixels, by the function of Python's that docs/model-file.md names."""
    height, width = spec["height"], spec["width"]
    method = spec.get("resize", "bilinear")
    antialias = spec.get("antialias", method not in ("nearest", "area"))
    crop = spec.get("crop", "none")
    if crop == "crop_to_aspect":
        layer = keras.layers.Resizing(height, width, method, crop_to_aspect_ratio=True, antialias=antialias)
        return layer(pixels)
    if crop == "pad":
        pad = lambda x: tf.image.resize_with_pad(x, height, width, method, antialias)
        inside = pad(tf.ones_like(pixels)) > 0.5
        return tf.where(inside, pad(pixels), tf.cast(spec.get("fill", 0), tf.float32))
    if crop == "center_crop":
        n = spec.get("resize_shorter", max(height, width))
        h, w = int(pixels.shape[0]), int(pixels.shape[1])
        size = (int(n * h / w), n) if h > w else (n, int(n * w / h))
        return keras.layers.CenterCrop(height, width)(tf.image.resize(pixels, size, method, antialias=antialias))
    return tf.image.resize(pixels, [height, width], method, antialias=antialias)


def numbers(row, spec):
    row = tf.cast(row, tf.float32).numpy()
    if spec.get("invert"):
        row = 255 - row
    first = spec.get("layout") == "channels_first"
    if "preset" in spec:
        data_format = "channels_first" if first else "channels_last"
        row = row.transpose(2, 0, 1) if first else row
        return keras.applications.imagenet_utils.preprocess_input(row.copy(), data_format=data_format, mode=spec["preset"])
    if spec.get("color_order") == "BGR":
        row = row[..., [2, 1, 0, 3][: row.shape[-1]]]
    row = row * np.float32(spec.get("scale", 1 / 255)) - np.float32(spec.get("mean", 0))
    row = row / np.float32(spec.get("std", 1))
    return row.transpose(2, 0, 1) if first else row


def cases():
    size = {"height": 9, "width": 12, "channels": 3}
    for method in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"):
        yield "cat.png", {**size, "resize": method}
        yield "small.png", {**size, "resize": method}
        if method in ("bilinear", "bicubic"):
            yield "cat.png", {**size, "resize": method, "antialias": False}
            yield "small.png", {**size, "resize": method, "antialias": False}
    for crop in ("center_crop", "crop_to_aspect", "pad"):
        for height, width in ((9, 12), (13, 8), (7, 7), (3, 30)):
            yield "cat.png", {"height": height, "width": width, "channels": 3, "crop": crop}
        yield "small.png", {"height": 10, "width": 21, "channels": 3, "crop": crop, "resize": "bicubic"}
        yield "exif-6.jpg", {**size, "crop": crop, "resize": "nearest"}
    yield "cat.png", {**size, "crop": "center_crop", "resize_shorter": 19}
    yield "cat.png", {"height": 12, "width": 12, "channels": 3, "crop": "pad", "fill": 114, "preset": "torch"}
    for preset in ("caffe", "tf", "torch"):
        yield "cat.jpg", {**size, "preset": preset}
        yield "cat.jpg", {**size, "preset": preset, "layout": "channels_first"}
    yield "cat.jpg", {**size, "color_order": "BGR", "scale": 0.5, "mean": [1, 2, 3], "std": [4, 5, 6]}
    yield "cat.jpg", {**size, "layout": "channels_first", "invert": True, "mean": [0.5], "std": [0.25]}
    for name in ("grey.png", "grey.jpg", "alpha.png", "16-bit.png", "cat.jpg", "progressive.jpg", "cmyk.jpg"):
        for channels in (1, 3, 4):
            if name in ("16-bit.png", "cmyk.jpg") and channels != 3:
                continue
            yield name, {"height": 5, "width": 8, "channels": channels}
    for orientation in range(1, 9):
        yield f"exif-{orientation}.jpg", {"height": 8, "width": 8, "channels": 3, "crop": "crop_to_aspect"}
    yield "exif-6.jpg", {**size, "channels": 1}
    yield "exif-6.jpg", {**size, "exif_orientation": False}


def main():
    if "--images" in sys.argv[1:]:
        make_images()
    golden = []
    for name, spec in cases():
        pixels = decode(name, spec["channels"], spec.get("exif_orientation", True))
        row = np.ascontiguousarray(numbers(fit(pixels, spec), spec), "<f4")
        golden.append({"image": name, "spec": spec, "shape": row.shape, "row": base64.b64encode(row.tobytes()).decode()})
    text = ",\n".join("  " + json.dumps(g) for g in golden)
    (HERE / "golden.json").write_text(f"[\n{text}\n]\n")
    print(f"{len(golden)} rows")


if __name__ == "__main__":
    main()
