#!/usr/bin/env bash
# check.sh: builds the images of the Dockerfile beside it and sees them work, without
# a Docker engine: buildah builds them, from base images that are made here of
# Debian's packages and of this machine's Go, and image_test.go starts what is in
# them as a container would be started. Needs root, and `make build` before.
#
# Everything is kept in .build/image. What is mounted there is seen by this script
# alone and is gone when it ends.
set -eu -o pipefail
cd "$(dirname "$0")/../.."
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin
go=${GO:-go}
work=$PWD/.build/image

missing=()
for tool in buildah debootstrap unshare; do
    command -v $tool >/dev/null || missing+=($tool)
done
if [ ${#missing[@]} -gt 0 ]; then
    echo "image: ${missing[*]} is needed to build the images without Docker: install it (Debian, Ubuntu: apt install buildah debootstrap util-linux)" >&2
    exit 1
fi
if [ "$(id -u)" != 0 ]; then
    echo "image: only root can mount what the images are built in: sudo make image" >&2
    exit 1
fi
if [ -z "${IMAGE_NAMESPACE:-}" ]; then
    IMAGE_NAMESPACE=1 exec unshare --mount --fork --kill-child "$0" "$@"
fi

mkdir -p "$work/tmp"
exec 9>"$work/lock"
flock 9 # two at a time would build into each other
export TMPDIR=$work/tmp

# Containers of this run, or of one that was killed, would keep their files.
trap 'builder rm --all >/dev/null 2>&1 || true' EXIT

builder() {
    buildah --root "$work/storage" --runroot "$work/run" --storage-driver overlay "$@"
}

# Debian as its slim images are: without documentation.
debian() {
    [ -e "$work/debian.done" ] && builder inspect --type image docker.io/library/debian:bookworm-slim >/dev/null 2>&1 && return
    if [ ! -e "$work/debian.done" ]; then
        rm -rf "$work/debian"
        debootstrap --variant=minbase bookworm "$work/debian"
        (cd "$work/debian" && rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* usr/share/{doc,man,info,locale}/*)
        # As there: apt keeps no caches in a layer.
        echo 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";' >"$work/debian/etc/apt/apt.conf.d/docker-clean"
        cp /etc/apt/apt.conf.d/99* "$work/debian/etc/apt/apt.conf.d/" 2>/dev/null || true # how this machine reaches a mirror
        touch "$work/debian.done"
    fi
    local container
    container=$(builder from scratch)
    builder copy -q "$container" "$work/debian" /
    builder config --cmd bash "$container"
    builder commit -q --rm "$container" docker.io/library/debian:bookworm-slim
}

# Go's image, but for Go itself, which is mounted, and with the certificates that
# this machine trusts.
golang() {
    mkdir -p "$work/context"
    cp /etc/ssl/certs/ca-certificates.crt "$work/context/"
    builder bud -q --isolation chroot --pull-never --layers -t docker.io/library/golang:1.26-bookworm -f - "$work/context" <<'DOCKERFILE'
FROM docker.io/library/debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev make
COPY ca-certificates.crt /etc/ssl/certs/
ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local
DOCKERFILE
}

# Go's caches are this machine's, in the place where buildah keeps cache mounts.
share() {
    mkdir -p "$1" "$TMPDIR/buildah-cache$2"
    mount --bind "$1" "$TMPDIR/buildah-cache$2"
}

image() {
    builder bud -q --isolation chroot --pull-never --layers --format docker \
        --volume "$("$go" env GOROOT):/usr/local/go:ro" --ignorefile .dockerignore \
        --target "$1" -t "penstock-$1" -f deploy/image/Dockerfile .
}

# The files of an image, as a platform that wants them read-only mounts them, its
# volumes and what every container has.
unpack() {
    local container root=$work/root/$1 volume
    container=$(builder from --pull-never "localhost/penstock-$1")
    mkdir -p "$root"
    mount --bind "$(builder mount "$container")" "$root"
    mkdir -p "$root/dev" "$root/proc" # as every container has them
    mount -o remount,bind,ro "$root"
    builder inspect --type image "localhost/penstock-$1" >"$work/$1.json"
    "${PYTHON:-python3}" - "$work/$1.json" <<'PY' >"$work/$1.volumes"
import json, sys
print(*(json.load(open(sys.argv[1]))["Docker"]["config"].get("Volumes") or {}), sep="\n")
PY
    while read -r volume; do
        [ -z "$volume" ] && continue
        mount -t tmpfs -o "mode=755,uid=$(stat -c %u "$root$volume"),gid=$(stat -c %g "$root$volume")" tmpfs "$root$volume"
    done <"$work/$1.volumes"
    mount -t tmpfs tmpfs "$root/dev"
    local device
    for device in null zero urandom; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir -m 1777 "$root/dev/shm"
    mount -t proc proc "$root/proc"
}
export -f builder debian golang share image unpack
export work go

step() { bash .ci/step "$1" bash -eu -o pipefail -c "$2"; }

builder rm --all >/dev/null
step 'Debian' debian
step "Go's image" golang
share "$("$go" env GOMODCACHE)" /go/pkg/mod
share "$("$go" env GOCACHE)" /root/.cache/go-build
step 'image of the worker' 'image worker'
step 'image of the front door' 'image serve'
unpack worker
unpack serve
for name in worker serve; do
    printf '  penstock-%s: %s\n' $name "$(builder images --format '{{.Size}}' localhost/penstock-$name)"
done
IMAGES=$work "$go" test -count=1 -tags=netgo,osusergo,image ./deploy/image
