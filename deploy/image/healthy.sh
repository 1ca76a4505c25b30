#!/bin/bash
# healthy.sh: what a container's health check asks. Until the worker was ready once,
# whether it is; from then on, whether it is alive. So a deployment goes on only
# when a new worker works, and an outage of S3, in which a worker says that it is
# not ready and waits for the end of it, has nobody killed.
set -eu

address=${PENSTOCK_ADDR:-127.0.0.1:9090}
host=${address%:*} port=${address##*:}
host=${host#[} host=${host%]} # of an IPv6 address
was_ready=/dev/shm/penstock-was-ready # memory: a container that starts again starts anew

ask() {
    local status
    exec 3<>"/dev/tcp/${host:-127.0.0.1}/$port"
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&3
    read -r _ status _ <&3
    [ "$status" = 200 ]
}

if [ -e "$was_ready" ]; then
    ask /healthz
else
    ask /readyz
    : >"$was_ready"
fi
