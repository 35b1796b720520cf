#!/usr/bin/env bash
# cart_pole, pole_length = 1: context 3 of 3, method pb2, 3 seeds.
# Written by `metapbt scripts` (write it again rather than edit it) with:
#   metapbt scripts env=cart_pole scripts.feature=pole_length 'scripts.multipliers=[0.5,1,2]' scripts.seeds=3
#
#SBATCH --job-name=c3
#SBATCH --array=0-2
#SBATCH --output=logs/cart_pole/pole_length/c3_%A_%a.out
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
#
# Without options: in a Slurm array, trains the run at the array's index; elsewhere all runs, one by one.
#   --finished  prints nothing; exits with 0 where every run is finished, else with 1
#   --submit [--failed] [--after JOB:JOB...]
#               submits the unfinished runs that are not in the queue (or only those that failed: began, and were not
#               finished) with sbatch, to begin once those jobs have ended; so do those that wait in the queue already;
#               prints a line "job <id>: ..." for each array, new or in the queue
#   --log       prints the path of the log for a start outside Slurm
set -euo pipefail
unset CDPATH

job=c3
script=contexts/cart_pole/pole_length/context_3.sh # from the project directory
# Those that differ only in the seed become one array of jobs.
runs=(
  results/cart_pole/pole_length=1/pb2/seed_0
  results/cart_pole/pole_length=1/pb2/seed_1
  results/cart_pole/pole_length=1/pb2/seed_2
)
# What `metapbt run` is told of all runs; the seed comes last.
# shellcheck disable=SC2016  # a dollar sign in an override belongs to Hydra
overrides=(
  method=pb2
  env=cart_pole
  context.pole_length=1
)

# The commands are the cluster's own (cluster.setup), and such commands often read variables that are not set.
# shellcheck disable=SC1090,SC1091
set_up_environment() {
  set +u
  if [[ -f .venv/bin/activate ]]; then source .venv/bin/activate; fi
  set -u
}

main() {
  enter_project
  case "${1:-}" in
    --finished) [[ -z "$(unfinished)" ]] ;;
    --submit) submit "${@:2}" ;;
    --log) echo "$PWD/"logs/cart_pole/pole_length/c3.log ;;
    --from) train "$2" ;;
    "") train 0 ;;
    *) fail "unknown option $1 (known: --finished, --submit, --log)" ;;
  esac
}

fail() {
  echo "$job: $*" >&2
  exit 1
}

# The project directory is found from this script's own place, so that the whole project can be moved. Slurm
# runs a copy of the script that lies elsewhere, but in the directory in which the job was submitted.
enter_project() {
  local folder project
  folder="$(dirname -- "${BASH_SOURCE[0]}")"
  project="$(cd -- "$folder" && cd -- ../../.. 2>/dev/null && pwd -P)" || project="$PWD"
  [[ -f "$project/$script" ]] || project="$PWD"
  [[ -f "$project/$script" ]] || fail "no $script in $project; submit it with --submit"
  cd -- "$project"
}

is_finished() { [[ -e "${runs[$1]}/DONE" ]]; }

# Of what is not in the queue: a job that the system ended leaves no FAILED.
has_failed() { [[ -e "${runs[$1]}/FAILED" || -e "${runs[$1]}/journal" ]] && ! is_finished "$1"; }

# The positions of the unfinished runs, one on each line.
unfinished() {
  local index
  for index in "${!runs[@]}"; do
    is_finished "$index" || echo "$index"
  done
}

# ---- the queue

declare -A queued=() # run directory -> job

