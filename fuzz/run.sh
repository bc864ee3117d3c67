#!/usr/bin/env bash
# Runs the fuzz targets of build-fuzz (cmake --preset fuzz && cmake --build --preset fuzz).
#   fuzz/run.sh short [TARGET...]              every seed, then as many mutations of them as CI makes: the
#                                              same ones each time
#   fuzz/run.sh campaign SECONDS [TARGET...]   for so long each; what is found lies in build-fuzz/found
# A finding goes to fuzz/corpus/TARGET/found-NAME with its fix, where every later run begins with it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build-fuzz
mode="${1:-}"
case "$mode" in
  short) shift && budget=(-runs=3000) ;;
  campaign) budget=("-max_total_time=$2") && shift 2 ;;
  *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
esac
[ $# -gt 0 ] || set -- $(cd fuzz && ls ./*.cc | sed 's|./\(.*\)\.cc|\1|')

# Debian's SentencePiece is not instrumented, so containers that cross into it cannot be checked
# element by element.
export ASAN_OPTIONS=detect_container_overflow=0 UBSAN_OPTIONS=print_stacktrace=1
mkdir -p "$build/found"
grown="$(mktemp -d)"  # inputs that reach new code; the seeds stay as they are
trap 'rm -rf "$grown"' EXIT
for target in "$@"; do
  mkdir -p "$grown/$target"
  "$build/fuzz/fuzz-$target" "${budget[@]}" -seed=1 -max_len=16384 -rss_limit_mb=2048 -timeout=20 \
    -print_final_stats=1 -artifact_prefix="$build/found/$target-" "$grown/$target" \
    "fuzz/corpus/$target" >"$build/found/$target.log" 2>&1 || {
    tail -40 "$build/found/$target.log"
    exit 1
  }
  awk -v target="$target" '/DONE/          { cover = $4 }
    /executed_units/ { runs = $2 }
    /peak_rss/       { memory = $2 }
    END { printf "%-16s %9d runs, %5d edges, %4d MB, nothing found\n", target, runs, cover, memory }' \
    "$build/found/$target.log"
done
