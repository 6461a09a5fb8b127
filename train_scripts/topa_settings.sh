# shellcheck shell=bash
# shellcheck disable=SC2034 # the topa_*.sh scripts use what is set here
#
# What the scripts of TOPA share. Variables of the environment change it:
#
#   SIZE              llama2_7b (default), llama2_13b or llama3_8b
#   LLM               the language model: a folder or an id of a hub, or a folder of Meta's own files
#   NPROC_PER_NODE    GPUs that share a training, each batch with its part (4 in the paper); unset: one process
#   EXP               folder of what is trained (exp/topa)
#   DATA_ROOT         folder of the data sets
#   PYTHON, VENV      the Python that runs (python), or the environment that it is in
#   DRY_RUN=1         print the command alone
#
# Arguments of a script go to its command, and win over what the script says.

toolkit=$(realpath "$(dirname "${BASH_SOURCE[0]}")/..")
: "${SIZE=llama2_7b}"
case $SIZE in
  llama2_7b) : "${LLM=meta-llama/Llama-2-7b-hf}" ;;
  llama2_13b) : "${LLM=meta-llama/Llama-2-13b-hf}" ;;
  llama3_8b) : "${LLM=meta-llama/Meta-Llama-3-8B}" ;;
  *) echo "SIZE=$SIZE: choose llama2_7b, llama2_13b or llama3_8b" >&2 && exit 2 ;;
esac
: "${EXP=$toolkit/exp/topa}"
: "${TEXTS=textvid}"    # the data set of text videos, whose memory vectors are projected on
root=(${DATA_ROOT:+--data_root "$DATA_ROOT"})
export PYTHONPATH=$toolkit${PYTHONPATH:+:$PYTHONPATH}

# run MODULE ARGUMENT...: run a command of the toolkit.
python=${PYTHON:-${VENV:+$VENV/bin/}python}
run() { start "$python" -m "$@"; }

# train ARGUMENT...: train, on NPROC_PER_NODE GPUs where that is set.
train() {
  if [[ -n ${NPROC_PER_NODE:-} ]]; then
    start "$python" -m torch.distributed.run --nproc_per_node "$NPROC_PER_NODE" -m prealignment.train "$@"
  else
    run prealignment.train "$@"
  fi
}

start() { if [[ ${DRY_RUN:-} == 1 ]]; then printf '%q ' "$@" && echo; else "$@"; fi; }
