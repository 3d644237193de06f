#!/usr/bin/env bash
# Make the models of the benzene crystal again: run/make_benzene_crystal.sh FOLDER
#
# With the pairs that are there: run/make_benzene_crystal.sh FOLDER models/benzene_crystal/bodies
set -euo pipefail
to=${1:?a folder for data and models, from where they are copied} data=${2:-}
models=$(cd "$(dirname "$0")/.." && pwd)/models
mkdir -p "$to"
if [ -z "$data" ]; then
    data=$to/bodies
    python "$(dirname "$0")/crystal.py" frames "$models/benzene_crystal/experiment.extxyz" "$models/benzene_dimer/dataset.npz" -o "$to/frames.extxyz"
    delta-sgdml dataset bodies "$to/frames.extxyz" -o "$data" --pairs 9 -n 1200
fi
delta-sgdml train "$data/c6h6_c6h6.npz" -n 900 --n-validation 200 --points c6h6=300 --basis binding=150,c6h6=80 --dispersion gfn2-xtb -o "$to/pairs"
