#!/usr/bin/env bash
# Label 420 configurations of a shipped system with PBE0-D4/def2-SVP, and train on 200 of them:
#
# run/make_pbe0.sh SYSTEM FOLDER      methane_dimer, h2o_benzene or na_benzene
#
# Hours on two cores (a methane dimer takes 4 s of one, water on benzene 27); killed, it goes on. Configurations come in
# random order, so that those that are there at any time are spread over all.
set -euo pipefail
cd "$(dirname "$0")/.."
system=${1:?methane_dimer, h2o_benzene or na_benzene} to=${2:?a folder for the data and models}
declare -A charges=([na_benzene]=1,0)
declare -A more=([h2o_benzene]="--metric auto --structure models/h2o_benzene/geometry.xyz"
                 [na_benzene]="--structure models/na_benzene/geometry.xyz")
mkdir -p "$to"
[ -f "$to/frames.extxyz" ] || python - "models/$system/dataset.npz" "$to/frames.extxyz" <<'CHOOSE'
import sys
import numpy as np
from ase import Atoms
from ase.io import write
with np.load(sys.argv[1]) as data:
    z, R = data["z"], data["R"]
chosen = np.linspace(0, len(R) - 1, 420).round().astype(int)[np.random.default_rng(0).permutation(420)]
write(sys.argv[2], [Atoms(z, x) for x in R[chosen]])
CHOOSE
delta-sgdml dataset label "$to/frames.extxyz" -o "$to/dataset.npz" --charges "${charges[$system]:-0,0}" --calculator pyscf \
    --option xc=pbe0 --option basis=def2-svp --option disp=d4 --option grids=2
delta-sgdml train "$to/dataset.npz" -n 200 ${more[$system]:-} --full sgdml,graph -o "$to" --overwrite
[ "$system" != na_benzene ] || # whose D4 has steps
    delta-sgdml train "$to/dataset.npz" -n 200 ${more[$system]} -o "$to/above_d4" --overwrite \
        --baseline d4 --baseline-option method=pbe0 --baseline-part binding
