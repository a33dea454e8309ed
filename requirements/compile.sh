#!/bin/sh
# Lock the requirement files again: names, versions and hashes, for every Python from 3.11 on.
set -eu
cd "$(dirname "$0")"
for name in tools hub kubernetes dev tensorboard bench; do
    uv pip compile --quiet --universal --python-version 3.11.0 --generate-hashes \
        --no-annotate --no-header --output-file "$name.txt" "$@" "$name.in"
done
# An image is for Linux and its own Python alone.
for name in minimal hub proxy ledger; do
    uv pip compile --quiet --python-platform linux --python-version 3.13 --generate-hashes --no-annotate \
        --no-header --output-file "../images/$name/requirements.txt" "$@" "../images/$name/requirements.in"
done
