#!/usr/bin/env python3
"""Writes testdata/MODEL/answers: what TensorFlow for Python says of the inputs, alone.

    pip install -r requirements.txt
    python fetch.py && python convert.py
    python answers.py
    python answers.py --check --penstock REPORT

The second form, as make verify calls it, writes nothing: it makes the answers anew,
compares them with those that are there, and prints a table, with what the Go test
measured (go test ./worker/model/golden -converted -report REPORT). Differences are
as near says.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

import objects

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
COMMITTED = 1e-6  # how far from the committed answers new ones may be; a model's "again" goes before
MANY = 32  # rows of a batch that is made of an input's rows again and again


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--check", action="store_true", help="compare with the answers that are there")
    args.add_argument("--penstock", type=pathlib.Path, help="the Go test's report, for the table")
    args = args.parse_args()
    if args.penstock and not args.check:
        sys.exit("answers: --penstock goes with --check")
    report = {m["name"]: m for m in json.loads(args.penstock.read_text())} if args.penstock else {}
    lines, wrong = [], []
    for model in json.loads((HERE / "models.json").read_text()):
        served = Served(ROOT / model["path"], model.get("loader"))
        cases = [Case(model, case, served) for case in model["cases"]]
        for case in cases:
            if not args.check:
                case.write()
        apart = max(case.apart() for case in cases)
        if not apart <= (limit := model.get("again", COMMITTED)):
            wrong.append(f"{model['name']}: Python's answers differ from the committed ones by {apart:.1e}, which is more than {limit:.0e}: "
                         "another version or another kind of processor rounds otherwise, docs/correctness.md has figures")
        went = report.get(model["name"], {})
        lines.append([
            model["name"], model["kind"], f"{len(cases)} of {sum(case.rows for case in cases)} rows", str(sum(case.elements for case in cases)),
            f"{apart:.1e}", *(f"{went[key]:.1e}" if key in went else "" for key in ("alone", "batched")), f"{together(served, cases):.1e}",
        ])
        if report and not went:
            wrong.append(f"{model['name']}: Penstock's report has no word of it")
    table(["model", "kind", "inputs", "values", "Python again", "Penstock", "Penstock in batches", "Python in batches"], lines)
    for line in wrong:
        print("answers:", line, file=sys.stderr)
    sys.exit(bool(wrong))


class Served:
    """A SavedModel as a user of Python runs it."""

    def __init__(self, folder, loader):
        self.config = {}
        if (folder / "penstock.json").exists():
            self.config = json.loads((folder / "penstock.json").read_text())
        self.v1 = loader == "v1"
        if self.v1:  # an object of its training that Keras 3 does not know keeps the other way from loading it
            self.session = tf.compat.v1.Session(graph=tf.Graph())
            with self.session.graph.as_default():
                self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder)).signature_def
        else:
            self.loaded = tf.saved_model.load(folder)  # which must live as long as its signatures
            self.signatures = self.loaded.signatures

    def inputs(self, signature):
        if not self.v1:
            return self.signatures[signature].structured_input_signature[1]
        infos = self.signatures[signature].inputs
        return {name: tf.TensorSpec([None if d.size < 0 else d.size for d in info.tensor_shape.dim], info.dtype) for name, info in infos.items()}

    def run(self, signature, tensors):
        """Returns the outputs by name; a batch too small for the model is filled with
        zeros, and the answer cut."""
        inputs, rows = self.inputs(signature), len(next(iter(tensors.values())))
        if fixed := next(iter(inputs.values())).shape[0]:
            tensors = {name: np.concatenate([t, np.zeros((fixed - rows, *t.shape[1:]), t.dtype)]) for name, t in tensors.items()}
        if self.v1:
            sig = self.signatures[signature]
            out = self.session.run({n: i.name for n, i in sig.outputs.items()}, {sig.inputs[n].name: t for n, t in tensors.items()})
        else:
            out = {n: t.numpy() for n, t in self.signatures[signature](**{n: tf.constant(t, inputs[n].dtype) for n, t in tensors.items()}).items()}
        return {name: value[:rows] for name, value in out.items()}


class Case:
    """One input of a model, and what Python says of it alone."""

    def __init__(self, model, case, served):
        self.signature = case.get("signature", "serving_default")
        folder = HERE / "testdata" / model["name"]
        suffix = "@" + case["signature"] if "signature" in case else ""
        self.file = folder / "answers" / (case["input"] + suffix + ".npz")
        self.tensors = objects.read(folder / "inputs" / case["input"], case.get("content_type", ""), served.inputs(self.signature), served.config.get("image"))
        self.rows = len(next(iter(self.tensors.values())))
        self.answer = served.run(self.signature, self.tensors)
        self.elements = sum(value.size for value in self.answer.values())

    def write(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(self.file, **{n: v.astype("S") if v.dtype == object else v for n, v in sorted(self.answer.items())})

    def apart(self):
        """How far the committed answer is from this one."""
        with np.load(self.file) as committed:
            if set(committed) != set(self.answer):
                return np.inf
            return max(near(self.answer[name], committed[name]) for name in committed)


def near(got, want):
    """The largest difference of two answers: absolute where the numbers are below 1,
    relative above. Strings, whole numbers, types and shapes must be the same."""
    got, want = (a.astype("S") if a.dtype == object else a for a in (got, want))
    if got.dtype != want.dtype and want.dtype.kind != "S" or got.shape != want.shape:
        return np.inf
    if want.dtype.kind != "f":
        return 0.0 if (got == want).all() else np.inf
    if want.size == 0:
        return 0.0
    got, want = got.astype("float64"), want.astype("float64")
    return float((np.abs(got - want) / np.maximum(1, np.abs(want))).max())


def together(served, cases):
    """How far Python's own answers are apart when inputs share a batch: those of one
    signature and shape, and each with copies of itself."""
    worst = 0.0
    groups = {}
    for case in cases:
        shape = tuple(t.shape[1:] for t in case.tensors.values())
        groups.setdefault((case.signature, shape), []).append(case)
    for (signature, _), group in groups.items():
        limit = next(iter(served.inputs(signature).values())).shape[0]
        for batch in [group, *([case] * max(2, MANY // case.rows) for case in group)]:
            while limit and sum(case.rows for case in batch) > limit:
                batch = batch[:-1]
            out = served.run(signature, {name: np.concatenate([case.tensors[name] for case in batch]) for name in batch[0].tensors})
            at = 0
            for case in batch:
                worst = max([worst, *(near(out[name][at : at + case.rows], case.answer[name]) for name in out)])
                at += case.rows
    return worst


def table(head, lines):
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    for line in [head, ["-" * width for width in widths], *lines]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")


if __name__ == "__main__":
    main()
