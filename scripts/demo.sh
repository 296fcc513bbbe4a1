#!/bin/sh
# What `make demo` runs: a language model, compiled by us, writes a text on this machine.
#   MODEL=path       a Hugging Face directory or a llama2.c checkpoint; TOKENIZER=path beside the latter
#   PROMPT=text      how the text begins
set -eu

orion=build/orion
prompt=${PROMPT:-Once upon a time}

if [ -n "${MODEL:-}" ]; then
  if [ -n "${TOKENIZER:-}" ]; then set -- --tokenizer "$TOKENIZER"; else set --; fi
  echo "$orion infer -m $MODEL $* -p \"$prompt\" -n 200 --temp 0.8 --seed 1"
  exec $orion infer -m "$MODEL" "$@" -p "$prompt" -n 200 --temp 0.8 --seed 1
fi

$orion demo-model build/demo-model
echo "The weights of this model are random, so its words are noise; what you see is the machinery at work."
echo "MODEL=path makes the demo use a trained model: a Hugging Face directory, or a llama2.c file with TOKENIZER=path."
echo "$orion infer -m build/demo-model -p \"$prompt\" -n 64 --temp 0.8 --seed 1"
exec $orion infer -m build/demo-model -p "$prompt" -n 64 --temp 0.8 --seed 1
