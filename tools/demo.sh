#!/usr/bin/env bash
# `make demo`: a small model from nothing, on real English text. Everything lies in demo/; what is
# there already is used again, so an interrupted demo goes on where it stopped.
#   TEXT=PATH  a text file or a folder of them      STEPS=N  training steps
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tnl=build/tnl
demo=demo
steps="${STEPS:-600}"
source="${TEXT:-python3.11-doc}"

say() {
  echo
  echo "== $*"
}

# The training reacts to Ctrl-C by writing a checkpoint; this script has to outlive it.
interrupted=0
trap 'interrupted=1' INT

stop_if_interrupted() {
  [ "$interrupted" -eq 0 ] || {
    echo
    echo "demo: stopped; make demo goes on from here"
    exit 130
  }
}

say "Text: $source"
if [ "$(cat $demo/text/source 2>/dev/null)" != "$source" ]; then
  if [ -e $demo ]; then
    echo "demo: $demo/ holds a demo with another text ($(cat $demo/text/source)); remove it first" >&2
    exit 2
  fi
  tools/demo_text.sh $demo/text "${TEXT:-}"
fi
stop_if_interrupted
documents="$(find $demo/text/train -type f | wc -l)"
bytes="$(cat $demo/text/train/* | wc -c)"
held_out="$(wc -c <$demo/text/heldout.txt)"
echo "$documents documents with $bytes bytes to learn from, $held_out bytes held out"

if [ ! -e $demo/tokenizer/tokenizer.model ]; then
  say "Tokenizer: SentencePiece, 4096 pieces"
  mkdir -p $demo/tokenizer
  $tnl tokenizer train --vocab-size 4096 --output $demo/tokenizer/tokenizer.model $demo/text/train
fi
stop_if_interrupted

if [ ! -e $demo/data/index.json ]; then
  say "Data: token shards"
  $tnl data pack --tokenizer $demo/tokenizer --output $demo/data $demo/text/train
fi
stop_if_interrupted

if [ ! -e $demo/run/model/config.json ]; then
  say "Training: 6m preset, $steps steps"
  if [ -e $demo/run ]; then
    $tnl train --resume $demo/run || status=$?
  else
    $tnl train --preset 6m --data $demo/data --run $demo/run --steps "$steps" || status=$?
  fi
  if [ "${status:-0}" -ne 0 ]; then
    [ "$interrupted" -eq 1 ] && echo "demo: make demo goes on from here, too"
    exit "${status}"
  fi
fi

say "Held-out text: bits per byte"
