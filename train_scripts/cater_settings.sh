# shellcheck shell=bash
# shellcheck disable=SC2034 # the cater_*.sh scripts use what is set here
#
# What the scripts of CaTeR share. Variables of the environment change it:
#
#   WORLD_SIZE        worker processes (1)
#   CLIP              the frozen encoder: an id of a hub or a folder (openai/clip-vit-base-patch16)
#   CAPTIONER         who writes the lines: a model of models.yaml, a folder, or NAME@URL (qwen2vl7b)
#   TEACHERS          who teaches, parted by blanks (videollava)
#   D_MODEL, EPOCHS   width of the student and passes (CLIP's width, and the default of distillation.train)
#   SEEDS             students of an arm of the suite (5)
#   DATA_ROOT         folder of the data sets
#   PYTHON, VENV      the Python that runs (python), or the environment that it is in
#   DRY_RUN=1         print the commands alone
#
# Arguments of a script go to its last command.

toolkit=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
: "${WORLD_SIZE=1}" "${CLIP=openai/clip-vit-base-patch16}" "${CAPTIONER=qwen2vl7b}" "${TEACHERS=videollava}"
root=(${DATA_ROOT:+--data_root "$DATA_ROOT"})
student=(${D_MODEL:+--d_model "$D_MODEL"} ${EPOCHS:+--epochs "$EPOCHS"})
export PYTHONPATH=$toolkit${PYTHONPATH:+:$PYTHONPATH}

# run MODULE ARGUMENT...: run a command of the toolkit.
python=${PYTHON:-${VENV:+$VENV/bin/}python}
run() { if [[ ${DRY_RUN:-} == 1 ]]; then printf '%q ' "$python" -m "$@" && echo; else "$python" -m "$@"; fi; }

# prepare DATASET: lines, features, and what the teachers think of the training questions.
prepare() {
  for kind in event frame; do
    run distillation.prompts "$1" "$WORLD_SIZE" --kind "$kind" --model "$CAPTIONER" "${root[@]}"
  done
  run distillation.features "$1" "$WORLD_SIZE" --clip "$CLIP" "${root[@]}"
  for teacher in $TEACHERS; do
    run distillation.teach "$1" "$WORLD_SIZE" --teacher_name "$teacher" --split train "${root[@]}"
  done
}
