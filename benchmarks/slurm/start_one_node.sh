#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Start SLURM as a cluster of this machine alone, to try workflows by hand. Debian, as root:
#
#   apt-get install --no-install-recommends slurm-wlm munge
#   bash benchmarks/slurm/start_one_node.sh output/slurm     # `... output/slurm stop` ends it
set -euo pipefail
folder=$(realpath -m "${1:?folder for configuration, state and logs}")

daemons=(slurmd slurmctld munged)
if [ "${2-}" = stop ]; then
  for daemon in "${daemons[@]}"; do
    if [ -f "$folder/$daemon.pid" ]; then kill "$(cat "$folder/$daemon.pid")" || true; fi
  done
  rm -f /etc/slurm/slurm.conf
  exit
fi

mkdir -p "$folder"/{state,spool,log}
chmod 755 "$folder"
host=$(hostname -s)
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
cat > "$folder/slurm.conf" <<CONF
ClusterName=one_node
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MpiDefault=none
MinJobAge=3600
SchedulerParameters=batch_sched_delay=1,sched_interval=5
JobAcctGatherType=jobacct_gather/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF

if [ ! -f "$folder/munge.key" ]; then
  head -c 1024 /dev/urandom > "$folder/munge.key"
  chmod 600 "$folder/munge.key"
fi
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/log/munged.log" --seed-file="$folder/munge.seed"
# where all commands look for it: a job does not keep SLURM_CONF
mkdir -p /etc/slurm
ln -sfn "$folder/slurm.conf" /etc/slurm/slurm.conf
slurmctld
slurmd
for _ in $(seq 30); do
  if sinfo --noheader --format %t | grep -q idle; then
    sinfo
    exit
  fi
  sleep 1
done
echo "no node is idle after 30 s: see $folder/log" >&2
exit 1
