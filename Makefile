# make demo    the main job on rendered toy videos: videos -> preference pairs, by a tiny video LLM that
#              the repository holds (DEMO_MODEL=dryrun: by none at all); no GPU, no downloads of weights
# make train-demo   train that tiny model on the demo's pairs, and score it on other videos before and after
# make test    the whole test suite
# make test-ray   the tests of --ray, on a Ray cluster of this machine, in .venv-ray: .venv's packages, and Ray (0.2 GB)
# make lint    ruff, mypy and shellcheck
# make viewer  browse and judge preference pairs, on http://localhost:8501
# make bench   every measurement with its bound (FOOTAGE=DIR: a folder of real videos of yours)
# make reproduce        a method's claims on two cores, no GPU (METHOD=temple, grounding, prealignment, distillation or methods): reproduction/results/
# make reproduce-quick  a small part of them, which proves nothing
# make clean   delete the toy videos that make demo and make train-demo render, and what was made of them beside them
# The first of them sets up .venv (7 GB, about two and a half minutes); all share it. `make setup` does
# only that. VENV=DIR names another environment, into which the pinned packages then go.

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
ifneq ($(words $(VENV)),1)
$(error VENV=$(VENV): name one folder, without spaces)
endif
WORKERS ?= 2
DEMO_MODEL ?= toyvl
METHOD ?= temple
# Many images set it. Each Python would then compile all that it imports: torch and transformers take twice the CPU.
unexport PYTHONDONTWRITEBYTECODE
# The environment, and the downloads while it is set up; 1 GB where torch and its libraries are there.
NEEDED_GB := 11

.PHONY: demo train-demo reproduce reproduce-quick viewer test test-ray setup-ray lint bench setup setup-dev clean
.DELETE_ON_ERROR:

# VENV/ready holds a checksum of the files that name the packages. Where these have changed, packages
# are updated in place and whatever else the environment holds stays; after an interruption this goes on.
setup:
	@$(call update,ready,pyproject.toml requirements.txt,-r requirements.txt -e .)

setup-dev: setup
	@$(call update,ready-dev,requirements-dev.txt,-r requirements-dev.txt)

# $(call update,name of the file with the checksum,files that it is of,what to install)
define update
sum=$$(cat $(2) | cksum); [ "$$sum" != "$$(cat $(VENV)/$(1) 2>/dev/null)" ] || exit 0; \
	[ -x $(PY) ] || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "error: Python 3.11 or later is needed: install it, or name one with make PYTHON=/path/to/python3"; exit 1; }; \
	  $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "error: Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }; \
	  mkdir -p $(VENV) || exit 1; }; \
	free=$$(df -Pk $(VENV)/. | awk 'NR == 2 {print int($$4 / 1048576)}'); \
	held=$$(du -sk $(VENV)/. | awk '{print int($$1 / 1048576)}'); \
	needed=1; [ "$$held" -ge 6 ] || needed=$$(($(NEEDED_GB) - held)); [ "$$free" -ge "$$needed" ] || { \
	  echo "error: $$free GB free for $(VENV), $$needed GB needed while packages are installed: free some disk"; exit 1; }; \
	[ -x $(PY) ] || { echo "setting up $(VENV): 7 GB, a few minutes"; $(PYTHON) -m venv --without-pip $(VENV); } && \
	echo "installing $(lastword $(2)) into $(VENV)" && \
	{ $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip --default-pip >/dev/null; } && \
	if command -v uv >/dev/null; then uv pip install --python $(PY) $(3); \
	else $(PY) -m pip install --quiet --disable-pip-version-check --no-compile $(3); fi && \
	echo "$$sum" >$(VENV)/$(1)
endef

demo: setup data/toystories/truth.jsonl
	$(PY) preprocess.py toystories $(WORKERS) --video_dir data/toystories/video --shot_detector adaptive --embedder color
	$(PY) generate_meta_data.py $(WORKERS) --dataset toystories --model $(DEMO_MODEL)
	$(PY) generate_dpo_data.py toystories $(WORKERS) --model $(DEMO_MODEL) --seed 0
	$(PY) convert_to_swift.py $(DEMO_MODEL) 16 8 4 2 --dataset toystories --per_level
	$(PY) convert_to_swift.py $(DEMO_MODEL) 16 8 4 2 --dataset toystories
	$(PY) -m tools.status toystories
	@echo
	@echo "Preference pairs in ms-swift's format: swift_data/$(DEMO_MODEL)_i0_r16-8-4-2.json, and one file a level beside it."
	@echo "Next: your own videos:       $(PY) preprocess.py mine $(WORKERS) --video_dir ~/videos --embedder color"
	@echo "      look at the pairs:     make viewer"
	@echo "      ask about a video:     $(PY) -m grounding.demo"
	@echo "      train on them, on CPU: make train-demo"
	@echo "      every flag:            $(PY) preprocess.py --help"

data/toystories/truth.jsonl: | setup
	$(PY) -m toyworld --videos 24 --events 8-16 --seed 0 --qa --out data/toystories

