#!/usr/bin/env bash
# The main job on small real input, start to end: populations on source contexts, populations on target contexts with
# and without memory of them, and a page that says whether memory helped.      demo.sh [lunar_lander | cart_pole]
#
# FIRST_SEED=10 demo.sh     other seeds, in a folder of their own
set -euo pipefail

env="${1:-lunar_lander}"
first="${FIRST_SEED:-0}"
case "$env" in
  lunar_lander) study=demo expected="about 5 minutes on 2 cores" ;;
  cart_pole) study=demo_cart_pole expected="about 3 minutes on 2 cores" ;;
  *)
    echo "demo.sh: error: knows lunar_lander and cart_pole, got $env" >&2
    exit 2
    ;;
esac
results="results/$study"
asked=("$study")
if ((first > 0)); then
  results+="_seeds_from_$first"
  asked+=("sources.seed=$first" "targets.seed=range($first,$((first + 6)))" "results_dir=$results")
fi

echo "This takes $expected. Stop it whenever you like: started again, it goes on where it was."
printf '\n== 1 of 3: PB2 on four source contexts, then on two others, with PB2 and with PB2 that remembers\n'
printf '$ metapbt study'
printf ' %q' "${asked[@]}"
printf '\n'
metapbt study "${asked[@]}"
agents=("$results"/targets/*/*/meta_pb2/seed_"$first")
printf '\n== 2 of 3: an agent at work, on a context that memory had not seen\n$ metapbt video %q\n' "${agents[0]}"
metapbt video "${agents[0]}"
printf '\n== 3 of 3: did memory help?\n$ metapbt report %s\n' "$results"
metapbt report "$results"
