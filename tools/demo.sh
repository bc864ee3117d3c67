#!/usr/bin/env bash
# `make demo`: a small model from nothing, on real English text. Everything lies in demo/; what is
# there already is used again, so a demo that was interrupted goes on where it stopped.
#   TEXT=PATH  a text file or a folder of them      STEPS=N  training steps
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tnl=build/tnl
demo=demo
steps="${STEPS:-700}"
source="${TEXT:-python3.11-doc}"
heldout=$demo/text/heldout.txt
interrupted=0

# Ctrl-C reaches the command of the moment, too, which leaves a checkpoint or nothing half-written.
# This script outlives it to say how to go on.
trap 'interrupted=1' INT TERM

run() {
  "$@" || {
    status=$?
    [ "$interrupted" -eq 0 ] || echo "demo: stopped; make demo goes on from here"
    exit "$status"
  }
  [ "$interrupted" -eq 0 ] || {
    echo "demo: stopped; make demo goes on from here"
    exit 130
  }
}

step() {
  printf '\n== %s\n' "$*"
}

prepare_text() {
  if [ -e $demo/text/source ]; then
    local found
    found="$(cat $demo/text/source)"
    [ "$found" = "$source" ] || {
      echo "demo: the folder $demo holds a demo with $found, not with $source; remove it first" >&2
      exit 2
    }
  else
    run tools/demo_text.sh $demo/text "${TEXT:-}"
  fi
  echo "$(find $demo/text/train -type f | wc -l) documents of" \
    "$(cat $demo/text/train/* | wc -c) bytes to learn from;" \
    "$(wc -c <$heldout) bytes held out, which nothing below trains on"
}

train() {
  if [ -e $demo/run/run.json ]; then
    run $tnl train --resume $demo/run
  else
    # Small batches: on so few tokens more steps teach more than smoother ones.
    run $tnl train --run $demo/run --data $demo/data --preset 6m --steps "$steps" \
      --batch-tokens 2048 --sequence-length 512 --eval-every 100 --eval-tokens 16384 \
      --checkpoint-every 50
  fi
}

bits_per_byte() {  # BYTES_OF_CODE
  awk -v code="$1" -v text="$(wc -c <$heldout)" 'BEGIN { printf "%.3f", 8 * code / text }'
}

compare() {
  run $tnl eval --model $demo/run/model --text $heldout --json >$demo/eval.json
  local model
  model="$(sed -n 's/.*"bits_per_byte": *\([0-9.]*\).*/\1/p' $demo/eval.json)"
  echo "bits per byte of $heldout; each sees these bytes alone, from the first to the last,"
  echo "but the model has learned from the other documents before:"
  printf '  %-10s %s\n' "gzip -9" "$(bits_per_byte "$(gzip -9 <$heldout | wc -c)")" \
    "xz -9e" "$(bits_per_byte "$(xz -9e <$heldout | wc -c)")" "this model" "$(printf %.3f "$model")"
}

step "Text: $source"
prepare_text

step "Tokenizer: SentencePiece with 4096 pieces"
if [ ! -e $demo/tokenizer/tokenizer.model ]; then
  mkdir -p $demo/tokenizer
  run $tnl tokenizer train --vocab-size 4096 --output $demo/tokenizer/tokenizer.model \
    $demo/text/train/*
else
  echo "$demo/tokenizer/tokenizer.model is there"
fi

step "Data: documents to token shards"
if [ ! -e $demo/data/index.json ]; then
  run $tnl data pack $demo/text/train --tokenizer $demo/tokenizer --output $demo/data
else
  echo "$demo/data is there"
fi

step "Training: preset 6m; Ctrl-C leaves a checkpoint"
if [ ! -e $demo/run/model/config.json ]; then
  train
else
  echo "$demo/run/model is there"
fi

step "What it has learned"
compare

step "Loss plot"
run $tnl plot $demo/run --output $demo/loss.svg

step "A sample"
run $tnl generate --model $demo/run/model --prompt "The following example shows how to" \
  --max-tokens 200 --temperature 0.8 --top-p 0.95 --seed 1
printf '\n\nThe model is in %s; more of it: %s generate --model %s --prompt "..."\n' \
  $demo/run/model $tnl $demo/run/model
