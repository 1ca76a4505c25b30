#!/usr/bin/env python3
"""Turns a Keras file (.keras, .h5, .hdf5) into a SavedModel for Penstock.

    pip install tensorflow-cpu==2.21.0 keras==3.15.1
    python export.py MODEL.keras OUT [--name NAME] [--version 1]

writes OUT/1/saved_model.pb and, beside the version, OUT/penstock.json with what
the file tells of images and labels. The SavedModel is loaded back and has to
predict what the Keras model predicts, or nothing is written.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

TOLERANCE = 1e-5
ROWS = 3  # of the random inputs
OPEN = 32  # what they have in a dimension that the model leaves open


class Refused(Exception):
    """What the owner of the file has to know or do."""


def arguments(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("model", type=pathlib.Path, help="a .keras, .h5 or .hdf5 file with a whole model")
    p.add_argument("out", type=pathlib.Path, help="the model's folder, which gets a folder for the version")
    p.add_argument("--name", help="how requests name the model; default: the file's name")
    p.add_argument("--version", type=int, default=1, help="a whole number; default: 1")
    p.add_argument("--signature", default="serving_default", help="another name for it, beside serving_default, which needs no naming in requests")
    p.add_argument("--input", action="append", default=[], metavar="NAME:DTYPE:SHAPE",
                   help="an input of a model that does not say its own, such as x:float32:-1,28,28,1; repeat it in their order")
    p.add_argument("--labels", type=pathlib.Path, help="a text file with the names of the classes, one a line")
    p.add_argument("--preset", choices=["caffe", "tf", "torch"], help="how the model's images were scaled in training; see docs/model-file.md")
    p.add_argument("--custom", type=pathlib.Path, action="append", default=[], metavar="FILE.py",
                   help="Python with the model's own layers and functions, which is run; may be repeated")
    p.add_argument("--unsafe", action="store_true", help="run the code inside the file: Lambda layers. Only for files you trust")
    args = p.parse_args(argv)
    if args.version < 0:
        p.error("--version must not be negative")
    if not re.fullmatch(r"\w+", args.signature):
        p.error("--signature must be of letters, digits and _")
    return args


def load(path, custom, unsafe):
    """The Keras model in a file, or why there is none."""
    import keras

    if path.is_dir():
        raise Refused(f"{path} is a directory. A SavedModel needs no export: name it with -model")
    if not path.is_file():
        raise Refused(f"{path}: there is no such file")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise Refused(f"{path}: the name must end in .keras, .h5 or .hdf5, which is how Keras tells its formats")
    objects = {**legacy(), **own_objects(custom)}
    try:
        return keras.saving.load_model(path, custom_objects=objects, compile=False, safe_mode=not unsafe)
    except Exception as err:  # Keras raises most kinds of them
        raise Refused(f"{path}: {advice(err, unsafe)}\n\nKeras says: {str(err)[:1500]}") from err


def advice(err, unsafe):
    text = str(err)
    if "Lambda" in text and ("unsafe" in text or "safe_mode" in text) and not unsafe:
        return "it holds Python code (a Lambda layer), which runs when it is loaded. If you trust the file, add --unsafe"
    if "No model config found" in text or "weights" in text and "only" in text:
        return ("it holds weights without their model. Build the model in Python, call model.load_weights(FILE) "
                "and model.save('whole.keras'), and export that")
    if any(s in text for s in ("Could not locate", "Unknown layer", "Unknown object", "Unknown activation", "custom_objects")):
        return "it needs classes or functions that Keras doesn't have. Give the Python that defines them with --custom FILE.py"
    if "bad marshal data" in text or "marshal" in text:
        return "its Lambda layers were written by another version of Python. Load it there, and write the layers as classes"
    if "Unable to" in text and "open" in text or "not a zip" in text.lower() or "accessible `.keras` zip file" in text:
        return "it is damaged, cut off, or no Keras file"
    if "Unrecognized keyword" in text:
        return ("it was written by another version of Keras, whose layers take other arguments. "
                "Load it with that version, and save it again as .keras")
    return "it can't be loaded"


def legacy():
    """Layers of Keras 2 whose arguments Keras 3 refuses, though they say nothing new."""
    import keras

    @keras.saving.register_keras_serializable("penstock", "DepthwiseConv2D")
    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
        @classmethod
        def from_config(cls, config):
            if config.get("groups") == 1:  # as for every depthwise convolution
                config = {k: v for k, v in config.items() if k != "groups"}
            return super().from_config(config)

    return {"DepthwiseConv2D": DepthwiseConv2D}


def own_objects(files):
    """The classes and functions that Python files define."""
    objects = {}
    for path in files:
        scope = {"__name__": path.stem, "__file__": str(path)}
        try:
            exec(compile(path.read_text(encoding="utf-8"), path, "exec"), scope)
        except OSError as err:
            raise Refused(f"--custom {path}: {err.strerror}") from err
        objects.update((k, v) for k, v in scope.items() if callable(v) and not k.startswith("_"))
    return objects


def input_specs(model, asked):
    """What the exported signature takes, in the order of the model's inputs."""
    import keras
    import tensorflow as tf

    given = [parse_input(text) for text in asked]
    tensors = getattr(model, "inputs", None)
    if tensors is None:
        if not given:
            raise Refused("the model does not say what it takes, as it is a class of its own: say it with --input NAME:DTYPE:SHAPE")
        return given
    if given and len(given) != len(tensors):
        raise Refused(f"the model has {len(tensors)} inputs, and --input is there {len(given)} times")
    if given:
        return given
    tensors = keras.tree.flatten(tensors)
    names, specs = set(), []
    for i, t in enumerate(tensors):
        if getattr(t, "sparse", False) or getattr(t, "ragged", False):
            raise Refused(f"input {t.name} is sparse or ragged, and Penstock runs dense tensors: build the model with a dense input")
        name = stable(t.name, "x" if len(tensors) == 1 else f"x{i + 1}", names)
        dtype = carried(tf.as_dtype(keras.backend.standardize_dtype(t.dtype)))
        specs.append(tf.TensorSpec(t.shape, dtype, name))
    return specs


