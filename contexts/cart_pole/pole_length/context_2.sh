#!/usr/bin/env bash
# cart_pole, pole_length = 0.5: context 2 of 3, method pb2, 3 seeds.
# Written by `metapbt scripts` (write it again rather than edit it) with:
#   metapbt scripts env=cart_pole scripts.feature=pole_length 'scripts.multipliers=[0.5,1,2]' scripts.seeds=3
#
#SBATCH --job-name=c2
#SBATCH --array=0-2
#SBATCH --output=logs/cart_pole/pole_length/c2_%A_%a.out
#SBATCH --open-mode=append
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@300
#
# Without options: in a Slurm array, trains the seed at the array's index; elsewhere all seeds, one by one.
#   --finished  prints nothing; exits with 0 where every seed is finished, else with 1
#   --submit    submits the unfinished seeds with sbatch and prints what became of that
#   --log       prints the path of the log for a start outside Slurm
set -euo pipefail
unset CDPATH

job=c2
script=contexts/cart_pole/pole_length/context_2.sh # from the project directory
seeds=(0 1 2)
run_directories=(
  results/cart_pole/default/pb2/seed_0
  results/cart_pole/default/pb2/seed_1
  results/cart_pole/default/pb2/seed_2
)
# shellcheck disable=SC2016  # a dollar sign in an override belongs to Hydra
overrides=(
  method=pb2
  env=cart_pole
  context.pole_length=0.5
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
    --submit) submit ;;
    --log) echo "$PWD/"logs/cart_pole/pole_length/c2.log ;;
    "") train ;;
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
  project="$(cd -- "$folder" && cd -- ../../.. 2>/dev/null && pwd)" || project="$PWD"
  [[ -f "$project/$script" ]] || project="$PWD"
  [[ -f "$project/$script" ]] || fail "no $script in $project; submit with automatic_job_runner.sh"
  cd -- "$project"
}

is_finished() { [[ -e "${run_directories[$1]}/DONE" ]]; }

# The positions of the unfinished seeds, one on each line.
unfinished() {
  local index
  for index in "${!seeds[@]}"; do
    is_finished "$index" || echo "$index"
  done
}

submit() {
  local id command tasks answer
  command -v sbatch >/dev/null || fail "no sbatch on this machine; --local runs the scripts here"
  while read -r id command; do
    if [[ "$command" == "$PWD/$script" ]]; then
      echo "in the queue as job $id, skipped"
      return
    fi
  done < <(squeue --noheader --user="$(id -un)" --format="%F %o" 2>/dev/null)
  tasks="$(unfinished | paste -sd, -)"
  mkdir -p -- logs/cart_pole/pole_length
  answer="$(sbatch --parsable --chdir="$PWD" --array="$tasks" "$PWD/$script")"
  echo "job ${answer%%;*}"
}

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
  local index failed=()
  trap 'stop_run limit' USR1
  trap 'stop_run signal' TERM INT
  set_up_environment
  command -v metapbt >/dev/null || fail "no command metapbt here; cluster.setup (conf/cluster) must make one"
  if [[ -n "${SLURM_ARRAY_TASK_ID:-}" ]]; then
    train_seed "$SLURM_ARRAY_TASK_ID"
    return
  fi
  for index in "${!seeds[@]}"; do
    train_seed "$index" || failed+=("${seeds[index]}")
    [[ -z "$stopped_by" ]] || exit 143
  done
  ((${#failed[@]} == 0)) || fail "failed with seed ${failed[*]}"
}

train_seed() {
  local index="$1" status=0 before
  if is_finished "$index"; then
    echo "$job, seed ${seeds[index]}: finished already"
    return
  fi
  echo "$job, seed ${seeds[index]}: $(date '+%F %T') on $(uname -n)"
  before="$(saved_state "$index")"
  metapbt run "${overrides[@]}" "seed=${seeds[index]}" &
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
  find "${run_directories[$1]}/checkpoints" -type f ! -name ".*" -printf "%P %T@\n" 2>/dev/null | sort || true
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
