#!/usr/bin/env python3
"""Writes photo.png, photo.jpg, cmyk.jpg and resized.json: a drawn picture, and what
TensorFlow for Python makes of it.

    pip install tensorflow-cpu==2.21.0 pillow
    python make.py
"""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent


def picture(height, width):
    y, x = np.mgrid[0:height, 0:width]
    waves = [127.5 + 127.5 * np.sin((x * (c + 1) + y * 2) / 5 + c) for c in range(3)]
    return np.stack(waves, axis=-1).astype(np.uint8)


def main():
    image = Image.fromarray(picture(30, 40))
    image.save(HERE / "photo.png")
    image.save(HERE / "photo.jpg", quality=85)
    image.convert("CMYK").save(HERE / "cmyk.jpg", quality=50)

    golden = []
    for name in ["photo.png", "photo.jpg", "cmyk.jpg"]:
        pixels = tf.io.decode_image((HERE / name).read_bytes(), channels=3)
        for height, width in [(30, 40), (5, 7), (33, 20), (45, 60)]:
            resized = tf.image.resize(pixels, [height, width], antialias=True).numpy()
            corner = np.round(resized[:3, :3].astype(float), 4).tolist()
            golden.append({"image": name, "height": height, "width": width, "mean": round(float(resized.mean()), 4), "corner": corner})
    text = ",\n".join("  " + json.dumps(g) for g in golden)
    (HERE / "resized.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
