#!/usr/bin/env bash
# A sweep on a real Slurm of one node, started here from Debian's packages: for a machine of one's own, as root.
#
#   run/test_slurm.sh [FOLDER]
#
# Shown: an array task that its time limit kills (SIGTERM, SIGKILL five seconds later) and that goes on when submitted again; one that
# is warned, stops softly and puts itself into the queue again; both end with contiguous rows; a ladder that means the same as one run
# here. With Snakemake on PATH also run/Snakefile through the Slurm profile. Takes about a quarter of an hour. It writes
# /etc/slurm/slurm.conf and refuses to replace one that is not its own.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath -m "${1:-/tmp/sweep-slurm}")
work=/var/tmp/slurm
mark="# written by run/test_slurm.sh"

start_slurm() {
    command -v slurmctld > /dev/null ||
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
    if [ -e /etc/slurm/slurm.conf ] && ! grep -qF "$mark" /etc/slurm/slurm.conf; then
        echo "/etc/slurm/slurm.conf is somebody else's" >&2
        exit 2
    fi
    mkdir -p $work/state $work/spool $work/log /etc/slurm
    cat > /etc/slurm/slurm.conf << CONF
$mark
ClusterName=ci
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/log/slurmctld.log
SlurmdLogFile=$work/log/slurmd.log
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge=300
KillWait=5
JobRequeue=1
SlurmdParameters=config_overrides
NodeName=localhost NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
    install -d -o munge -g munge -m 0755 /run/munge
    [ -e /run/munge/munged.pid ] || runuser -u munge -- /usr/sbin/munged
    [ -e $work/slurmctld.pid ] || slurmctld -c
    [ -e $work/slurmd.pid ] || slurmd -N localhost
    for _ in $(seq 30); do
        sinfo -h -o %t 2> /dev/null | grep -q idle && return
        sleep 1
    done
    echo "Slurm did not come up; look into $work/log" >&2
    exit 1
}

stop_slurm() {
    for pid in $work/slurmd.pid $work/slurmctld.pid /run/munge/munged.pid; do
        [ -e "$pid" ] && kill "$(cat "$pid")" || true
    done
    sleep 2
    rm -f $work/slurmd.pid $work/slurmctld.pid /run/munge/munged.pid
}

wait_for() { # until the queue has none of the job left
    while squeue -h -j "$1" 2> /dev/null | grep -q .; do sleep 2; done
}

contiguous() { # rows of every temperature: each step once, to the end
    python3 - "$1" << 'PYTHON'
import json, sys
from pathlib import Path

folder = Path(sys.argv[1])
record = json.loads((folder / "sweep.json").read_text())
for out in sorted(folder.glob("*/*_md.out")):
    steps = [int(float(row.split()[0])) for row in out.read_text().splitlines() if not row.startswith("#")]
    assert steps == list(range(0, record["steps"] + 1, record["stride"])), f"{out}: {len(steps)} rows"
    assert json.loads((out.parent / "result.json").read_text())["phase"] == "finished", out
    print(f"{out.name}: {len(steps)} rows, contiguous")
PYTHON
}

same() { # means of the energies, and free energies over R_CM, of two ladders
    python3 - "$1" "$2" << 'PYTHON'
import json, subprocess, sys
from pathlib import Path

def analyzed(what, *arguments):
    command = ["delta-sgdml", "analyze", what, *map(str, arguments), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

def deviation(a, b, error_a, error_b):
    return abs(a - b) / (error_a**2 + error_b**2) ** 0.5

here, there = map(Path, sys.argv[1:])
found = []
for run in sorted(here.glob("*K")):
    pair = [analyzed("energies", folder / run.name) for folder in (here, there)]
    for name in ("potential_eV", "temperature_K", "binding_kcal_per_mol"):
        a, b = (one[name] for one in pair)
        found.append(deviation(a["value"], b["value"], a["error"], b["error"]))
        print(f"{run.name} {name}: {a['value']:.5g} ± {a['error']:.2g}, {b['value']:.5g} ± {b['error']:.2g}")
    surfaces = analyzed("free-energy", run, there / run.name, "--over", "R_CM")["surfaces"]
    a, b = (list(zip(s["free_energy_kcal_per_mol"], s["error_kcal_per_mol"])) for s in surfaces)
    bins = [deviation(f, g, e, d) for (f, e), (g, d) in zip(a, b) if None not in (f, g) and e and d]
    found += bins
    print(f"{run.name} F(R_CM): {len(bins)} bins, at most {max(bins):.1f} errors apart")
outside = sum(d > 2 for d in found)
print(f"{len(found)} numbers, {outside} more than two errors apart, the farthest {max(found):.1f}")
assert max(found) < 5 and outside < 0.25 * len(found)  # of so few independent samples errors are guesses
PYTHON
}

write() { # FOLDER PS: about three seconds for each picosecond
    delta-sgdml sweep write models/h2o_benzene/manifest.yaml --temperatures 100,200 --time "$2" --checkpoint 1000 \
        -o "$1"
}

trap stop_slurm EXIT
start_slurm
rm -rf "$folder"
mkdir -p "$folder"
export PATH OMP_NUM_THREADS=1

echo "== killed by the time limit; submitted again"
write "$folder/killed" 35
id=$(sbatch --parsable --array=0-1 --time=1 --mem=500 --no-requeue --signal=B:CONT@1 -o "$folder/killed-%a.log" run/sweep.slurm "$folder/killed")
wait_for "$id"
delta-sgdml sweep status "$folder/killed"
scontrol show job "$id" | grep -o 'JobState=[A-Z]*' | sort | uniq -c
for _ in 1 2 3 4 5 6; do
    [ -e "$folder/killed/100K/result.json" ] && [ -e "$folder/killed/200K/result.json" ] && break
    wait_for "$(sbatch --parsable --array=0-1 --time=2 --mem=500 -o "$folder/killed-%a.log" --open-mode=append --signal=B:USR1@80 run/sweep.slurm "$folder/killed")"
done
contiguous "$folder/killed"

echo "== warned, stopped softly, put into the queue again"
write "$folder/warned" 20
id=$(sbatch --parsable --array=0-1 --time=2 --mem=500 -o "$folder/warned-%a.log" --signal=B:USR1@80 run/sweep.slurm "$folder/warned")
after=$(sbatch --parsable --dependency="afterok:$id" --mem=200 -o "$folder/after.log" --wrap "delta-sgdml sweep status $folder/warned")
wait_for "$id"
wait_for "$after"
cat "$folder"/warned-*.log "$folder/after.log"
contiguous "$folder/warned"

echo "== one ladder in one process here, and as a job each on Slurm: the same analysis within its errors"
for where in here slurm; do
    delta-sgdml sweep write models/na_benzene/manifest.yaml --temperatures 100,200,300 --time 20 -o "$folder/$where"
done
delta-sgdml sweep run "$folder/here"
wait_for "$(sbatch --parsable --array=0-2 --time=20 --mem=500 -o "$folder/slurm-%a.log" run/sweep.slurm "$folder/slurm")"
contiguous "$folder/slurm"
same "$folder/here" "$folder/slurm"

if command -v snakemake > /dev/null; then
    echo "== Snakemake on Slurm, each attempt one minute"
    write "$folder/snakemake" 25
    snakemake -s run/Snakefile --config dir="$folder/snakemake" minutes=1 --profile run/profiles/slurm analyzed \
        --directory "$folder"
    contiguous "$folder/snakemake"
fi
echo "all is well"
