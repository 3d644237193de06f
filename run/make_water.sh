#!/usr/bin/env bash
# Make the many-body models of water again, from nothing but six molecules: run/make_water.sh FOLDER
#
# With the data sets that are there: run/make_water.sh FOLDER models/water/bodies. σ, λ and metrics are taken from the
# models that are there (chosen once by --metric auto, σ 4, λ 1e-6 for pairs and σ 16, λ 1e-6 for triples).
set -euo pipefail
to=${1:?a folder for data and models, from where they are copied} data=${2:-}
here=$(cd "$(dirname "$0")/.." && pwd)/models/water
mkdir -p "$to"

bodies() { # of frames of hexamers that GFN2-xTB moves, of packed clusters, where molecules touch, and of others
    delta-sgdml dataset bodies "$to/hexamer.extxyz" "$to/packed.extxyz" "${@:4}" -o "$to/$1" --pairs "$2" --triples "$3" -n 600
}
if [ -z "$data" ]; then
    data=$to/bodies
    delta-sgdml dataset sample "$here/hexamer.xyz" -o "$to/hexamer.extxyz" --temperature 400 --frames 100 --wall 5 --equilibrate 500 --seed 1
    delta-sgdml dataset pack "$to/hexamer.extxyz=16" -o "$to/packed.extxyz" --cluster --density 1.2 --frames 40 --seed 2
    bodies first 9 12
    for kind in h2o_h2o:150 h2o_h2o_h2o:120; do # models good enough to move a cluster, whose frames are better ones
        delta-sgdml train "$to/first/${kind%:*}.npz" -n "${kind#*:}" -o "$to/first_${kind%:*}"
    done
    delta-sgdml dataset pack "$to/hexamer.extxyz=24" -o "$to/cluster.extxyz" --cluster --density 0.95 --seed 5
    sed "s|pairs/|first_h2o_h2o/|; s|triples/|first_h2o_h2o_h2o/|" "$here/cluster.yaml" > "$to/first.yaml"
    delta-sgdml input "$to/first.yaml" -o "$to/nvt.xml" --temperature 350 --time 0.6 --overwrite
    delta-sgdml run "$to/nvt.xml" "$to/first.yaml" --dir "$to/nvt"
    bodies bodies 9 12 "$to/nvt/nvt.pos_0.xyz"
fi
train=(delta-sgdml train -n 400 --n-validation 100)
"${train[@]}" "$data/h2o_h2o.npz" --points h2o=150 --basis binding=130,h2o=60 --like "$here/pairs/manifest.yaml" -o "$to/pairs"
"${train[@]}" "$data/h2o_h2o_h2o.npz" --points h2o=10 --basis binding=80 --like "$here/triples/manifest.yaml" -o "$to/triples"
