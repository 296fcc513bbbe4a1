#!/bin/sh
# What `make demo` runs: a language model, compiled by us, writes a story on this machine, token by token; then it learns
# for 20 steps from stories of its own, and the log says what each update of its weights costs.
#   MODEL=path       a Hugging Face directory or a llama2.c checkpoint; TOKENIZER=path beside the latter. It only writes.
#   PROMPT=text      how the text begins
#   ORION=path       the program; STORIES=n STEPS=n OUT=folder make less of it
set -eu

orion=${ORION:-build/orion}
prompt=${PROMPT:-Once upon a time}
ours=models/stories3m

# Shows a command as one would type it, and runs it.
say() {
  printf '$'
  for word; do
    case $word in
      *[!A-Za-z0-9_./=:,+-]* | '') printf " '%s'" "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  echo
  "$@"
}

if [ -n "${MODEL:-}" ]; then
  if [ -n "${TOKENIZER:-}" ]; then set -- --tokenizer "$TOKENIZER"; else set --; fi
  say "$orion" infer -m "$MODEL" "$@" -p "$prompt" -n 200 --temp 0.8 --seed 1
  exit
fi

say "$orion" infer -m $ours -p "$prompt" -n 250 --temp 0.7 --top-p 0.9 --seed 1

out=${OUT:-build/demo}
stories=${STORIES:-24}
steps=${STEPS:-20}
mkdir -p "$out"
rm -rf "$out/run" "$out/stories.txt"
echo
echo "Now $stories stories of its own, and $steps steps of training on them:"
seed=1
while [ $seed -le "$stories" ]; do
  "$orion" infer --quiet -m $ours -p "" -n 250 --temp 1 --seed $seed >> "$out/stories.txt"
  printf '<|endoftext|>' >> "$out/stories.txt"
  seed=$((seed + 1))
done
say "$orion" train --quiet -m $ours --data "$out/stories.txt" --steps "$steps" --batch 4 --seq 128 --lr 1e-4 --warmup 2 \
  --save-every 0 --out "$out/run"
echo
echo "step     loss   tokens/s   step (ms)   update of the weights (ms)"
sed -n 's/^{"step": \([0-9]*\), "loss": \([0-9.]*\).*"tok_s": \([0-9.]*\), "step_ms": \([0-9.]*\), "update_ms": \([0-9.]*\).*/\1 \2 \3 \4 \5/p' \
  "$out/run/log.jsonl" | while read -r step loss speed ms update; do
  printf '%4d %8.3f %10.0f %11.1f %12.3f\n' "$step" "$loss" "$speed" "$ms" "$update"
done
echo "The curve as a picture: $orion inspect $out/run --svg $out/curve.svg"
