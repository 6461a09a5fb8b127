#!/usr/bin/env bash
# Direct preference optimization (DPO) of one model on one file of pairs. By hand:
#
#   BASE=qwen25vl7b ROWS=swift_data/qwen25vl7b_i0_r16.json OUTPUT_DIR=exp/r16 NPROC_PER_NODE=8 bash train_scripts/dpo.sh
#
# MODEL and MODEL_TYPE name a model that is not in settings.sh. run.sh calls this for each level of a recipe, whose
# name sets LEARNING_RATE, LORA_RANK, LORA_ALPHA, GLOBAL_BATCH and FREEZE_VIT (leave the vision tower unchanged).
# VAL_ROWS: held-out rows; RESUME: a checkpoint to go on from; TUNER_FLAG: --train_type for ms-swift 3.
set -euo pipefail
GLOBAL_BATCH=${GLOBAL_BATCH:-16}
# shellcheck source-path=SCRIPTDIR source=settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# The loss. ms-swift 3.7, which the paper used, added 1.0 x the SFT loss on the chosen answer by default; later
# versions do not, so it is a flag here. 0 leaves it out.
: "${RPO_ALPHA=1.0}"
: "${BETA=0.1}"                      # strength of the pull towards the model before the stage
: "${LOSS_TYPE=sigmoid}"             # several, split at spaces, with LOSS_WEIGHTS
: "${LOSS_WEIGHTS=}"
: "${LD_ALPHA=}"                     # below 1: the part by which one answer is longer counts less

# shellcheck disable=SC2086 # LOSS_TYPE, LOSS_WEIGHTS and EXTRA_FLAGS may hold several words
swift rlhf --rlhf_type dpo \
  --beta "$BETA" --loss_type $LOSS_TYPE --rpo_alpha "$RPO_ALPHA" \
  ${LOSS_WEIGHTS:+--loss_weights $LOSS_WEIGHTS} ${LD_ALPHA:+--ld_alpha "$LD_ALPHA"} \
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
