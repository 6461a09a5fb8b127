# shellcheck shell=bash
# shellcheck disable=SC2034 # dpo.sh, simpo.sh, sft.sh and merge.sh use what is set here
#
# The settings that dpo.sh, simpo.sh, sft.sh and merge.sh share, each with its default: the paper's, or swift's own written out.
# A variable of the environment changes one, by hand and through run.sh:
#
#   EPOCHS=2 SAVE_STEPS=100 bash train_scripts/run.sh "qwen25vl7b=lr5e-6_r32_a64_bs16_freeze_r16"
#
# tools/training/scripts.py reads the lines that begin with `: "${NAME=`. Those above the line "Running" shape the
# weights: a stage's stage.json notes them, and a stage that was trained with other values is refused.

toolkit=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")

# What is known of a base model by its name; run.sh takes BASE from the recipe.
case ${BASE:-} in
  qwen25vl7b) : "${MODEL=Qwen/Qwen2.5-VL-7B-Instruct}" "${MODEL_TYPE=qwen2_5_vl}" ;;
  qwen2vl7b) : "${MODEL=Qwen/Qwen2-VL-7B-Instruct}" "${MODEL_TYPE=qwen2_vl}" ;;
  mimovl) : "${MODEL=XiaomiMiMo/MiMo-VL-7B-SFT}" "${MODEL_TYPE=qwen2_5_vl}" "${TEMPLATE=mimo_vl}" ;;
  qwen3vl8b) : "${MODEL=Qwen/Qwen3-VL-8B-Instruct}" "${MODEL_TYPE=qwen3_vl}" "${TOKEN_SIDE=32}" ;;
  toyvl) : "${MODEL=$toolkit/inference/toyvl}" "${MODEL_TYPE=qwen2_vl}" "${TEMPLATE=toyvl}" \
    "${VIDEO_MIN_PIXELS=784}" "${VIDEO_TOTAL_PIXELS=784}" "${GRADIENT_CHECKPOINTING=false}" ;;
esac

# On the CPU few steps are made, so each is logged, and rows are loaded by the process that trains. Threads of a
# small model wait for one another longer than they compute.
if [[ ${DEVICE:-} == cpu ]]; then
  : "${TORCH_DTYPE=float32}" "${DEEPSPEED=}" "${ATTN_IMPL=sdpa}" "${WORKERS=0}" "${LOGGING_STEPS=1}"
  if [[ ${TEMPLATE:-} == toyvl ]]; then : "${OMP_NUM_THREADS=1}"; fi
  : "${OMP_NUM_THREADS=$((($(nproc) / ${NPROC_PER_NODE:-1} + 1) / 2))}"
  export OMP_NUM_THREADS CUDA_VISIBLE_DEVICES=   # swift takes a GPU that it sees
  # Without this, accelerate does not connect processes on CPUs: each would train alone.
  if [[ -n ${NPROC_PER_NODE:-} ]]; then export ACCELERATE_USE_CPU=true; fi
fi

# The model: folder or id, swift's names of its architecture and chat template, number format of its weights.
: "${MODEL:?is not known for ${BASE:-}: give a folder or an id of a hub, and its type in swift as MODEL_TYPE}"
: "${MODEL_TYPE:?is not known for ${BASE:-$MODEL}: give its type in swift, such as qwen2_5_vl}"
: "${TEMPLATE=$MODEL_TYPE}"
: "${TORCH_DTYPE=bfloat16}"

# How a video is seen; swift and qwen-vl-utils read these from the environment.
: "${FPS=1}"                         # frames taken per second of video
: "${FPS_MAX_FRAMES=600}"            # frames of a video, at most
: "${VIDEO_MIN_PIXELS=3136}"         # pixels of a frame, at least
: "${VIDEO_TOTAL_PIXELS=9000000}"    # pixels of all frames of a video, at most; two frames count as one
# qwen-vl-utils 0.0.14 no longer reads VIDEO_TOTAL_PIXELS: it takes 0.9 * MODEL_SEQ_LEN visual tokens for a video.
# TOKEN_SIDE: pixels of a visual token's side (patches of 14 or 16 pixels, merged 2 x 2).
: "${MODEL_SEQ_LEN=$((VIDEO_TOTAL_PIXELS * 10 / (${TOKEN_SIDE:-28} * ${TOKEN_SIDE:-28} * 9)))}"

