#!/usr/bin/env bash
# deploy.sh: builds the producer and brings the stack to what template.yaml says, with
# the AWS credentials and the region of this shell.
#
#   STACK       the stack's name; default penstock
#   IMAGE       the worker's image; without it, what the stack has, or no workers yet
#   PARAMETERS  others of the template, as Name=value, with spaces between
#
# What is not given stays as it is in the stack.
set -eu -o pipefail
cd "$(dirname "$0")/.."
stack=${STACK:-penstock}

fail() {
    echo "deploy: $1" >&2
    exit 1
}

command -v "${GO:-go}" >/dev/null || fail "Go is needed to build the producer and there is no '${GO:-go}' on PATH: install it from https://go.dev/dl"
command -v sam >/dev/null || fail "AWS SAM's command line is needed and there is no 'sam' on PATH: install it (pipx install aws-sam-cli)"
# Its buckets are named after it, with an account and a region behind.
[[ $stack =~ ^[a-z][a-z0-9-]{0,23}$ ]] ||
    fail "the stack can't be named '$stack': small letters, digits and hyphens, a letter first, at most 24 (STACK=…)"
[ -n "${AWS_REGION:-${AWS_DEFAULT_REGION:-}}" ] || [ -e "${AWS_CONFIG_FILE:-$HOME/.aws/config}" ] ||
    fail "no region is chosen: export AWS_REGION=eu-west-1, or run aws configure"
[ -n "${AWS_ACCESS_KEY_ID:-}${AWS_PROFILE:-}${AWS_WEB_IDENTITY_TOKEN_FILE:-}${AWS_CONTAINER_CREDENTIALS_RELATIVE_URI:-}${AWS_CONTAINER_CREDENTIALS_FULL_URI:-}" ] ||
    [ -e "${AWS_SHARED_CREDENTIALS_FILE:-$HOME/.aws/credentials}" ] || [ -e "${AWS_CONFIG_FILE:-$HOME/.aws/config}" ] ||
    grep -qs '^Amazon EC2' /sys/class/dmi/id/sys_vendor || # whose machines have roles
    fail "there are no AWS credentials: run aws configure, or export AWS_PROFILE"

read -ra parameters <<<"${PARAMETERS:-}"
[ -z "${IMAGE:-}" ] || parameters+=("WorkerImage=$IMAGE")

sam build --build-in-source -t deploy/template.yaml -b .build/sam
sam deploy -t .build/sam/template.yaml --stack-name "$stack" --resolve-s3 --s3-prefix "$stack" \
    --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset \
    ${parameters[0]+--parameter-overrides "${parameters[@]}"}
