# shellcheck shell=bash
# shellcheck disable=SC2154 # lower-case names of a stage come from read, settings from `setting`
#
# Stage 5: a recipe's name in, trained and merged models out, through ms-swift. The scripts beside
# this file call run_recipe; the flags of `swift rlhf`, `swift sft` and `swift export` stand in
# train_command and merge, and every setting below can be given in the environment:
#
#   EPOCHS=2 MODEL=~/checkpoints/mine bash train_scripts/run.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16"
#   DRY_RUN=1 bash train_scripts/run.sh ...     # print every swift command, run nothing
#
# A stage's folder is exp/<GROUP>/outputs/<the recipe's name up to it>/, in it
# v<k>-<time>/checkpoint-<n>, checkpoint-<n>-merged, and stage.json: settings, versions, commands.

set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SHAPING=()   # names of the settings that shape the weights: a stage made with others is not shared
RUNNING=()   # and of those that do not
CHILD=       # process group of the swift command that runs

# ---- settings -----------------------------------------------------------------------------------

# What is known of a base model by its name: checkpoint, swift's model_type and template, pixels of the
# side of a visual token (patches of 14 or 16 pixels, merged 2 x 2). Where it differs from the paper's models:
# pixels of a frame at least, of a video at most, and whether activations are computed again.
known_model() {
  case $1 in
    toyvl) echo "inference/toyvl qwen2_vl toyvl 28 784 784 false" ;;
    qwen25vl7b) echo "Qwen/Qwen2.5-VL-7B-Instruct qwen2_5_vl qwen2_5_vl 28" ;;
    qwen2vl7b) echo "Qwen/Qwen2-VL-7B-Instruct qwen2_vl qwen2_vl 28" ;;
    mimovl) echo "XiaomiMiMo/MiMo-VL-7B-SFT qwen2_5_vl mimo_vl 28" ;;
    qwen3vl8b) echo "Qwen/Qwen3-VL-8B-Instruct qwen3_vl qwen3_vl 32" ;;
  esac
}

