#!/usr/bin/env bash
# The AWS command line (its path is given) against the front door of a local mode
# whose settings are in the environment.
set -euo pipefail
aws=$1

# await URI: prints the object, as soon as it is there.
await() {
    local n
    for ((n = 0; n < 60; n++)); do
        "$aws" s3 cp --quiet "$1" - 2>/dev/null && return
        sleep 0.5
    done
    echo "there is no $1" >&2
    return 1
}

"$aws" s3 cp --quiet "$PENSTOCK_TEST_DIGIT" 's3://penstock/in/cli/a b+c.png'
output=$("$aws" sagemaker-runtime invoke-endpoint-async --endpoint-name digits \
    --input-location 's3://penstock/in/cli/a b+c.png' --query OutputLocation --output text)
await "$output" | grep -q '"label":"3"'
echo invoke-endpoint-async

failure=$("$aws" sagemaker-runtime invoke-endpoint-async --endpoint-name digits --content-type image/jpeg \
    --input-location 's3://penstock/in/cli/a b+c.png' --accept image/png --query FailureLocation --output text)
await "$failure" | grep -q '"code": "NotAcceptable"'
echo 'invoke-endpoint-async of what fails'

"$aws" sagemaker-runtime invoke-endpoint --endpoint-name digits --content-type image/png \
    --body "fileb://$PENSTOCK_TEST_DIGIT" /dev/stdout | grep -q '"label":"3"'
echo invoke-endpoint

said=$("$aws" sagemaker-runtime invoke-endpoint-async --endpoint-name other --input-location s3://penstock/in/x 2>&1) && exit 1
grep -q 'ValidationError.*Endpoint other of account 000000000000 not found' <<<"$said"
echo 'an endpoint that is not there'