def parse_input(text):
    import tensorflow as tf

    try:
        name, dtype, shape = text.split(":")
        sizes = [None if int(n) < 0 else int(n) for n in shape.split(",") if n]
        if not re.fullmatch(r"[A-Za-z]\w*", name):
            raise ValueError(name)
        return tf.TensorSpec(sizes, tf.as_dtype(dtype), name)
    except (ValueError, TypeError) as err:
        raise Refused(f"--input {text} must look like x:float32:-1,28,28,1") from err


def stable(name, otherwise, taken):
    """A name for a tensor that is the same each time: Keras numbers those that
    nobody named."""
    name = re.sub(r"\W", "_", name.split(":")[0])
    if re.fullmatch(r"(keras_tensor|input_layer)(_\d+)?", name) or not re.match(r"[A-Za-z]", name):
        name = otherwise
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def carried(dtype):
    """The type for a tensor that goes in or out: Penstock carries no half floats."""
    import tensorflow as tf

    return tf.float32 if dtype in (tf.float16, tf.bfloat16) else dtype


def endpoint(model, specs):
    """The function to be exported, of one tensor for each of specs."""
    import keras
    import tensorflow as tf

    struct = getattr(model, "input", None) if getattr(model, "inputs", None) else None

    def serve(*tensors):
        tensors = [tf.cast(t, s.dtype) if t.dtype != s.dtype else t for t, s in zip(tensors, specs)]
        if struct is not None and len(keras.tree.flatten(struct)) == len(tensors):
            packed = keras.tree.pack_sequence_as(struct, tensors)
        else:
            packed = tensors[0] if len(tensors) == 1 else list(tensors)
        return named(model, model(packed, training=False))

    return serve


def named(model, result):
    """A model's outputs by stable names."""
    import keras
    import tensorflow as tf

    if isinstance(result, dict):
        flat = {str(k): v for k, v in result.items() if not isinstance(v, (dict, list, tuple))}
        if len(flat) != len(result):
            raise Refused("the model's outputs are nested: make them one dictionary or list")
        pairs = list(flat.items())
    else:
        tensors = keras.tree.flatten(result)
        names = getattr(model, "output_names", None) or []
        if isinstance(model, keras.Sequential):
            names = [model.layers[-1].name]
        if len(names) != len(tensors):
            names = ["y"] if len(tensors) == 1 else [f"y{i + 1}" for i in range(len(tensors))]
        pairs = list(zip(names, tensors))
    taken = set()
    return {stable(n, "y", taken): tf.cast(t, carried(t.dtype)) if t.dtype != carried(t.dtype) else t for n, t in pairs}


def write(model, specs, signature, folder):
    import keras

    serve = endpoint(model, specs)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(signature, serve, input_signature=specs)
    archive.write_out(str(folder), verbose=False)
    return serve


def random_inputs(specs, seed=0):
    import numpy as np
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    inputs = []
    for s in specs:
        rank = s.shape.rank
        if rank is None:
            raise Refused(f"input {s.name} has no shape: say it with --input")
        shape = [n or (ROWS if i == 0 else OPEN) for i, n in enumerate(s.shape.as_list())]
        if s.dtype == tf.string:
            values = rng.choice(["a word", "some more words", "naïve"], shape).astype(object)
        elif s.dtype == tf.bool:
            values = rng.integers(0, 2, shape).astype(bool)
        elif s.dtype.is_integer:
            values = rng.integers(0, 2, shape)
        else:
            values = rng.random(shape)
        inputs.append(tf.constant(values, s.dtype))
    return inputs