# Usage: BASE NAME; every default is the paper's, or swift's own written out.
settings() {
  local base=$1 checkpoint type chat side least most recompute plugin=
  read -r checkpoint type chat side least most recompute <<<"$(known_model "$base")"
  # The one that the repository holds.
  if [[ $base == toyvl ]]; then checkpoint=$REPO/$checkpoint; fi

  # Where things are.
  running GROUP "${base}_temple_sft60k"      # experiments of one group share the stages they have in common
  running DATA_DIR "$REPO/swift_data"        # holds the rows of every stage
  running EXP_DIR "$REPO/exp"                # takes the checkpoints
  running DATA_MODEL "$base"                 # whose pairs DPO trains on
  running DATA_ITER 0                        # round of self-generation of these pairs
  running MODEL "$checkpoint"                # folder or id of the base model
  running USE_HF 1                           # 1: ids are Hugging Face's, 0: ModelScope's

  # The model.
  shaping MODEL_TYPE "$type"
  shaping TEMPLATE "${chat:-$MODEL_TYPE}"
  if [[ $TEMPLATE == toyvl ]]; then plugin=$REPO/train_scripts/toyvl_template.py; fi
  running PLUGIN "$plugin"                   # a Python file for --external_plugins: a template of one's own
  shaping TORCH_DTYPE auto                   # auto: bfloat16 on a GPU, float32 on a CPU

  # How a video is seen: frames a second, at most so many, pixels of a frame at least, and of all frames
  # at most, two frames counted as one.
  shaping FPS 1
  shaping FPS_MAX_FRAMES 600
  shaping VIDEO_MIN_PIXELS "${least:-3136}"
  shaping VIDEO_TOTAL_PIXELS "${most:-9000000}"
  # qwen-vl-utils 0.0.14 no longer reads VIDEO_TOTAL_PIXELS: it takes 0.9 * MODEL_SEQ_LEN visual tokens.
  shaping MODEL_SEQ_LEN $((VIDEO_TOTAL_PIXELS * 10 / (${side:-28} * ${side:-28} * 9)))

  # Training. Learning rate, LoRA rank and alpha, global batch and `freeze` are in the recipe's name.
  shaping EPOCHS 1                           # passes over a stage's rows
  shaping MAX_LENGTH 16384                   # tokens a row, video included; swift takes others in place of longer ones
  shaping WARMUP_RATIO 0.05                  # share of the steps in which the learning rate rises
  shaping LR_SCHEDULER cosine
  shaping TARGET_MODULES all-linear          # layers that get a LoRA
  shaping FREEZE_ALIGNER true                # leave the layers between vision tower and language model as they are
  shaping SEED 42
  shaping EXTRA_FLAGS ""                     # further flags of swift rlhf and swift sft, split at spaces

  # DPO's loss. ms-swift 3.7, which the paper used, added 1.0 x the SFT loss on the chosen answer by
  # default; later ones do not, so it is asked for. 0: no such term.
  shaping RPO_ALPHA 1.0
  shaping BETA 0.1                           # strength of the pull towards the model before the stage
  shaping LOSS_TYPE sigmoid                  # several, split at spaces, with LOSS_WEIGHTS
  shaping LOSS_WEIGHTS ""
  shaping LD_ALPHA ""                        # below 1: the part in which one answer is longer counts less

  # Running.
  running VAL auto                           # held-out rows: auto: <rows>_val.json where it is there, none, or a file
  running EVAL_STEPS 50000                   # and at the end of a stage
  running SAVE_STEPS 500
  running LOGGING_STEPS 5
  running WORKERS 8                          # processes that load rows, on each GPU
  running PER_DEVICE_BATCH 1                 # rows a GPU takes at once; the rest of the global batch is accumulated
  running GRADIENT_CHECKPOINTING "${recompute:-true}"   # compute activations again: less memory, more time
  running REPORT_TO tensorboard
  running DEVICE auto                        # auto: GPUs, and a mistake where there are none; cuda, cpu
  running DEEPSPEED auto                     # auto: zero2 where DeepSpeed and a GPU are there; empty: off
  running ATTN_IMPL auto                     # auto: flash_attn where it and a GPU are there, else sdpa
  DRY_RUN=${DRY_RUN:-0}

  DATA_DIR=$(absolute "$DATA_DIR")
  EXP_DIR=$(absolute "$EXP_DIR")
  OUTPUTS=$EXP_DIR/$GROUP/outputs
  [[ -e $MODEL ]] && MODEL=$(absolute "$MODEL")
  [[ $VAL == auto || $VAL == none ]] || VAL=$(absolute "$VAL")
  [[ -n $MODEL ]] || fail "the model '$base' is not known by name (known: qwen25vl7b qwen2vl7b mimovl qwen3vl8b toyvl): give its folder or id as MODEL and its type in swift as MODEL_TYPE"
  [[ -n $MODEL_TYPE ]] || fail "the type of '$base' is not known: give it as MODEL_TYPE, such as qwen2_5_vl"
  export FPS FPS_MAX_FRAMES VIDEO_MIN_PIXELS VIDEO_TOTAL_PIXELS MODEL_SEQ_LEN USE_HF
  # A plugin may import the toolkit's rooms.
  if [[ -n $PLUGIN ]]; then export PYTHONPATH=$REPO${PYTHONPATH:+:$PYTHONPATH}; fi
}

shaping() { printf -v "$1" %s "${!1-$2}"; SHAPING+=("$1"); }
running() { printf -v "$1" %s "${!1-$2}"; RUNNING+=("$1"); }

# ---- the machine --------------------------------------------------------------------------------

