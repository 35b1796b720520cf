#!/usr/bin/env bash
# A real Slurm on this one machine, for tests:  one_machine_slurm.sh start | stop
#
# start  installs Slurm and munge where they are missing (Debian or Ubuntu, as root), starts their daemons
#        without systemd and without cgroups, waits until the node is idle, and prints the path of its
#        slurm.conf, and nothing else, on stdout: `SLURM_CONF=$(one_machine_slurm.sh start) sinfo`.
#        Where it runs already, it only prints the path.
# stop   cancels what is queued and ends the daemons that start started.
#
# It has its own ports and its own slurm.conf, so that it leaves a Slurm that this machine belongs to alone.
set -euo pipefail

state="${TMPDIR:-/tmp}/metapbt-slurm"
wait_seconds=60
export SLURM_CONF="$state/slurm.conf"
export PATH="$PATH:/usr/sbin:/sbin"

fail() {
  echo "one_machine_slurm.sh: $*" >&2
  exit 1
}

# Runs a test command until it succeeds, for at most wait_seconds.
wait_until() {
  local deadline=$((SECONDS + wait_seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.2
  done
}

install_packages() {
  local needed=()
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v sbatch >/dev/null || needed+=(slurm-wlm)
  command -v munged >/dev/null || needed+=(munge)
  ((${#needed[@]})) || return 0
  command -v apt-get >/dev/null || fail "cannot install ${needed[*]}: this machine has no apt-get"
  echo "installing ${needed[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  {
    apt-get update && apt-get install --yes --no-install-recommends "${needed[@]}"
  } >"$state/apt.log" 2>&1 || fail "cannot install ${needed[*]}; see $state/apt.log"
}

munge_answers() { munge --no-input; }

start_munge() {
  munge_answers >/dev/null 2>&1 && return
  # systemd would make this directory; munged insists on its owner and mode.
  install -d -o munge -g munge -m 0755 /run/munge
  [[ -s /etc/munge/munge.key ]] || runuser -u munge -- mungekey --create
  runuser -u munge -- munged || fail "munged did not start; see /var/log/munge/munged.log"
  touch "$state/started_munge"
  wait_until munge_answers || fail "munged does not answer after $wait_seconds s"
}

write_slurm_conf() {
  local host memory_mb
  host="$(hostname -s)"
  # A little less than there is: Slurm drains a node that has less memory than its line says.
  memory_mb="$(awk '/^MemTotal:/ {print int($2 * 0.95 / 1024)}' /proc/meminfo)"
  mkdir -p "$state/controller" "$state/node"
  cat >"$SLURM_CONF" <<CONF
ClusterName=one_machine
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=26817
SlurmdPort=26818
SlurmUser=root
AuthType=auth/munge
# A requeued job waits until its last credential has expired; the usual 120 s would be most of a test's time.
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
# The usual 60 s between two looks at the whole queue would be most of a test's time.
SchedulerParameters=sched_interval=1
ReturnToService=2
# Finished jobs stay visible for scontrol, so that tests can ask how they ended.
MinJobAge=600
StateSaveLocation=$state/controller
SlurmdSpoolDir=$state/node
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb State=UNKNOWN
PartitionName=single Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

# The process of a daemon's pid file, if it is still that daemon.
process_of() {
  local pid
  pid="$(cat "$state/$1.pid" 2>/dev/null)" && [[ "$(cat "/proc/$pid/comm" 2>/dev/null)" == "$1" ]] && echo "$pid"
}

node_is_ready() { [[ "$(sinfo --noheader --format=%t)" =~ ^(idle|mix|alloc)$ ]]; }

start() {
  # Whoever may write to slurm.conf may run commands as root, so nobody else may make this folder first.
  mkdir -m 0700 "$state" 2>/dev/null || [[ -d "$state" && -O "$state" ]] || fail "$state belongs to another user"
  if [[ -f "$SLURM_CONF" ]] && process_of slurmctld >/dev/null && process_of slurmd >/dev/null && node_is_ready; then
    echo "$SLURM_CONF"
    return
  fi
  ((EUID == 0)) || fail "must run as root (it installs packages and starts daemons), this is $(id -un)"
  install_packages
  start_munge
  write_slurm_conf
  process_of slurmctld >/dev/null || slurmctld -c || fail "slurmctld did not start; see $state/slurmctld.log"
  process_of slurmd >/dev/null || slurmd || fail "slurmd did not start; see $state/slurmd.log"
  wait_until node_is_ready || fail "the node is not idle after $wait_seconds s; see $state/slurmctld.log and slurmd.log"
  echo "$SLURM_CONF"
}

queue_is_empty() { [[ -z "$(squeue --noheader)" ]]; }

stop() {
  ((EUID == 0)) || fail "must run as root, this is $(id -un)"
  if process_of slurmctld >/dev/null && ! queue_is_empty; then
    scancel --user=root || true
    wait_until queue_is_empty || scancel --user=root --full --signal=KILL || true
  fi
  local daemon pid
  for daemon in slurmd slurmctld; do
    pid="$(process_of "$daemon")" || continue
    kill "$pid"
    wait_until [ ! -e "/proc/$pid" ] || fail "$daemon (process $pid) does not end"
  done
  if [[ -e "$state/started_munge" ]]; then
    runuser -u munge -- munged --stop >/dev/null 2>&1 || true
  fi
  rm -rf "$state"
}

case "${1:-}" in
  start) start ;;
  stop) stop ;;
  *) fail "usage: one_machine_slurm.sh start | stop" ;;
esac