def compare(serve, specs, signature, folder):
    """The largest difference between the model and what was written of it."""
    import numpy as np
    import tensorflow as tf

    inputs = random_inputs(specs)
    want = serve(*inputs)
    loaded = tf.saved_model.load(str(folder)).signatures[signature]
    got = loaded(**{s.name: t for s, t in zip(specs, inputs)})
    if set(got) != set(want):
        raise Refused(f"the SavedModel gives {sorted(got)}, not {sorted(want)}")
    largest = 0.0
    for name, tensor in want.items():
        a, b = tensor.numpy(), got[name].numpy()
        if a.shape != b.shape or not np.issubdtype(a.dtype, np.number):
            if not np.array_equal(a, b):
                raise Refused(f"output {name} of the SavedModel differs from the Keras model's")
            continue
        apart = np.abs(a.astype(float) - b.astype(float)) / np.maximum(1, np.abs(a.astype(float)))
        apart = np.where(np.isnan(a.astype(float)) & np.isnan(b.astype(float)) | (a == b), 0, apart)
        largest = max(largest, float(np.max(apart, initial=0)))
    if not largest <= TOLERANCE:
        raise Refused(f"the SavedModel's predictions differ from the Keras model's by {largest:.1e}; at most {TOLERANCE} is allowed")
    return largest, {name: t for name, t in want.items()}


def model_file(model, specs, outputs, args):
    """What the model file can say, and what its owner should add."""
    config, hints = {}, []
    if args.labels:
        labels = args.labels.read_text(encoding="utf-8-sig").splitlines()
        fitting = [n for n, t in outputs.items() if t.shape.rank and t.shape[-1] == len(labels)]
        if not fitting:
            raise Refused(f"{args.labels} has {len(labels)} lines, and no output has as many classes")
        config["labels_file"] = "labels.txt"
        if len(outputs) > 1:
            config["label_output"] = fitting[0]
    image = image_section(model, specs)
    if image is not None:
        if args.preset:
            image.pop("scale", None)
            image["preset"] = args.preset
        elif "scale" not in image and specs[0].dtype.is_floating:
            hints.append("images are scaled to 0…1: name another way that the model was trained with as image.preset, or scale, mean and std")
        config["image"] = image
    elif args.preset:
        raise Refused("--preset is for models with one input of images")
    if not args.labels:
        hints.append("the names of its classes, if it has any, go into labels or labels_file")
    return config, hints


def image_section(model, specs):
    """How images go into a model whose only input looks like one."""
    if len(specs) != 1 or specs[0].shape.rank != 4 or not (specs[0].dtype.is_floating or specs[0].dtype.is_integer):
        return None
    _, height, width, channels = specs[0].shape.as_list()
    image = {}
    if channels not in (1, 3, 4):
        if height not in (1, 3, 4):
            return None
        channels, height, width = height, width, channels
        image["layout"] = "channels_first"
    for name, n in (("height", height), ("width", width), ("channels", channels)):
        if n is not None:
            image[name] = n
    kinds = [type(layer).__name__ for layer in getattr(model, "layers", [])[:4]]
    if specs[0].dtype.is_floating and ("Rescaling" in kinds or "Normalization" in kinds):
        image["scale"] = 1  # the model does it
    return image


def export(args):
    import keras

    target = args.out / str(args.version)
    if target.exists():
        raise Refused(f"{target} is there already: a version never changes. Choose another with --version")
    model = load(args.model, args.custom, args.unsafe)
    specs = input_specs(model, args.input)
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out, prefix=".export-") as folder:
        part = pathlib.Path(folder) / "model"
        serve = write(model, specs, args.signature, part)
        apart, outputs = compare(serve, specs, args.signature, part)
        config, hints = model_file(model, specs, outputs, args)
        os.chmod(part, 0o755)
        os.rename(part, target)
    say(args, specs, outputs, apart, write_config(args, config), hints, keras.__version__)


def write_config(args, config):
    path = args.out / "penstock.json"
    if path.exists():
        return f"{path} was there already, and is left as it is"
    if not config:
        return f"no {path}: there was nothing to say in it"
    if "labels_file" in config:
        shutil.copyfile(args.labels, args.out / config["labels_file"])
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return f"{path}: {json.dumps(config)}"


def say(args, specs, outputs, apart, config, hints, version):
    shape = lambda s: "[" + " ".join(str(-1 if n is None else n) for n in s.shape.as_list()) + "]"
    print(f"{args.model} → {args.out / str(args.version)}, with Keras {version}")
    print("signature " + " and ".join(dict.fromkeys([args.signature, "serving_default"])))
    for s in specs:
        print(f"  takes {s.name} {s.dtype.name}{shape(s)}")
    for name, t in outputs.items():
        print(f"  gives {name} {t.dtype.name}, {list(t.shape)} for the random input")
    print(f"predicts what the Keras model does, to {max(apart, 1e-12):.0e}")
    print(config)
    for hint in hints:
        print(f"  {hint}")
    name = args.name or re.sub(r"[^\w.-]", "-", args.model.stem)
    print(f"run it:  bin/worker -model {name}={args.out.resolve()} …")


def main(argv=None):
    args = arguments(argv)
    try:
        export(args)
    except Refused as err:
        sys.exit(f"export: {err}")


if __name__ == "__main__":
    main()