# Which swift, of which version, and with what beside it. Sets SWIFT, PYTHON, TUNER_FLAG, VERSIONS.
find_swift() {
  local swift python
  swift=$(command -v swift || true)
  SWIFT=swift
  if [[ -z $swift ]]; then
    swift=$REPO/.venv/bin/swift SWIFT=$REPO/.venv/bin/swift
    [[ -x $swift ]] || fail "swift is not installed: pip install -r requirements.txt, or put its folder on PATH"
  fi
  # Its first lines name the Python that it runs in; a long path stands in the second.
  python=$(head -n 2 "$swift" | sed -nE "s/^#!(.*python[0-9.]*).*$/\1/p; s/^'''exec' \"?([^\"]*python[0-9.]*)\"? .*$/\1/p" | head -n 1)
  python=${python#/usr/bin/env }
  python=${python:-python3}
  PYTHON=${PYTHON:-$python}
  VERSIONS=$("$python" -c '
from importlib.metadata import PackageNotFoundError, version
for name in "ms-swift transformers torch trl peft deepspeed flash-attn qwen-vl-utils decord torchcodec".split():
    try:
        print(f"{name}={version(name)}")
    except PackageNotFoundError:
        pass')
  case $(version_of ms-swift) in
    3.*) TUNER_FLAG=--train_type ;;
    4.*) TUNER_FLAG=--tuner_type ;;
    "") fail "$swift is not ms-swift's: no such package in $python" ;;
    *) fail "ms-swift $(version_of ms-swift) is not supported: install 3.7 or later, or 4 (pip install -r requirements.txt)" ;;
  esac
  if [[ -n ${LD_ALPHA:-} && $(version_of ms-swift) == 3.[0-7].* ]]; then fail "LD_ALPHA needs ms-swift 3.8 or later, here is $(version_of ms-swift)"; fi
  [[ -n $(version_of decord)$(version_of torchcodec) ]] ||
    fail "swift has no reader of videos: pip install decord, where $python is"
}

version_of() { sed -n "s/^$1=//p" <<<"$VERSIONS"; }

# How many GPUs swift would see.
visible_gpus() {
  local installed named
  installed=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU' || true)
  if [[ -z ${CUDA_VISIBLE_DEVICES+set} ]]; then
    echo "$installed"
    return
  fi
  named=$(tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -cvE '^\s*(-1)?$' || true)
  echo $((named < installed ? named : installed))
}

# Settles DEVICE, TORCH_DTYPE, DEEPSPEED, ATTN_IMPL and how many processes train.
find_devices() {
  local gpus
  gpus=$(visible_gpus)
  if [[ $DEVICE == auto ]]; then
    DEVICE=cuda
    if ((gpus == 0)); then
      [[ $DRY_RUN == 1 ]] || fail "no GPU is visible: DEVICE=cpu trains without one"
      DEVICE=cpu
    fi
  fi
  case $DEVICE in
    cuda)
      if ((gpus == 0)); then
        [[ $DRY_RUN == 1 ]] || fail "DEVICE=cuda, and no GPU is visible"
        gpus=${NPROC_PER_NODE:-1}
      fi
      export NPROC_PER_NODE=${NPROC_PER_NODE:-$gpus}
      ((NPROC_PER_NODE == gpus)) || fail "NPROC_PER_NODE=$NPROC_PER_NODE, and $gpus GPUs are visible: one process a GPU; name the GPUs to use in CUDA_VISIBLE_DEVICES"
      if [[ $TORCH_DTYPE == auto ]]; then TORCH_DTYPE=bfloat16; fi
      if [[ $DEEPSPEED == auto ]]; then
        DEEPSPEED=zero2
        if [[ -z $(version_of deepspeed) ]]; then
          DEEPSPEED=
          say "DeepSpeed is not installed: training without ZeRO-2"
        fi
      fi
      if [[ $ATTN_IMPL == auto ]]; then
        ATTN_IMPL=flash_attn
        if [[ -z $(version_of flash-attn) ]]; then
          ATTN_IMPL=sdpa
          say "flash-attn is not installed: attention by PyTorch (sdpa)"
        fi
      fi
      ;;
    cpu)
      say "no GPU: training on the CPU, without DeepSpeed and flash-attention"
      export CUDA_VISIBLE_DEVICES=  # swift takes a GPU that it sees
      if [[ $TORCH_DTYPE == auto ]]; then TORCH_DTYPE=float32; fi
      if [[ $DEEPSPEED == auto ]]; then DEEPSPEED=; fi
      if [[ $ATTN_IMPL == auto ]]; then ATTN_IMPL=sdpa; fi
      ;;
    *) fail "DEVICE=$DEVICE: auto, cuda or cpu" ;;
  esac
  if ((${NNODES:-1} > 1)); then
    [[ -n ${NODE_RANK:-} && -n ${MASTER_ADDR:-} ]] || fail "NNODES=$NNODES needs NODE_RANK (0 to $((NNODES - 1))) and MASTER_ADDR (the machine of rank 0)"
    export NNODES NODE_RANK MASTER_ADDR MASTER_PORT=${MASTER_PORT:-29500} NPROC_PER_NODE=${NPROC_PER_NODE:-1}
  elif [[ -n ${NPROC_PER_NODE:-} ]]; then
    unset NNODES NODE_RANK
    export NPROC_PER_NODE
    # Two experiments on one machine must not meet at one port.
    if [[ -z ${MASTER_PORT:-} && $DRY_RUN != 1 ]]; then
      MASTER_PORT=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
    fi
    export MASTER_PORT
  else
    unset NNODES NODE_RANK
  fi
  PROCESSES=$((${NPROC_PER_NODE:-1} * ${NNODES:-1}))
  RUNNING+=(PROCESSES)
}