# DPO on all pairs of the demo, and the toy benchmark on videos that neither the demo nor toyvl's training has.
DEMO_PAIRS := swift_data/toyvl_i0_r16-8-4-2.json
DEMO_RECIPE := toyvl=lr3e-3_r32_a64_bs8_freeze_r16+r8+r4+r2
train-demo: setup data/toydemo_test/truth.jsonl
	@[ -e $(DEMO_PAIRS) ] || $(MAKE) demo DEMO_MODEL=toyvl
	@start=$$(date +%s); set -e; mkdir -p exp/demo; \
	echo "training on $(DEMO_PAIRS): $(DEMO_RECIPE); what swift says goes to exp/demo/train.log"; \
	export PATH="$(abspath $(VENV))/bin:$$PATH" GROUP=demo DEVICE=cpu PER_DEVICE_BATCH=8 REPORT_TO=none; \
	bash train_scripts/run.sh '$(DEMO_RECIPE)' >exp/demo/train.log 2>&1 || { tail exp/demo/train.log; exit 1; }; \
	trained=$$(ls -d exp/demo/outputs/$(DEMO_RECIPE)/v*/checkpoint-*-merged | tail -n 1); \
	python evaluate_model.py toy --dataset toydemo_test --model "$$trained" --baseline toyvl; \
	echo "$$trained, trained and scored in $$(($$(date +%s) - start)) s"

data/toydemo_test/truth.jsonl: | setup
	$(PY) -m toyworld --videos 12 --events 4,8 --seed 101 --out data/toydemo_test

viewer: setup
	$(PY) -m streamlit run visualize/app.py

# Both can be stopped at any time; the same command goes on.
reproduce: setup
	$(PY) -m reproduction.$(METHOD).run --workers $(WORKERS)

reproduce-quick: setup
	$(PY) -m reproduction.$(METHOD).run --quick --workers $(WORKERS)

# Two files at a time, in the order of tests/conftest.py: what a file builds once for its tests is built once.
test: setup-dev
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# What .venv holds is not installed a second time: a .pth file names its folder.
RAY_VENV := .venv-ray
setup-ray: setup-dev
	@sum=$$(cat requirements-ray.txt | cksum); [ "$$sum" = "$$(cat $(RAY_VENV)/ready 2>/dev/null)" ] || { \
	  $(PY) -m venv --without-pip $(RAY_VENV) && \
	  packages='import sysconfig; print(sysconfig.get_path("purelib"))' && \
	  $(PY) -c "$$packages" >"$$($(RAY_VENV)/bin/python -c "$$packages")/shared.pth" && \
	  $(PY) -m pip --python $(RAY_VENV)/bin/python install --quiet --disable-pip-version-check --no-compile \
	    -r requirements-ray.txt && echo "$$sum" >$(RAY_VENV)/ready; }

test-ray: setup-ray
	PATH="$(abspath $(RAY_VENV))/bin:$$PATH" $(RAY_VENV)/bin/python -m pytest tests/on_ray

lint: setup-dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/shellcheck -x train_scripts/*.sh train_scripts/*/*.sh

# Where videos are joined to measure on them: the toy world's, or a folder of real ones (a minute or
# more), on which the documented numbers were taken. About half an hour on 2 idle cores.
FOOTAGE ?= data/toystories/video
bench: setup-dev data/toystories/truth.jsonl
	@command -v ffmpeg >/dev/null || { echo "error: make bench compares with the ffmpeg command, which is not here: install it"; exit 1; }
	$(PY) -m benchmarks.stage_one --footage $(FOOTAGE)
	$(PY) -m benchmarks.stage_one --footage $(FOOTAGE) --height 1080 --shot_detector transnetv2 --repeat 1 --max_ratio 99
	$(PY) -m benchmarks.transnet --footage $(FOOTAGE)
	$(PY) -m benchmarks.shots
	$(PY) -m benchmarks.sharpness --footage $(FOOTAGE)
	$(PY) -m benchmarks.flow --footage $(FOOTAGE)
	$(PY) -m benchmarks.reader --footage $(FOOTAGE)
	$(PY) -m benchmarks.grounding
	$(PY) -m benchmarks.scaling --footage $(FOOTAGE)
	$(PY) -m benchmarks.captioners --footage $(FOOTAGE)
	$(PY) -m benchmarks.server
	$(PY) -m benchmarks.judge
	$(PY) -m benchmarks.viewer
	$(PY) -m benchmarks.rerun --footage $(FOOTAGE)
	$(PY) -m benchmarks.convert
	$(PY) -m benchmarks.bookkeeping
	$(PY) -m benchmarks.shards
	$(PY) -m benchmarks.questions
	$(PY) -m benchmarks.options
	$(PY) -m benchmarks.teachers
	$(PY) -m benchmarks.student
	$(PY) -m benchmarks.letters
	$(PY) -m benchmarks.intervals
	$(PY) -m benchmarks.kill --footage $(FOOTAGE)
	$(PY) -m benchmarks.fuzz

clean:
	rm -rf data/toystories data/toydemo_test