# Each job says in its comment which runs its array is made of: `metapbt <seeds> <directory above seed_*>`.
read_queue() {
  local id task place mark seeds directory answer
  answer="$(squeue --array --noheader --user="$(id -un)" --format=$'%F\t%K\t%T\t%Z\t%k')" ||
    fail "squeue does not answer, so what is in the queue already cannot be known; try again"
  while IFS=$'\t' read -r id task _ place mark; do
    [[ "$mark" == "metapbt "* && "$task" =~ ^[0-9]+$ ]] || continue
    read -r _ seeds directory <<<"$mark"
    IFS=, read -ra seeds <<<"$seeds"
    [[ "$directory" == /* ]] || directory="$place/$directory"
    queued["$directory/seed_${seeds[task]:-}"]="$id"
  done <<<"$answer"
}

# Submits what is not finished and not in the queue: runs that differ only in the seed as one array, of 100 at most,
# for a comment has room for about 1,000 letters.
submit() {
  local only_failed="" after="" first=0 last
  while (($#)); do
    case "$1" in
      --failed) only_failed=yes ;;
      --after)
        after="${2:-}"
        shift
        ;;
      *) fail "unknown option $1 of --submit (known: --failed, --after)" ;;
    esac
    shift
  done
  command -v sbatch >/dev/null || fail "no sbatch on this machine; to train here: a study without cluster=slurm, scripts of contexts with --local"
  mkdir -p -- logs/cart_pole/pole_length
  read_queue
  while ((first < ${#runs[@]})); do
    last=$first
    while [[ "${runs[last + 1]:-}" == "${runs[first]%/*}"/* ]] && ((last - first < 99)); do last=$((last + 1)); done
    submit_array "$first" "$last"
    first=$((last + 1))
  done
}

submit_array() {
  local first="$1" last="$2" directory="${runs[$1]%/*}" index seed seeds=() tasks=() new=() id name answer
  local -A waiting=()
  name="${directory#"${directory%/*/*/*}"/}" # environment, context and method
  name="$job-${name//\//-}"
  for ((index = first; index <= last; index++)); do
    seed="${runs[index]##*/seed_}"
    seeds+=("$seed")
    if is_finished "$index"; then continue; fi
    id="${queued[$(absolute "${runs[index]}")]:-}"
    if [[ -n "$id" ]]; then
      waiting["$id"]+="${waiting["$id"]:+,}$seed"
    elif [[ -z "$only_failed" ]] || has_failed "$index"; then
      tasks+=("$((index - first))")
      new+=("$seed")
    fi
  done
  for id in "${!waiting[@]}"; do
    # Those of its tasks that train already wait for nothing.
    [[ -z "$after" ]] || scontrol update JobId="$id" Dependency="afterany:$after" >/dev/null 2>&1 || true
    echo "job $id: $name, seed ${waiting["$id"]}, in the queue already"
  done
  ((${#tasks[@]})) || return 0
  answer="$(sbatch --parsable --chdir="$PWD" --job-name="$name" --array="$(joined "${tasks[@]}")" \
    --comment="metapbt $(joined "${seeds[@]}") $directory" ${after:+"--dependency=afterany:$after"} \
    "$PWD/$script" --from "$first")"
  echo "job ${answer%%;*}: $name, seed $(joined "${new[@]}")"
}

absolute() { [[ "$1" == /* ]] && echo "$1" || echo "$PWD/$1"; }

joined() {
  local IFS=,
  echo "$*"
}

# ---- training

# What happens to a run when its job must end. Slurm sends this shell SIGUSR1 300 s before
# the time limit, and SIGTERM when the job is cancelled or makes room for another (and then requeues it itself,
# or does not). Either way the run gets a SIGTERM, upon which it saves and ends; started again, it continues.
run=
stopped_by=
stop_run() {
  stopped_by="$1"
  stop_deadline=$((SECONDS + 225))
  [[ -z "$run" ]] || kill -TERM "$run" 2>/dev/null || true
}

train() {
  local from="$1" index failed=()
  trap 'stop_run limit' USR1
  trap 'stop_run signal' TERM INT
  set_up_environment
  command -v metapbt >/dev/null || fail "no command metapbt here; cluster.setup (conf/cluster) must make one"
  if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
    train_run "$((from + SLURM_ARRAY_TASK_ID))"
    return
  fi
  for index in "${!runs[@]}"; do
    train_run "$index" || failed+=("${runs[index]}")
    [[ -z "$stopped_by" ]] || exit 143
  done
  ((${#failed[@]} == 0)) || fail "failed: ${failed[*]}"
}

train_run() {
  local index="$1" directory="${runs[$1]}" status=0 before
  if is_finished "$index"; then
    echo "$job: $directory is finished already"
    return
  fi
  echo "$job: $directory, $(date '+%F %T') on $(uname -n)"
  before="$(saved_state "$index")"
  metapbt run "${overrides[@]}" "seed=${directory##*/seed_}" &
  run=$!
  # A signal that came before the line above found no run to pass it on to.
  [[ -z "$stopped_by" ]] || kill -TERM "$run" 2>/dev/null || true
  wait "$run" || status=$?
  # A signal ends the wait, not the run.
  while [[ -n "$stopped_by" ]] && kill -0 "$run" 2>/dev/null; do
    [[ "$stopped_by" != limit ]] || ((SECONDS < stop_deadline)) || break
    sleep 0.2
  done
  run=
  [[ -n "$stopped_by" ]] || return "$status"
  is_finished "$index" && return
  [[ "$stopped_by" != limit ]] || requeue "$before" "$(saved_state "$index")"
  return 143
}

# Changes whenever a member has been trained and saved.
saved_state() {
  find "${runs[$1]}/checkpoints" -type f ! -name ".*" -printf "%P %T@\n" 2>/dev/null | sort || true
}

requeue() {
  [[ -n "${SLURM_JOB_ID:-}" ]] || return 0
  # Otherwise a member that needs longer than the time limit would go round for ever.
  [[ "$1" != "$2" ]] || fail "nothing was finished within the time limit; not requeued, raise cluster.time"
  # The requeue ends this job with a SIGTERM of its own.
  trap '' TERM
  scontrol requeue "$SLURM_JOB_ID"
  echo "$job: stopped for the time limit, saved, and back in the queue"
}

main "$@"
