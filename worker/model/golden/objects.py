"""Reads object files as docs/formats.md says, in Python's own ways: what Penstock's
answers are compared with must not be read by Penstock."""

import base64
import csv
import gzip
import io
import json

import numpy as np
import tensorflow as tf


def read(path, content_type, inputs, image):
    """Returns the tensors in a file, by input. inputs has the type and shape of each;
    image says how a picture becomes one."""
    body, suffixes = path.read_bytes(), path.suffixes
    if suffixes[-1] == ".gz":
        body, suffixes = gzip.decompress(body), suffixes[:-1]
    (first, *others) = inputs
    whole = {".png": picture, ".jpg": picture, ".npy": array, ".raw": tensor_bytes}
    if (suffix := suffixes[-1]) in whole:
        assert not others
        return {first: whole[suffix](body, content_type, inputs[first], image)}
    rows = {".json": from_json, ".jsonl": json_lines, ".csv": from_csv, ".npz": arrays, ".tfrecord": records}
    if suffix in rows:
        columns = rows[suffix](body, list(inputs))
    else:
        columns = {first: [body]}
    return {name: as_tensor(columns[name], spec) for name, spec in inputs.items()}


def as_tensor(values, spec):
    if spec.dtype == tf.string:
        return np.array([v if isinstance(v, bytes) else v.encode() for v in values], object)
    read = np.asarray(values, spec.dtype.as_numpy_dtype)
    row = spec.shape[1:]
    return read.reshape(-1, *row) if row.is_fully_defined() else read  # a record's values are in one list


def from_json(body, names):
    request = json.loads(body)
    if "inputs" in request:
        columns = request["inputs"]
        return columns if isinstance(columns, dict) else {names[0]: columns}
    return instances(request["instances"], names)


def json_lines(body, names):
    return instances([json.loads(line) for line in body.splitlines()], names)


def instances(rows, names):
    rows = [decoded(row) for row in rows]
    return {name: [row[name] if isinstance(row, dict) else row for row in rows] for name in names}


def decoded(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) and list(value) == ["b64"] else value


def from_csv(body, names):
    rows = list(csv.reader(io.StringIO(body.decode(), newline="")))
    if set(rows[0]) == set(names):
        return {name: [row[rows[0].index(name)] for row in rows[1:]] for name in names}
    if not rows[0][0][0].isdigit():
        rows = rows[1:]
    return {names[0]: rows}


def array(body, _, spec, __):
    read = np.load(io.BytesIO(body))
    if read.ndim < spec.shape.rank:
        read = read[None]
    return read.astype(spec.dtype.as_numpy_dtype)


def arrays(body, names):
    with np.load(io.BytesIO(body)) as read:
        return {name: read[name] for name in names}


def tensor_bytes(body, content_type, spec, _):
    parameters = dict(part.strip().split("=") for part in content_type.split(";")[1:])
    shape = [int(n) for n in parameters["shape"].split("x")] if "shape" in parameters else [-1, *spec.shape[1:]]
    return np.frombuffer(body, spec.dtype.as_numpy_dtype).reshape(shape)


def picture(body, _, spec, image):
    pixels = tf.io.decode_image(body, channels=image["channels"], expand_animations=False)
    pixels = tf.image.resize(pixels, (image["height"], image["width"]), antialias=True)
    return (pixels * (1 / 255))[None].numpy()


def records(body, names):
    read = split(body)
    examples = [tf.train.Example.FromString(record).features.feature for record in read]
    if names[0] not in examples[0]:
        return {names[0]: read}  # the model parses them
    return {name: [values(example[name]) for example in examples] for name in names}


def split(body):
    """The records of a TFRecord file: length, its checksum, data, its checksum."""
    found = []
    while body:
        length = int.from_bytes(body[:8], "little")
        found.append(body[12 : 12 + length])
        body = body[16 + length :]
    return found


def values(feature):
    found = list(getattr(feature, feature.WhichOneof("kind")).value)
    return found[0] if len(found) == 1 else found