# ---- swift's commands ---------------------------------------------------------------------------

# Usage: train_command MODEL ROWS HELD_OUT [CHECKPOINT]; reads the stage's fields; fills COMMAND.
train_command() {
  local model=$1 rows=$2 held_out=$3 resume=${4:-}
  # shellcheck disable=SC2206 # LOSS_TYPE and LOSS_WEIGHTS may hold several words
  if [[ $kind == dpo ]]; then
    COMMAND=("$SWIFT" rlhf --rlhf_type dpo --beta "$BETA" --loss_type $LOSS_TYPE --rpo_alpha "$RPO_ALPHA")
    if [[ -n $LOSS_WEIGHTS ]]; then COMMAND+=(--loss_weights $LOSS_WEIGHTS); fi
    if [[ -n $LD_ALPHA ]]; then COMMAND+=(--ld_alpha "$LD_ALPHA"); fi
  else
    COMMAND=("$SWIFT" sft)
  fi
  COMMAND+=(
    --model "$model" --model_type "$MODEL_TYPE" --template "$TEMPLATE" --check_model false
    --dataset "$rows" --split_dataset_ratio 0
  )
  if [[ -n $held_out ]]; then COMMAND+=(--val_dataset "$held_out"); fi
  COMMAND+=(
    "$TUNER_FLAG" lora --lora_rank "$rank" --lora_alpha "$alpha" --target_modules "$TARGET_MODULES"
    --freeze_vit "$freeze" --freeze_aligner "$FREEZE_ALIGNER"
    --torch_dtype "$TORCH_DTYPE" --attn_impl "$ATTN_IMPL"
    --learning_rate "$lr" --lr_scheduler_type "$LR_SCHEDULER" --warmup_ratio "$WARMUP_RATIO"
    --num_train_epochs "$EPOCHS" --max_length "$MAX_LENGTH"
    --per_device_train_batch_size "$PER_DEVICE_BATCH" --per_device_eval_batch_size "$PER_DEVICE_BATCH"
    --gradient_accumulation_steps "$(accumulation "$batch")"
    --eval_steps "$EVAL_STEPS" --save_steps "$SAVE_STEPS" --logging_steps "$LOGGING_STEPS"
    --dataloader_num_workers "$WORKERS" --dataset_num_proc "$((WORKERS > 0 ? WORKERS : 1))"
    --report_to "$REPORT_TO" --seed "$SEED" --output_dir "$folder"
  )
  if [[ $GRADIENT_CHECKPOINTING == false ]]; then COMMAND+=(--gradient_checkpointing false); fi
  if [[ -n $DEEPSPEED ]]; then COMMAND+=(--deepspeed "$DEEPSPEED"); fi
  if [[ -n $resume ]]; then COMMAND+=(--resume_from_checkpoint "$resume"); fi
  if [[ -n $PLUGIN ]]; then COMMAND+=(--external_plugins "$PLUGIN"); fi
  # shellcheck disable=SC2206 # split at spaces
  COMMAND+=($EXTRA_FLAGS)
}

# Usage: merge MODEL CHECKPOINT; LoRA and model become <checkpoint>-merged, whole or not at all.
merge() {
  local model=$1 checkpoint=$2
  if [[ $DRY_RUN != 1 ]]; then rm -rf "$checkpoint-merging"; fi
  local command=("$SWIFT" export --model "$model" --adapters "$checkpoint" --merge_lora true --output_dir "$checkpoint-merging")
  if [[ -n $PLUGIN ]]; then command+=(--external_plugins "$PLUGIN"); fi
  run "${command[@]}"
  run mv -T "$checkpoint-merging" "$checkpoint-merged"
}

