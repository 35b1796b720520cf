#!/usr/bin/env bash
# Submits the generated scripts of a folder to the cluster, or runs them here. What a script must understand is
# listed in its own head (--finished, --submit, --log), so this file knows nothing of any kind of cluster.
set -euo pipefail
unset CDPATH

usage() {
  cat <<'USAGE'
usage: automatic_job_runner.sh DIR [c3 c7 ...] [--local [--jobs N]] [--dry-run]

Submits the scripts context_<i>.sh in DIR to Slurm: all of them, or only contexts 3 and 7. Finished contexts and
those that are in the queue are skipped; of the others only the unfinished seeds are submitted.

  --local    run the scripts on this machine instead; Ctrl-C stops them, and they continue when started again
  --jobs N   with --local: so many scripts at the same time (default 1)
  --dry-run  print what would be done, and do nothing
  --help     print this

The exit status is 0 only where everything was submitted, or, with --local, finished.
USAGE
}

fail() {
  echo "automatic_job_runner.sh: error: $*" >&2
  exit 1
}

wrong_call() {
  echo "automatic_job_runner.sh: error: $* (--help tells more)" >&2
  exit 2
}

folder=
asked=()
local=
jobs=
dry_run=
contexts=()
ended=0 # of them are finished or have failed
stopped= # with --local: the exit status after a signal

read_arguments() {
  while (($#)); do
    case "$1" in
      --help | -h) usage && exit ;;
      --local) local=yes ;;
      --dry-run) dry_run=yes ;;
      --jobs=*) jobs="${1#*=}" ;;
      --jobs)
        (($# > 1)) || wrong_call "--jobs needs a number"
        jobs="$2"
        shift
        ;;
      -*) wrong_call "unknown option $1" ;;
      *) if [[ -z "$folder" ]]; then folder="$1"; else asked+=("$1"); fi ;;
    esac
    shift
  done
  [[ -n "$folder" ]] || wrong_call "which folder of scripts?"
  [[ -z "$jobs" || "$jobs" =~ ^[1-9][0-9]*$ ]] || wrong_call "--jobs must be a number > 0, got $jobs"
  [[ -z "$jobs" || -n "$local" ]] || wrong_call "--jobs goes with --local (a cluster has cluster.max_parallel)"
  jobs="${jobs:-1}"
}

# Fills `contexts` with the names (c1, c2, ..., c10) to work on, in natural order.
choose_contexts() {
  local path name known=()
  [[ -d "$folder" ]] || fail "no folder $folder"
  for path in "$folder"/context_*.sh; do
    name="${path##*/context_}"
    [[ ! -f "$path" ]] || known+=("c${name%.sh}")
  done
  ((${#known[@]})) || fail "no scripts context_<i>.sh in $folder; metapbt scripts writes them"
  mapfile -t known < <(printf '%s\n' "${known[@]}" | sort -V)
  for name in ${asked[@]+"${asked[@]}"}; do
    [[ " ${known[*]} " == *" $name "* ]] || fail "no context $name in $folder (there are ${known[*]})"
  done
  for name in "${known[@]}"; do
    [[ ${#asked[@]} -gt 0 && " ${asked[*]} " != *" $name "* ]] || contexts+=("$name")
  done
}

script_of() { echo "$folder/context_${1#c}.sh"; }

say() { printf '%-5s %s\n' "$1" "$2"; }

# Calls a function for each context that is not finished.
for_each_unfinished() {
  local name
  for name in "${contexts[@]}"; do
    [[ -z "$stopped" ]] || break
    if bash "$(script_of "$name")" --finished; then
      ended=$((ended + 1))
      say "$name" "finished, skipped"
    else
      "$1" "$name"
    fi
  done
}

would_start() {
  if [[ -n "$local" ]]; then say "$1" "would run here"; else say "$1" "would be submitted"; fi
}

submit() {
  local outcome line
  outcome="$(bash "$(script_of "$1")" --submit)" || fail "sbatch failed for $1 ($(script_of "$1"))"
  while read -r line; do say "$1" "$line"; done <<<"$outcome"
}

# ---- here instead of on a cluster

declare -A running=() # process id -> context
failed=()
started=0

start_here() {
  local log
  while ((${#running[@]} >= jobs)); do reap; done
  [[ -z "$stopped" ]] || return 0
  log="$(bash "$(script_of "$1")" --log)"
  mkdir -p -- "$(dirname -- "$log")"
  # In a process group of its own, where Ctrl-C in the terminal does not reach it: it is stopped only once, by stop.
  set -m
  bash "$(script_of "$1")" </dev/null >>"$log" 2>&1 &
  set +m
  running[$!]="$1"
  started=$((started + 1))
  say "$1" "started, log in $log"
}

# Waits a moment and reports the scripts that have ended.
reap() {
  local process name status alive
  sleep 0.2 || true
  alive=" $(jobs -rp | tr '\n' ' ') "
  for process in "${!running[@]}"; do
    [[ "$alive" != *" $process "* ]] || continue
    name="${running[$process]}"
    unset "running[$process]"
    status=0
    wait "$process" || status=$?
    ended=$((ended + 1))
    if ((status == 0)); then
      say "$name" "finished ($ended of ${#contexts[@]})"
    elif [[ -n "$stopped" ]]; then
      say "$name" "stopped, continues when started again"
    else
      say "$name" "failed with status $status ($ended of ${#contexts[@]}), see $(bash "$(script_of "$name")" --log)"
      failed+=("$name")
    fi
  done
}

# Asks the shell which runs there are: a stop can come when one has begun and is not yet among ${running[@]}.
stop() {
  local processes
  stopped="$1"
  echo "stopping ${running[*]:-}, once they have saved" >&2
  mapfile -t processes < <(jobs -rp)
  ((${#processes[@]} == 0)) || kill -TERM "${processes[@]}" 2>/dev/null || true
}

run_here() {
  trap 'stop 130' INT
  trap 'stop 143' TERM
  for_each_unfinished start_here
  while ((${#running[@]})); do reap; done
  [[ -z "$stopped" ]] || exit "$stopped"
  ((${#failed[@]} == 0)) || fail "${#failed[@]} of $started failed: ${failed[*]}"
}

read_arguments "$@"
choose_contexts
if [[ -n "$dry_run" ]]; then
  for_each_unfinished would_start
elif [[ -n "$local" ]]; then
  run_here
else
  for_each_unfinished submit
fi