# Training.
: "${EPOCHS=1}"                      # passes over the rows
: "${MAX_LENGTH=16384}"              # tokens of a row, video included; swift replaces longer rows by others
: "${WARMUP_RATIO=0.05}"             # share of the steps in which the learning rate rises
: "${LR_SCHEDULER=cosine}"           # how it falls after that
: "${TARGET_MODULES=all-linear}"     # layers that get LoRA weights
: "${FREEZE_ALIGNER=true}"           # leave the layers between vision tower and language model unchanged
: "${SEED=42}"
: "${EXTRA_FLAGS=}"                  # further flags of swift rlhf and swift sft, split at spaces

# ---- Running: these do not shape the weights ----
# --external_plugins: how videos are read, as stage 1 reads them; empty: by decord, which reads no AV1.
: "${PLUGIN=$toolkit/train_scripts/$([[ $TEMPLATE == toyvl ]] && echo toyvl_template || echo video_reader).py}"
: "${PER_DEVICE_BATCH=1}"            # rows that a GPU takes at once; the rest of the global batch is accumulated
: "${GRADIENT_CHECKPOINTING=}"       # false: more memory, less time; empty: swift's default, true
: "${DEEPSPEED=zero2}"               # empty: without DeepSpeed
: "${ATTN_IMPL=flash_attn}"          # sdpa: PyTorch's own attention
: "${WORKERS=8}"                     # processes that load rows, for each GPU
: "${EVAL_STEPS=50000}"              # steps between evaluations on held-out rows; the last step always evaluates
: "${SAVE_STEPS=500}"                # steps between checkpoints; the last step always saves
: "${LOGGING_STEPS=5}"               # steps between lines of logging.jsonl
: "${REPORT_TO=tensorboard}"         # or wandb, swanlab, none
: "${USE_HF=1}"                      # 1: ids of models are Hugging Face's, 0: ModelScope's

export FPS FPS_MAX_FRAMES VIDEO_MIN_PIXELS VIDEO_TOTAL_PIXELS MODEL_SEQ_LEN USE_HF
# A plugin may import the toolkit's modules.
if [[ -n $PLUGIN ]]; then export PYTHONPATH=$toolkit${PYTHONPATH:+:$PYTHONPATH}; fi

# swift starts NPROC_PER_NODE processes, one a GPU, on each of NNODES machines.
if ((${NNODES:-1} > 1)); then
  : "${NODE_RANK:?is needed: the number of this machine, 0 to $((NNODES - 1))}" "${NPROC_PER_NODE=1}"
  export NNODES NODE_RANK NPROC_PER_NODE MASTER_ADDR=${MASTER_ADDR:?is needed: the machine of NODE_RANK=0}
  export MASTER_PORT=${MASTER_PORT-29500}
else
  unset NNODES NODE_RANK
  # Two experiments on one machine must not meet at one port.
  if [[ -n ${NPROC_PER_NODE:-} && ${DRY_RUN:-} != 1 ]]; then export MASTER_PORT=${MASTER_PORT-$((20000 + RANDOM % 10000))}; fi
fi
PROCESSES=$((${NPROC_PER_NODE:-1} * ${NNODES:-1}))
at_once=$((PROCESSES * PER_DEVICE_BATCH))
if ((${GLOBAL_BATCH:-$at_once} % at_once)); then
  echo "a global batch of $GLOBAL_BATCH cannot be shared by $PROCESSES processes of $PER_DEVICE_BATCH rows: use a" \
    "number of GPUs that divides it, or another bs<n> in the recipe's name" >&2
  exit 2
fi
