#!/usr/bin/env bash
# Make the models of a shipped system again from its data set: run/make_models.sh h2o_benzene
#
# run/make_models.sh SYSTEM paper FOLDER trains the paper's way instead (sGDML's permutations and defaults, arXiv 2511.01913),
# for comparison. Of h2o_benzene, benzene_dimer, c60_buckycatcher and no3_corona symmetry, σ, λ and metrics are taken from
# the models that are there, which run/make_models.sh SYSTEM FOLDER trains again; the last two have learned from their own
# dynamics (delta_server/active/README.md). Their fits take minutes on a GPU, run/make_models.sh SYSTEM FOLDER --device
# cuda, and hours without.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A points=([methane_dimer]=200 [benzene_dimer]=600 [h2o_benzene]=600 [na_benzene]=1000 [no3_corona]=100
                   [c60_buckycatcher]=100)
declare -A metric=([c60_buckycatcher]=auto)
system=${1:?a folder of models/: ${!points[*]}}
n=${points[$system]:?no such system; there are ${!points[*]}}
declare -A again=([c60_buckycatcher]="-n 276 --points c60=100,full=100 --basis catcher=180,binding=110 --n-validation 115
                                      --metric auto --n-far 10"
                  [no3_corona]="-n 461 --points nitrate=100,binding=160,full=100 --basis corona=300 --n-validation 152
                                --n-far 10"
                  [benzene_dimer]="-n 1500 --points benzene=600,full=600 --basis binding=400"
                  [h2o_benzene]="-n 1200 --points water=600,full=600 --basis water=150,benzene=300,binding=300")
if [ -n "${again[$system]:-}" ] && [ "${2:-}" != paper ]; then  # the choices of the models that are there
    exec delta-sgdml train "models/$system/dataset.npz" ${again[$system]} --full sgdml \
        --like "models/$system/manifest.yaml" --structure "models/$system/geometry.xyz" \
        -o "${2:?a folder for the models, from where they are copied}" "${@:3}"
fi
train=(delta-sgdml train "models/$system/dataset.npz" -n "$n" --structure "models/$system/geometry.xyz" --overwrite)
if [ "${2:-}" = paper ]; then
    "${train[@]}" --recipe paper -o "${3:?a folder for the models}"
else
    "${train[@]}" --full --metric "${metric[$system]:-inverse}" -o "models/$system"
fi
