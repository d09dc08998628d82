#!/usr/bin/env bash
# A Slurm of one node on this machine, for as long as a command runs:
#
#     tests/slurm/loopback.sh COMMAND [ARGUMENT…]
#
# munged, slurmctld and slurmd (Debian: slurm-wlm, munge) with their files in a temporary folder, on ports of
# their own and 127.0.0.1 alone; a Slurm that is here already is not touched. What was started is stopped.
set -euo pipefail
[ $# -gt 0 ] || { echo "give a command to run: $0 COMMAND" >&2; exit 2; }
export PATH="$PATH:/usr/sbin:/sbin"
for program in munged slurmctld slurmd sbatch; do
  command -v $program >/dev/null || { echo "$program is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
done

folder=$(mktemp -d)
mkdir -m 755 "$folder/munge" "$folder/state" "$folder/spool"
host=$(hostname -s)
pids=()

stop() {
  status=$?
  trap - EXIT INT TERM
  if [ ${#pids[@]} -gt 1 ]; then
    scancel --partition=loopback --full 2>/dev/null || true
    for _ in $(seq 50); do [ -z "$(squeue -h 2>/dev/null || true)" ] && break; sleep 0.2; done
  fi
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    kill "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" 2>/dev/null || true
  done
  if [ $status -ne 0 ]; then
    for log in "$folder"/*.log; do [ -e "$log" ] && { echo "== $log"; tail -n 20 "$log"; } >&2; done
  fi
  rm -rf "$folder"
  exit $status
}
trap stop EXIT
trap 'exit 130' INT TERM

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# Of a file that must come.
wait_for() { for _ in $(seq 100); do "$@" >/dev/null 2>&1 && return; sleep 0.2; done; echo "not in time: $*" >&2; return 1; }

(umask 077; head -c 1024 /dev/urandom > "$folder/munge.key")
munged --foreground --force --key-file="$folder/munge.key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/munged.pid" --seed-file="$folder/munge/seed" --log-file="$folder/munged.log" \
  2>"$folder/munged.err.log" &
pids+=($!)
wait_for test -S "$folder/munge/socket"

export SLURM_CONF="$folder/slurm.conf"
cat > "$SLURM_CONF" <<END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=5
CommunicationParameters=NoAddrCache
NodeName=loopback NodeHostname=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=loopback Nodes=loopback Default=YES MaxTime=INFINITE State=UP
END

slurmctld -D -c -f "$SLURM_CONF" 2>"$folder/slurmctld.err.log" &
pids+=($!)
slurmd -D -N loopback -f "$SLURM_CONF" 2>"$folder/slurmd.err.log" &
pids+=($!)
is_idle() { [ "$(sinfo -h -o %t)" = idle ]; }
wait_for is_idle

"$@"