# How many rows one after the other make the global batch.
accumulation() {
  local at_once=$((PROCESSES * PER_DEVICE_BATCH))
  (($1 % at_once == 0)) || fail "a global batch of $1 cannot be shared by $PROCESSES processes of $PER_DEVICE_BATCH rows: use a number of GPUs that divides it, or another bs<n> in the recipe's name"
  echo $(($1 / at_once))
}

# ---- a stage, and the chain of them -------------------------------------------------------------

# Usage: train_stage FIELDS (a line of tools.training.recipe); START is the model it starts from, and then its own.
train_stage() {
  local name kind lr rank alpha batch freeze file
  IFS=$'\t' read -r name kind lr rank alpha batch freeze file <<<"$1"
  local folder=$OUTPUTS/$name rows=$DATA_DIR/$file state checkpoint made_with held_out
  say
  say "== $name"
  held_out=$(held_out_rows "$rows")
  lock "$folder"
  made_with=(MODEL="${START#"$OUTPUTS"/}")
  local setting
  for setting in "${SHAPING[@]}"; do
    [[ $kind == sft && " RPO_ALPHA BETA LOSS_TYPE LOSS_WEIGHTS LD_ALPHA " == *" $setting "* ]] || made_with+=("$setting=${!setting}")
  done
  state=new checkpoint=
  if [[ -d $folder ]]; then
    state=$(tool stages state "$folder" --rows "$rows" --made_with "${made_with[@]}")
    IFS=$'\t' read -r state checkpoint <<<"$state"
  fi

  case $state in
    merged) say "finished: $checkpoint" ;;
    trained) say "trained: $checkpoint" ;;
    partial) say "goes on from $checkpoint" ;;
  esac
  if [[ $state == new || $state == partial ]]; then
    train_command "$START" "$rows" "$held_out" "$checkpoint"
    note_run "$folder" "$rows"
    run "${COMMAND[@]}"
    checkpoint="$folder/v<k>-<time>/checkpoint-<n>"
    if [[ $DRY_RUN != 1 ]]; then
      state=$(tool stages state "$folder")
      IFS=$'\t' read -r state checkpoint <<<"$state"
      [[ $state == trained || $state == merged ]] || fail "swift ended, and left no finished checkpoint in $folder"
    fi
  fi
  if [[ $state != merged ]]; then
    if [[ $DRY_RUN == 1 ]] || ((${NODE_RANK:-0} == 0)); then
      merge "$START" "$checkpoint"
    else
      await "$checkpoint-merged"
    fi
    checkpoint=$checkpoint-merged
  fi
  unlock
  START=$checkpoint
}

