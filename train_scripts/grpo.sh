#!/usr/bin/env bash
# Group relative policy optimization (GRPO) of one model with rewards for order (order_reward.py), which need no labels.
# By hand:
#
#   BASE=qwen25vl7b ROWS=swift_data/qwen25vl7b_i0_order.json OUTPUT_DIR=exp/order NPROC_PER_NODE=8 bash train_scripts/grpo.sh
#
# python -m tools.pairs.order_rows makes the rows. The variables are those of dpo.sh, but for its loss. run.sh calls
# this for a phase on the data `order`. A step takes GLOBAL_BATCH answers, NUM_GENERATIONS to a video.
set -euo pipefail
GLOBAL_BATCH=${GLOBAL_BATCH:-64}
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# The loss.
: "${NUM_GENERATIONS=8}"             # answers to a video, whose rewards are compared with one another
: "${GRPO_BETA=0.04}"                # strength of the pull towards the model before the stage
: "${REWARDS=order reverse}"         # of order_reward.py, or others that swift knows
: "${REWARD_WEIGHTS=1 1}"
: "${ORDER_MATCH=50}"                # least similarity of a clause and a caption that tell the same, 0 to 100
: "${TEMPERATURE=1.0}"
: "${MAX_COMPLETION_LENGTH=512}"     # tokens of an answer
: "${USE_VLLM=false}"                # true: vLLM writes the answers
if ((GLOBAL_BATCH % NUM_GENERATIONS)); then
  echo "a batch of $GLOBAL_BATCH answers cannot be shared by videos of $NUM_GENERATIONS answers each: use another bs<n>" \
    "in the recipe's name, or NUM_GENERATIONS" >&2
  exit 2
fi
export ORDER_MATCH
# settings.sh sees to it where PLUGIN is set.
if [[ -z $PLUGIN ]]; then export PYTHONPATH=$toolkit${PYTHONPATH:+:$PYTHONPATH}; fi

# shellcheck disable=SC2086 # REWARDS, REWARD_WEIGHTS and EXTRA_FLAGS may hold several words
swift rlhf --rlhf_type grpo \
  --beta "$GRPO_BETA" --num_generations "$NUM_GENERATIONS" --reward_funcs $REWARDS --reward_weights $REWARD_WEIGHTS \
  --temperature "$TEMPERATURE" --max_completion_length "$MAX_COMPLETION_LENGTH" --use_vllm "$USE_VLLM" \
  --log_completions true \
  --model "$MODEL" --model_type "$MODEL_TYPE" --template "$TEMPLATE" --check_model false \
  --dataset "${ROWS:?a JSON file of rows}" --split_dataset_ratio 0 ${VAL_ROWS:+--val_dataset "$VAL_ROWS"} \
  "${TUNER_FLAG:---tuner_type}" lora --lora_rank "${LORA_RANK:-32}" --lora_alpha "${LORA_ALPHA:-64}" \
  --target_modules "$TARGET_MODULES" --freeze_vit "${FREEZE_VIT:-true}" --freeze_aligner "$FREEZE_ALIGNER" \
  --torch_dtype "$TORCH_DTYPE" --attn_impl "$ATTN_IMPL" \
  --learning_rate "${LEARNING_RATE:-1e-6}" --lr_scheduler_type "$LR_SCHEDULER" --warmup_ratio "$WARMUP_RATIO" \
  --num_train_epochs "$EPOCHS" --max_length "$MAX_LENGTH" \
  --per_device_train_batch_size "$PER_DEVICE_BATCH" --per_device_eval_batch_size "$PER_DEVICE_BATCH" \
  --gradient_accumulation_steps "$((GLOBAL_BATCH / at_once))" \
  --eval_steps "$EVAL_STEPS" --save_steps "$SAVE_STEPS" --logging_steps "$LOGGING_STEPS" \
  --dataloader_num_workers "$WORKERS" --dataset_num_proc "$((WORKERS > 0 ? WORKERS : 1))" \
  --report_to "$REPORT_TO" --seed "$SEED" --output_dir "${OUTPUT_DIR:?a folder for the checkpoints}" \
  ${GRADIENT_CHECKPOINTING:+--gradient_checkpointing "$GRADIENT_CHECKPOINTING"} ${DEEPSPEED:+--deepspeed "$DEEPSPEED"} \
  ${RESUME:+--resume_from_checkpoint "$RESUME"} --external_plugins ${PLUGIN:+"$PLUGIN"} "$toolkit/train_scripts/order_reward.py" \
  $EXTRA_FLAGS
