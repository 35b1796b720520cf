#!/usr/bin/env bash
# The main job on small real input, start to end: populations on source contexts, populations on target contexts with
# and without memory of them, and a page that says whether memory helped.      demo.sh [lunar_lander | cart_pole]
#
# FIRST_SEED=10 demo.sh     other seeds, in a folder of their own
set -euo pipefail

env="${1:-lunar_lander}"
first="${FIRST_SEED:-0}"
case "$env" in
  lunar_lander)
    expected="about 4 minutes on 2 cores"
    feature=leg_height
    sources=("3.2,9.6" "6.4,12.8") # 0.4, 0.8, 1.2 and 1.6 times the default of 8 px, two for each core
    targets=4.8,11.2
    budget=(budget.steps=60000 budget.interval=10000 evaluation.episodes=5)
    ;;
  cart_pole)
    expected="about 3 minutes on 2 cores"
    feature=pole_length
    sources=("0.2,0.8" "0.5,1.1") # 0.4, 1, 1.6 and 2.2 times the default of 0.5 m, two for each core
    targets=0.35,0.95
    budget=(budget.steps=40000 budget.interval=4000)
    ;;
  *)
    echo "demo.sh: error: knows lunar_lander and cart_pole, got $env" >&2
    exit 2
    ;;
esac
seeds=("$first,$((first + 1)),$((first + 2))" "$((first + 3)),$((first + 4)),$((first + 5))")
results="results/demo/$env"
((first == 0)) || results+="_seeds_from_$first"

# Runs a sweep on each of two cores: the first is shown, the other one writes what it says to a file.
side_by_side() {
  local title="$1" shown="$2" other="$3" log="$results/second_core.log" status=0
  shift 3
  printf '\n== %s\n' "$title"
  echo "\$ metapbt run --multirun $* $shown"
  echo "\$ metapbt run --multirun $* $other   # at the same time, see $log"
  mkdir -p "$results"
  metapbt run --multirun "$@" "$other" >"$log" 2>&1 &
  metapbt run --multirun "$@" "$shown" || status=$?
  wait $! || {
    tail -n 3 "$log" >&2
    status=1
  }
  return "$status"
}

echo "This takes $expected. Stop it whenever you like: started again, it goes on where it was."
side_by_side "1 of 3: PB2 on four source contexts; what happens is remembered" \
  "context.$feature=${sources[0]}" "context.$feature=${sources[1]}" \
  "env=$env" method=pb2 "seed=$first" "${budget[@]}" executor=inline "results_dir=$results/sources"
side_by_side "2 of 3: two other contexts, with PB2, and with PB2 that remembers" \
  "seed=${seeds[0]}" "seed=${seeds[1]}" \
  "env=$env" method=pb2,meta_pb2 "context.$feature=$targets" "${budget[@]}" executor=inline \
  "results_dir=$results/targets" "meta.results_dir=$results/sources"
printf '\n== 3 of 3: did memory help?\n$ metapbt report %s\n' "$results"
metapbt report "$results"
