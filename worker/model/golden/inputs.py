#!/usr/bin/env python3
"""Writes testdata/MODEL/inputs: object files of every format, made of real data.
docs/correctness.md says where the data is from.

    pip install -r requirements-inputs.txt
    apt-get download sonic-pi-samples && dpkg -x sonic-pi-samples_*.deb samples
    python inputs.py --samples samples/usr/share/sonic-pi/samples

The texts of testdata/guesslang/inputs are written by hand. Run answers.py after it.
"""

import argparse
import base64
import csv
import gzip
import importlib.util
import io
import json
import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import skimage
import soundfile
import tensorflow as tf
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parent / "testdata"


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--samples", type=pathlib.Path, required=True, help="folder of Sonic Pi's recordings")
    args = args.parse_args()
    guesslang(folder("guesslang"))
    basic_pitch(folder("basic-pitch"), args.samples)
    digits(folder("digits"))
    penguins(folder("penguins"))
    wine(folder("wine"))
    languages(folder("languages"))
    faces(folder("faces"))
    moderation(folder("moderation"))


def folder(model):
    path = HERE / "testdata" / model / "inputs"
    path.mkdir(parents=True, exist_ok=True)
    return path


def training(model):
    """The script that trained a model, as a module: it knows the data and what of it
    was held out."""
    spec = importlib.util.spec_from_file_location(f"{model}_train", MODELS / model / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def guesslang(to):
    """All formats of one string input, made of the texts beside them."""
    texts = {name: (to / name).read_text() for name in ("fizz.py", "stack.rs", "ring.c", "orders.sql", "Greeter.java")}
    write_json(to / "two.json", {"signature_name": "predict", "instances": [texts["ring.c"], {"b64": base64.b64encode(texts["stack.rs"].encode()).decode()}]})
    write_json(to / "columns.json", {"inputs": list(texts.values())[:3]})
    (to / "three.jsonl").write_text("".join(json.dumps({"content": text}) + "\n" for text in list(texts.values())[1:4]))
    with open(to / "quoted.csv", "w", newline="") as f:
        csv.writer(f).writerows([["content"], [texts["fizz.py"]], [texts["orders.sql"]]])
    write_gzip(to / "Greeter.java.gz", texts["Greeter.java"].encode())
    write_records(to / "five.tfrecord", [example({"content": text.encode()}) for text in texts.values()])


def basic_pitch(to, samples):
    """Two seconds of three pieces at half their rate, the model's. None is quiet for
    long: the model takes logarithms, which make much of the last bits of silence."""
    window = 43844
    heard = {}
    for name in ("loop_electric", "loop_compus", "loop_mika"):
        sound, rate = soundfile.read(samples / f"{name}.flac", always_2d=True)
        assert rate == 44100
        sound = sound[: 2 * window].mean(axis=1).reshape(window, 2).mean(axis=1)
        heard[name] = (np.round(sound * 2048) / 2048).astype("float32").reshape(1, window, 1)
    write_gzip(to / "loop_electric.npy.gz", npy(heard["loop_electric"]))
    np.savez_compressed(to / "loop_compus.npz", input_2=heard["loop_compus"])
    write_gzip(to / "loop_mika.raw.gz", heard["loop_mika"].astype("<f4").tobytes())


def digits(to):
    """Held-out digits as they are, larger, in colour, and as numbers."""
    images = sorted((MODELS / "digits" / "images").glob("*.png"))
    for path in images[:4]:
        shutil.copy(path, to)
    for path in images[4:6]:
        Image.open(path).resize((120, 200), Image.Resampling.BICUBIC).convert("RGB").save(to / f"{path.stem}-large.png", optimize=True)
        Image.open(path).resize((84, 84), Image.Resampling.BICUBIC).save(to / f"{path.stem}.jpg", quality=90)
    pixels = np.stack([np.asarray(Image.open(path)) for path in images[6:]]).reshape(-1, 28, 28, 1)
    rows = (pixels / 255).astype("float32")
    np.save(to / "five.npy", rows[:5])
    write_json(to / "one.json", {"instances": floats(rows[5:6])})
    write_records(to / "four.tfrecord", [example({"image": row.ravel()}) for row in rows[6:10]])


def penguins(to):
    train = training("penguins")
    columns, species = train.load()
    _, held_out = train.split(len(species))
    rows = [{name: values[i] if name in train.STRINGS else values[i].item() for name, values in columns.items()} for i in held_out]
    rows = [{name: shortest(value) for name, value in row.items()} for row in rows]
    unknown = next(row for row in rows if row["sex"] == "")  # the vocabulary does not have it
    with open(to / "nine.csv", "w", newline="") as f:
        table = csv.DictWriter(f, fieldnames=list(reversed(rows[0])))
        table.writeheader()
        table.writerows(rows[:8] + [unknown])
    write_json(to / "three.json", {"instances": rows[8:10] + [{**rows[10], "island": "Atlantis"}]})
    write_json(to / "columns.json", {"inputs": {name: [row[name] for row in rows[11:16]] for name in columns}})
    (to / "four.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[16:20]))
    few = {name: values[held_out[20:26]] for name, values in columns.items()}
    np.savez_compressed(to / "six.npz", **{name: values.astype("U") if name in train.STRINGS else values for name, values in few.items()})
    write_records(to / "five.tfrecord", [example({name: value.encode() if isinstance(value, str) else value for name, value in row.items()}) for row in rows[26:31]])


def wine(to):
    train = training("wine")
    data = train.load_wine()
    _, held_out = train.split(len(data.data))
    wines = data.data[held_out]
    with open(to / "eight.csv", "w", newline="") as f:
        csv.writer(f).writerows(wines[:8].tolist())
    with open(to / "header.csv", "w", newline="") as f:
        csv.writer(f).writerows([data.feature_names, *wines[8:11].tolist()])
    np.save(to / "five.npy", np.asfortranarray(wines[11:16]))
    write_json(to / "one.json", {"instances": wines[16:17].tolist()})
    (to / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wines[17:19].tolist()))
    (to / "three.raw").write_bytes(wines[19:22].astype("<f8").tobytes())


def languages(to):
    """Sentences of the declaration, and a few words of our own."""
    train = training("languages")
    said = {language: text.encode() for language, text in {
        "Danish": "Enhver har ret til liv, frihed og personlig sikkerhed.",
        "Dutch": "Een ieder heeft het recht op leven.",
        "Hungarian": "Minden személynek joga van az élethez.",
        "Russian": "Каждый человек имеет право на жизнь.",
        "Spanish": "Todo individuo tiene derecho a la vida, a la libertad y a la seguridad de su persona.",
        "Turkish": "Yaşamak, hürriyet ve kişi emniyeti her ferdin hakkıdır.",
    }.items()}
    write_json(to / "danish.json", {"instances": [list(said["Danish"])]})
    write_json(to / "columns.json", {"inputs": {"bytes": train.tensor([said["Dutch"], said["Hungarian"]]).tolist()}})
    np.save(to / "russian.npy", train.tensor([said["Russian"]]).astype("uint8"))
    np.savez(to / "spanish.npz", bytes=train.tensor([said["Spanish"]]))
    (to / "turkish.raw").write_bytes(train.tensor([said["Turkish"]]).astype("<i4").tobytes())
    (to / "padded.jsonl").write_text("".join(json.dumps(row) + "\n" for row in train.tensor(list(said.values())).tolist()))
    (to / "english.csv").write_text("\n".join(",".join(map(str, text)) for text in (b"the sea is calm", b"my hat is green")) + "\n")


def faces(to):
    """Parts of a photograph, of different sizes: some with a face."""
    photo = Image.fromarray(skimage.data.astronaut())
    face = photo.crop((150, 0, 310, 200))
    np.save(to / "face.npy", np.asarray(face.resize((40, 50))))
    np.savez_compressed(to / "helmet.npz", image=np.asarray(photo.crop((300, 250, 500, 450)).resize((64, 64)))[None])
    (to / "two.raw").write_bytes(np.stack([np.asarray(face.resize((32, 40))), np.asarray(face.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((32, 40)))]).tobytes())
    write_json(to / "tiny.json", {"instances": np.asarray(face.resize((12, 15)))[None].tolist()})


def moderation(to):
    """Photographs that were taken by people, not numbers: JPEG and PNG."""
    for name in ("astronaut", "chelsea", "coffee", "rocket"):
        photo = Image.fromarray(getattr(skimage.data, name)())
        photo.thumbnail((320, 320))
        photo.save(to / f"{name}.jpg", quality=80)
    photo.resize((96, 64)).save(to / "rocket-small.png", optimize=True)


def shortest(value):
    """A float32 as the number that a person wrote: 39.1, not 39.099998474121094."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def floats(array):
    """An array of float32 as lists of numbers that read back exactly."""
    return [floats(part) for part in array] if array.ndim else shortest(array.item())


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n")


def write_gzip(path, content):
    path.write_bytes(gzip.compress(content, mtime=0))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def example(features):
    made = tf.train.Example()
    for name, value in features.items():
        feature = made.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.float_list.value.extend(np.atleast_1d(value))
    return made.SerializeToString(deterministic=True)


if __name__ == "__main__":
    main()