# Usage: run_recipe NAME
run_recipe() {
  (($# == 1)) || fail "one recipe's name is needed, such as qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16-r8-r4-r2=lr1e-4_r32_a32_bs16_sft60k"
  local table stages stage
  trap 'stop' INT TERM HUP
  find_swift
  table=$(tool recipe "$1" --data_model "${DATA_MODEL-}" --data_iter "${DATA_ITER-0}")
  settings "${1%%=*}"
  mapfile -t stages <<<"$table"
  find_devices
  describe "$1"
  for stage in "${stages[@]}"; do accumulation "$(cut -f 6 <<<"$stage")" >/dev/null; done
  check "$1"
  START=$MODEL
  for stage in "${stages[@]}"; do train_stage "$stage"; done
  say
  say "done: $START"
}

# Settings and versions, as they are.
describe() {
  local setting
  say "recipe $1"
  for setting in "${SHAPING[@]}" "${RUNNING[@]}"; do say "  $setting=${!setting}"; done
  say "versions:" "$(tr '\n' ' ' <<<"$VERSIONS")"
  say "for the commands below: export FPS=$FPS FPS_MAX_FRAMES=$FPS_MAX_FRAMES VIDEO_MIN_PIXELS=$VIDEO_MIN_PIXELS" \
    "VIDEO_TOTAL_PIXELS=$VIDEO_TOTAL_PIXELS MODEL_SEQ_LEN=$MODEL_SEQ_LEN USE_HF=$USE_HF${NPROC_PER_NODE:+ NPROC_PER_NODE=$NPROC_PER_NODE}${NNODES:+ NNODES=$NNODES NODE_RANK=$NODE_RANK MASTER_ADDR=$MASTER_ADDR MASTER_PORT=$MASTER_PORT}"
}

# What can be known to go wrong, before a GPU is used: rows, videos, model, disk.
check() {
  local mode=()
  if [[ $DRY_RUN == 1 ]]; then mode=(--only_say); fi
  if ((${NODE_RANK:-0} > 0)); then mode+=(--read_only); fi
  tool preflight "$1" --outputs "$OUTPUTS" --data_dir "$DATA_DIR" --data_model "$DATA_MODEL" \
    --data_iter "$DATA_ITER" --model "$MODEL" --template "$TEMPLATE" --val "$VAL" --max_length "$MAX_LENGTH" \
    --fps "$FPS" --fps_max_frames "$FPS_MAX_FRAMES" --video_min_pixels "$VIDEO_MIN_PIXELS" \
    --video_total_pixels "$VIDEO_TOTAL_PIXELS" "${mode[@]}"
}

held_out_rows() {
  case $VAL in
    none) ;;
    # Shorter than 4 bytes, the file is an empty array.
    auto) if [[ -n $(find "${1%.json}_val.json" -size +3c 2>/dev/null) ]]; then echo "${1%.json}_val.json"; fi ;;
    *) echo "$VAL" ;;
  esac
}

note_run() {
  [[ $DRY_RUN == 1 ]] || ((${NODE_RANK:-0} > 0)) && return
  local setting how=()
  for setting in "${RUNNING[@]}"; do how+=("$setting=${!setting}"); done
  mapfile -t -O ${#how[@]} how <<<"$VERSIONS"
  tool stages note "$1" --rows "$2" --made_with "${made_with[@]}" --run "${how[@]}" --command "${COMMAND[@]}"
}

# ---- plumbing -----------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 2
}

absolute() { realpath -ms "$1"; }

tool() { (cd "$REPO" && exec "$PYTHON" -m "tools.training.$1" "${@:2}"); }

# Prints a command, then runs it in a process group of its own, so that all of it can be ended.
run() {
  local word line=
  for word in "$@"; do
    if [[ $word == --* ]]; then line+=$' \\\n   '; fi
    line+=" $(shown "$word")"
  done
  say "${line# }"
  if [[ $DRY_RUN == 1 ]]; then return; fi
  set -m
  "$@" </dev/null &
  CHILD=$!
  set +m
  local status=0
  wait "$CHILD" || status=$?
  CHILD=
  ((status == 0)) || fail "this command ended with status $status: $1 ${2:-} (its messages are above); the same call goes on from the last checkpoint"
}

# A word as a shell reads it; a place that is not known yet stays readable.
shown() { if [[ $1 == *'<k>'* ]]; then printf '"%s"' "$1"; else printf %q "$1"; fi; }

stop() {
  trap '' INT TERM HUP
  if [[ -n $CHILD ]]; then
    kill -TERM -- "-$CHILD" 2>/dev/null || true
    for _ in {1..50}; do
      kill -0 -- "-$CHILD" 2>/dev/null || break
      sleep 0.2
    done
    kill -KILL -- "-$CHILD" 2>/dev/null || true
  fi
  printf '\ninterrupted: the same call goes on from the last checkpoint\n' >&2
  exit 130
}

# One run at a time in a stage's folder; a swift that outlives its script keeps the lock.
lock() {
  if [[ $DRY_RUN == 1 ]] || ((${NODE_RANK:-0} > 0)); then return; fi
  mkdir -p "$1"
  exec 9>>"$1/.lock"
  flock -n 9 || fail "another run is training $1: wait for it or stop it"
}

unlock() { exec 9>&-; }

# Machines other than the first wait for the model that the first one merges.
await() {
  say "waiting for $1"
  until [[ -d $1 ]]; do sleep 2; done
}
