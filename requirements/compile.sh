#!/bin/sh
# Lock the requirement files again: names, versions and hashes, for every Python from 3.11 on.
set -eu
cd "$(dirname "$0")"
for name in tools hub kubernetes dev tensorboard bench; do
    uv pip compile --quiet --universal --python-version 3.11.0 --generate-hashes \
        --no-annotate --no-header --output-file "$name.txt" "$@" "$name.in"
done
# An image is for Linux and its own Python alone.
image() {
    name=$1
    shift
    uv pip compile --quiet --python-platform linux --python-version 3.13 --generate-hashes --no-annotate --no-header \
        --output-file "../images/$name/requirements.txt" "$@" "../images/$name/requirements.in"
}
image sbom "$@"
for name in minimal hub proxy ledger agent provisioner; do
    image "$name" "$@"
done
for name in science torch jax tensorflow; do
    # Built on minimal, they change nothing that it has.
    image "$name" --constraint ../images/minimal/requirements.txt "$@"
done
# What is installed first, as an image below that outlives a release: all that NVIDIA publishes.
for name in torch jax tensorflow; do
    awk '/^[a-z0-9]/ { nvidia = /^nvidia-/ } nvidia' "../images/$name/requirements.txt" > "../images/$name/cuda/requirements.txt"
done
