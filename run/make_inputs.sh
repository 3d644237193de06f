#!/usr/bin/env bash
# Write the ladders that are shipped in inputs/ again, after a change of models: run/make_inputs.sh [SYSTEM…]
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 0 ] || set -- benzene_dimer c60_buckycatcher h2o_benzene methane_dimer na_benzene no3_corona
for system in "$@"; do
    write=(delta-sgdml sweep write "models/$system/manifest.yaml" --overwrite)
    "${write[@]}" -o "inputs/$system/sweep" --temperatures 10:400:50 --time 500
    "${write[@]}" -o "inputs/$system/remd" --kind remd --temperatures 266,282,299,317,336,356,377,400 --time 500
    "${write[@]}" -o "inputs/$system/pimd" --kind pimd --temperatures 300 --beads 16 --time 50
    "${write[@]}" -o "inputs/$system/rpc" --kind pimd --temperatures 300 --beads 16 --contract 4 --time 50
    "${write[@]}" -o "inputs/$system/mts" --kind mts --temperatures 10:400:50 --time 500
done
