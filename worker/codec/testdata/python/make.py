#!/usr/bin/env python3
"""Writes the files beside it as Python users write them, for the tests of
worker/codec. Needs numpy and tensorflow.

    python make.py

All hold the same three rows: x float32 [2], n int64 [], s string [].
"""

import csv
import gzip
import json
import pathlib

import numpy as np
import tensorflow as tf

HERE = pathlib.Path(__file__).parent

x = np.array([[1.5, -2.25], [1e-7, 3.4028235e38], [np.nan, -np.inf]], np.float32)
n = np.array([7, -(2**63), 2**63 - 1], np.int64)
s = ["plain", 'a "quoted", comma', "two\nlines, é😀"]


def feature(value):
    if isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
    if isinstance(value, np.ndarray):
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def tfrecord(name, compression):
    with tf.io.TFRecordWriter(str(HERE / name), tf.io.TFRecordOptions(compression)) as f:
        for row in range(3):
            features = {"x": x[row], "n": n[row], "s": s[row], "label": row}
            example = tf.train.Example(
                features=tf.train.Features(feature={k: feature(v) for k, v in features.items()})
            )
            f.write(example.SerializeToString(deterministic=True))


def csv_file(name, header, rows, **dialect):
    with open(HERE / name, "w", newline="", encoding="utf-8") as f:
        w = csv.writer(f, **dialect)
        if header:
            w.writerow(header)
        w.writerows(rows)


# Floats by way of their repr, as csv.writer prints them.
rows = [[*map(float, x[i]), int(n[i]), s[i]] for i in range(3)]
csv_file("inputs.csv", ["x[0]", "x[1]", "n", "s"], rows)
csv_file("features.csv", ["width", "height"], [r[:2] for r in rows], quoting=csv.QUOTE_ALL)
csv_file("text.csv", None, [[t] for t in s], lineterminator="\n")
np.savetxt(HERE / "savetxt.csv", x, delimiter=",")

np.savez(HERE / "stored.npz", x=x, n=n, s=np.array(s))
np.savez_compressed(HERE / "deflated.npz", x=np.asfortranarray(x), n=n, s=np.array([t.encode() for t in s]))
np.savez(HERE / "unnamed.npz", x)

tfrecord("examples.tfrecord", "")
tfrecord("examples.tfrecord.gz", "GZIP")

lines = "".join(
    json.dumps({"x": [float(v) for v in x[i]], "n": int(n[i]), "s": s[i]}) + "\n" for i in range(3)
)
(HERE / "lines.jsonl").write_text(lines, encoding="utf-8")
(HERE / "lines.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))

x.tofile(HERE / "x.raw")
