#!/usr/bin/env bash
# Write the inputs that are shipped in inputs/ again, after a change of models or of what writes them:
#     run/make_inputs.sh [-n] [SYSTEM…]     -n: print the commands, and run none
set -euo pipefail
cd "$(dirname "$0")/.."

run=()
[ "${1:-}" != -n ] || { run=(echo); shift; }
[ $# -gt 0 ] || set -- benzene_dimer c60_buckycatcher h2o_benzene methane_dimer na_benzene no3_corona water benzene_crystal
for system in "$@"; do
    if [ "$system" = water ]; then # a box of 64
        input=("${run[@]}" delta-sgdml input models/water/box.yaml --overwrite --temperature 300)
        "${input[@]}" -o inputs/water/nvt.xml --time 20
        "${input[@]}" -o inputs/water/nve.xml --ensemble nve --time 20
        "${input[@]}" -o inputs/water/npt.xml --ensemble npt --pressure 1 --time 20
        "${input[@]}" -o inputs/water/pimd.xml --beads 8 --time 0.1 --stride 10 --frames 50
        continue
    fi
    if [ "$system" = benzene_crystal ]; then
        input=("${run[@]}" delta-sgdml input models/benzene_crystal/crystal.yaml --overwrite --temperature 138)
        "${input[@]}" -o inputs/benzene_crystal/npt.xml --ensemble npt --flexible --timestep 4 --inner 4 --time 52 --stride 5
        "${input[@]}" -o inputs/benzene_crystal/nvt.xml --time 20
        "${input[@]}" -o inputs/benzene_crystal/nve.xml --ensemble nve --time 5
        "${input[@]}" -o inputs/benzene_crystal/pimd.xml --beads 8 --time 0.1 --stride 10 --frames 50
        continue
    fi
    manifest=models/$system/manifest.yaml to=inputs/$system
    kelvin=300 time=1 stride=10
    case $system in # what holds together, and what is over within a minute
        benzene_dimer) kelvin=150 ;;
        methane_dimer) kelvin=100 ;;
        c60_buckycatcher) time=0.25 stride=5 ;;
    esac
    input=("${run[@]}" delta-sgdml input "$manifest" --overwrite --temperature "$kelvin")
    "${input[@]}" -o "$to/demo.xml" --time "$time" --stride "$stride"
    "${input[@]}" -o "$to/nve.xml" --ensemble nve --time 10
    "${input[@]}" -o "$to/nvt.xml" --time 20
    "${input[@]}" -o "$to/pimd.xml" --beads 16 --time 0.5 --stride 10 --frames 50

    sweep=("${run[@]}" delta-sgdml sweep write "$manifest" --overwrite)
    "${sweep[@]}" -o "$to/sweep" --temperatures 10:400:50 --time 500
    "${sweep[@]}" -o "$to/remd" --kind remd --temperatures 266,282,299,317,336,356,377,400 --time 500
    "${sweep[@]}" -o "$to/pimd" --kind pimd --temperatures 300 --beads 16 --time 50
    "${sweep[@]}" -o "$to/rpc" --kind pimd --temperatures 300 --beads 16 --contract 4 --time 50
    "${sweep[@]}" -o "$to/mts" --kind mts --temperatures 10:400:50 --time 500
done
