#!/usr/bin/env bash
# verify: clients that others wrote against the front door of the built binaries:
# the AWS command line, and the SageMaker Python SDK's AsyncPredictor of versions 2
# and 3; and a validator of OpenAPI documents against openapi.json. Needs `make
# build`, and the network once: what it installs stays in .build/clients.
set -euo pipefail
cd "$(dirname "$0")/../../../.."
here=cmd/penstock/endtoend/clients
work=$PWD/.build/clients

# environment NAME: a virtual environment with what NAME.txt pins, made once.
environment() {
    local needs=$here/$1.txt
    cmp -s "$needs" "$work/$1/.installed" && return
    rm -rf "${work:?}/$1"
    "${PYTHON:-python3}" -m venv "$work/$1"
    "$work/$1/bin/pip" install -q --disable-pip-version-check -r "$needs"
    cp "$needs" "$work/$1/.installed"
}

for name in awscli sagemaker2 sagemaker3; do
    environment $name
done
"$work/awscli/bin/openapi-spec-validator" cmd/internal/frontdoor/native/openapi.json

export PENSTOCK_TEST_AWS=$work/awscli/bin/aws
export PENSTOCK_TEST_SAGEMAKER2=$work/sagemaker2/bin/python
export PENSTOCK_TEST_SAGEMAKER3=$work/sagemaker3/bin/python
"${GO:-go}" test -count=1 -tags=netgo,osusergo,verify -v -run 'Served$' ./cmd/penstock/endtoend |
    grep -E '^(ok|FAIL|---|\s+(---|clients_test))'
