#!/usr/bin/env bash
# The main job on small real input, start to end: populations on source contexts, populations on target contexts with
# and without memory of them, and a page that compares them.      demo.sh [cart_pole | lunar_lander]
set -euo pipefail

env="${1:-cart_pole}"
case "$env" in
  cart_pole)
    expected="about 2 minutes on 2 cores"
    sources=context.pole_length=0.2,0.5,0.8,1.1 # 0.4, 1, 1.6 and 2.2 times the default of 0.5 m
    targets=context.pole_length=0.35,0.95
    seeds=seed=0,1,2
    budget=(budget.steps=40000 budget.interval=4000)
    ;;
  lunar_lander)
    expected="about 7 minutes on 2 cores"
    sources=context.leg_height=3.2,6.4,9.6,12.8 # 0.4, 0.8, 1.2 and 1.6 times the default of 8
    targets=context.leg_height=4.8,11.2
    seeds=seed=0,1
    budget=(budget.steps=200000 budget.interval=20000)
    ;;
  *)
    echo "demo.sh: error: knows cart_pole and lunar_lander, got $env" >&2
    exit 2
    ;;
esac
results="results/demo/$env"

step() {
  printf '\n== %s\n' "$1"
  shift
  echo "\$ $*"
  "$@"
}

echo "This takes $expected. Stop it whenever you like: started again, it goes on where it was."
step "1 of 3: PB2 on four source contexts; what happens is remembered" \
  metapbt run --multirun "env=$env" method=pb2 "$sources" "${budget[@]}" "results_dir=$results/sources"
step "2 of 3: two other contexts, without tuning, with PB2, and with PB2 that remembers" \
  metapbt run --multirun "env=$env" method=default,pb2,meta_pb2 "$targets" "$seeds" "${budget[@]}" \
  "results_dir=$results/targets" "meta.results_dir=$results/sources"
step "3 of 3: did memory help?" \
  metapbt report "$results"
