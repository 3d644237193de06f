#!/usr/bin/env bash
# Make the models of a shipped system again from its data set: run/make_models.sh h2o_benzene
#
# run/make_models.sh SYSTEM paper FOLDER trains the paper's way instead (sGDML's permutations and defaults, arXiv 2511.01913),
# for comparison.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A points=([methane_dimer]=200 [benzene_dimer]=600 [h2o_benzene]=600 [na_benzene]=1000 [no3_corona]=100
                   [c60_buckycatcher]=100)
declare -A metric=([c60_buckycatcher]=auto [h2o_benzene]=auto)
system=${1:?a folder of models/: ${!points[*]}}
n=${points[$system]:?no such system; there are ${!points[*]}}
train=(delta-sgdml train "models/$system/dataset.npz" -n "$n" --structure "models/$system/geometry.xyz" --overwrite)
if [ "${2:-}" = paper ]; then
    "${train[@]}" --recipe paper -o "${3:?a folder for the models}"
else
    "${train[@]}" --full --metric "${metric[$system]:-inverse}" -o "models/$system"
fi
