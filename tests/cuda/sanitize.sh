#!/bin/bash
# Runs every kernel family of attention under compute-sanitizer's memcheck, synccheck and racecheck on a
# small sweep, several at a time, and prints a line for each: what was checked, what was reported.
#   sanitize.sh PROGRAMS OUT [SECONDS]
# PROGRAMS: folder of check_main and check_step (docs/kernels/lightning_sm80.md says how they are built);
# OUT: folder for the logs; SECONDS: time limit of one run, 60 unless told. JOBS: runs at once, 8.
# Exit status 1 where memcheck or synccheck reported something or a program failed. racecheck follows
# neither mbarriers nor the copy engine: what it reports is told, not judged (docs/kernels/sweep.md).
set -u
programs=${1:?folder of check_main and check_step} out=${2:?folder for the logs} limit=${3:-60}
mkdir -p "$out"
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer \
  /usr/local/cuda*/compute-sanitizer/compute-sanitizer 2> /dev/null | head -n 1)
[ -n "$sanitizer" ] || { echo "sanitize.sh: compute-sanitizer: not found, expected on PATH or below /usr/local/cuda" >&2; exit 2; }

# The programs' own kernels, the reference in fp64 among them, are not what is checked.
kernels=()
for name in sweep chunk upload scan general mma fma step; do kernels+=(--kernel-name "kns=${name}_kernel"); done

# name, program and arguments; a space behind a name keeps the variants of it out
families=(
  "sweep64|check_main|sweep64 |small" "sweep64-single|check_main|sweep64-single|small"
  "sweep64-pair|check_main|sweep64-pair|small" "sweep128|check_main|sweep128 |small"
  "sweep128-single|check_main|sweep128-single|small" "sweep256|check_main|sweep256 |small"
  "sweep256-single|check_main|sweep256-single|small" "chunk128|check_main|chunk128|small"
  "general|check_main|general|small" "mma64|check_main|mma64|small|older"
  "mma128|check_main|mma128|small|older" "mma256|check_main|mma256|small|older"
  "fma64|check_main|fma64|small|older" "fma128|check_main|fma128|small|older"
  "fma256|check_main|fma256|small|older" "step|check_step|small")

check() {  # tool, family
  local name program arguments log seconds=$SECONDS status reports cases
  IFS='|' read -r name program rest <<< "$2"
  IFS='|' read -r -a arguments <<< "$rest"
  log="$out/$1-$name.txt"
  timeout -k 5 "$limit" "$sanitizer" --tool "$1" --error-exitcode 9 --print-limit 20 "${kernels[@]}" \
    "$programs/$program" "${arguments[@]}" > "$log" 2>&1
  status=$?
  reports=$(grep -c '^========= \(Error\|Warning\|Invalid\|Barrier\|Divergent\|Program hit\)' "$log")
  cases=$(grep -c '^ok ' "$log")
  case $status in
    0) verdict=clean ;;
    9) verdict="$(grep 'SUMMARY' "$log" | tail -n 1 | sed 's/^=* *//')" ;;
    124 | 137) verdict="not finished in $limit s" ;;
    *) verdict="exit status $status" ;;
  esac
  printf '%-10s %-16s %3d cases, %3d s, %d reports: %s\n' "$1" "$name" "$cases" $((SECONDS - seconds)) \
    "$reports" "$verdict" | tee "$out/$1-$name.line"
}

for tool in memcheck synccheck racecheck; do
  for family in "${families[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-8}" ]; do wait -n; done
    check "$tool" "$family" &
  done
done
wait
! grep -L ': clean' "$out"/memcheck-*.line "$out"/synccheck-*.line | grep -q .
