#!/usr/bin/env bash
# Supervised fine-tuning (SFT) of one model on one file of rows. By hand:
#
#   BASE=qwen25vl7b ROWS=swift_data/llava-video-sft-60k.json OUTPUT_DIR=exp/sft NPROC_PER_NODE=8 bash train_scripts/sft.sh
#
# The variables are those of dpo.sh, but for its loss. run.sh calls this for a phase that names a data set.
set -euo pipefail
GLOBAL_BATCH=${GLOBAL_BATCH:-16}
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# shellcheck disable=SC2086 # EXTRA_FLAGS may hold several words
swift sft \
  --model "$MODEL" --model_type "$MODEL_TYPE" --template "$TEMPLATE" --check_model false \
  --dataset "${ROWS:?a JSON file of rows}" --split_dataset_ratio 0 ${VAL_ROWS:+--val_dataset "$VAL_ROWS"} \
  "${TUNER_FLAG:---tuner_type}" lora --lora_rank "${LORA_RANK:-32}" --lora_alpha "${LORA_ALPHA:-32}" \
  --target_modules "$TARGET_MODULES" --freeze_vit "${FREEZE_VIT:-false}" --freeze_aligner "$FREEZE_ALIGNER" \
  --torch_dtype "$TORCH_DTYPE" --attn_impl "$ATTN_IMPL" \
  --learning_rate "${LEARNING_RATE:-1e-4}" --lr_scheduler_type "$LR_SCHEDULER" --warmup_ratio "$WARMUP_RATIO" \
  --num_train_epochs "$EPOCHS" --max_length "$MAX_LENGTH" \
  --per_device_train_batch_size "$PER_DEVICE_BATCH" --per_device_eval_batch_size "$PER_DEVICE_BATCH" \
  --gradient_accumulation_steps "$((GLOBAL_BATCH / at_once))" \
  --eval_steps "$EVAL_STEPS" --save_steps "$SAVE_STEPS" --logging_steps "$LOGGING_STEPS" \
  --dataloader_num_workers "$WORKERS" --dataset_num_proc "$((WORKERS > 0 ? WORKERS : 1))" \
  --report_to "$REPORT_TO" --seed "$SEED" --output_dir "${OUTPUT_DIR:?a folder for the checkpoints}" \
  ${GRADIENT_CHECKPOINTING:+--gradient_checkpointing "$GRADIENT_CHECKPOINTING"} ${DEEPSPEED:+--deepspeed "$DEEPSPEED"} \
  ${RESUME:+--resume_from_checkpoint "$RESUME"} ${PLUGIN:+--external_plugins "$PLUGIN"} \
  $EXTRA_FLAGS
