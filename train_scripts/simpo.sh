#!/usr/bin/env bash
# Preference without a reference model (SimPO, arXiv 2405.14734) of one model on one file of pairs: each side counts
# by its mean log p a token, so that no other model is needed and length does not count. By hand:
#
#   BASE=qwen25vl7b ROWS=swift_data/qwen25vl7b_i0_r16.json OUTPUT_DIR=exp/r16 NPROC_PER_NODE=8 bash train_scripts/simpo.sh
#
# The variables are those of dpo.sh, but for its loss. run.sh calls this for levels behind the word simpo.
set -euo pipefail
GLOBAL_BATCH=${GLOBAL_BATCH:-16}
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# The loss.
: "${CPO_ALPHA=1.0}"                 # how much of the SFT loss on the chosen answer is added; 0: plain SimPO
: "${SIMPO_BETA=2.0}"                # multiplies the difference of the two mean log p
: "${SIMPO_GAMMA=1.0}"               # margin that the difference must exceed, after SIMPO_BETA

# shellcheck disable=SC2086 # EXTRA_FLAGS may hold several words
swift rlhf --rlhf_type simpo \
  --beta "$SIMPO_BETA" --simpo_gamma "$SIMPO_GAMMA" --cpo_alpha "$CPO_ALPHA" \
  --model "$MODEL" --model_type "$MODEL_TYPE" --template "$TEMPLATE" --check_model false \
  --dataset "${ROWS:?a JSON file of rows}" --split_dataset_ratio 0 ${VAL_ROWS:+--val_dataset "$VAL_ROWS"} \
  "${TUNER_FLAG:---tuner_type}" lora --lora_rank "${LORA_RANK:-32}" --lora_alpha "${LORA_ALPHA:-64}" \
  --target_modules "$TARGET_MODULES" --freeze_vit "${FREEZE_VIT:-true}" --freeze_aligner "$FREEZE_ALIGNER" \
  --torch_dtype "$TORCH_DTYPE" --attn_impl "$ATTN_IMPL" \
  --learning_rate "${LEARNING_RATE:-5e-6}" --lr_scheduler_type "$LR_SCHEDULER" --warmup_ratio "$WARMUP_RATIO" \
  --num_train_epochs "$EPOCHS" --max_length "$MAX_LENGTH" \
  --per_device_train_batch_size "$PER_DEVICE_BATCH" --per_device_eval_batch_size "$PER_DEVICE_BATCH" \
  --gradient_accumulation_steps "$((GLOBAL_BATCH / at_once))" \
  --eval_steps "$EVAL_STEPS" --save_steps "$SAVE_STEPS" --logging_steps "$LOGGING_STEPS" \
  --dataloader_num_workers "$WORKERS" --dataset_num_proc "$((WORKERS > 0 ? WORKERS : 1))" \
  --report_to "$REPORT_TO" --seed "$SEED" --output_dir "${OUTPUT_DIR:?a folder for the checkpoints}" \
  ${GRADIENT_CHECKPOINTING:+--gradient_checkpointing "$GRADIENT_CHECKPOINTING"} ${DEEPSPEED:+--deepspeed "$DEEPSPEED"} \
  ${RESUME:+--resume_from_checkpoint "$RESUME"} ${PLUGIN:+--external_plugins "$PLUGIN"} \
  $EXTRA_FLAGS
