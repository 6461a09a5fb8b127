# make demo    the main job on rendered toy videos: videos -> preference pairs, by a tiny video LLM that
#              the repository holds (DEMO_MODEL=dryrun: by none at all); no GPU, no downloads of weights
# make test    the whole test suite
# make lint    ruff and mypy
# make viewer  browse and judge preference pairs, on http://localhost:8501
# make bench   the numbers of README's table
# make reproduce        TEMPLE's claims on two cores, no GPU: six arms, five seeds, results/
# make reproduce-quick  one seed of them, which proves nothing
# The first of them sets up .venv (7 GB, about two and a half minutes); all share it.

PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/ready
WORKERS ?= 2
DEMO_MODEL ?= toyvl
NEEDED_GB := 10

.PHONY: demo reproduce reproduce-quick viewer test lint bench setup clean
.DELETE_ON_ERROR:

setup: $(READY)

# Ready only once everything is installed: an interrupted set-up starts afresh.
$(READY): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 or later is needed: install it, or name one with make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: Python's venv module is missing: install it (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@rm -rf .venv
	@free=$$(df -Pk . | awk 'NR == 2 {print int($$4 / 1048576)}'); [ "$$free" -ge $(NEEDED_GB) ] || { \
	  echo "error: $$free GB free here, $(NEEDED_GB) GB needed while the environment (7 GB) is set up: free some disk"; exit 1; }
	@echo "setting up .venv: 7 GB, about two and a half minutes on a fast line"
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

demo: $(READY) data/toystories/truth.jsonl
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
	@echo "      train on them, on CPU: make reproduce-quick"
	@echo "      every flag:            $(PY) preprocess.py --help"

data/toystories/truth.jsonl: | $(READY)
	$(PY) -m toyworld --videos 24 --events 8-16 --seed 0 --out data/toystories

viewer: $(READY)
	.venv/bin/streamlit run visualize/app.py

# Both can be stopped at any time; the same command goes on.
reproduce: $(READY)
	$(PY) -m reproduction.temple.run --workers $(WORKERS)

reproduce-quick: $(READY)
	$(PY) -m reproduction.temple.run --quick --workers $(WORKERS)

# Two files at a time: what a file builds once for its tests is built once.
test: $(READY)
	$(PY) -m pytest -n 2 --dist loadfile

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/shellcheck -x train_scripts/*.sh

# Needs real footage in ../shared/videos and the ffmpeg command; about half an hour on 2 idle cores.
bench: $(READY)
	$(PY) -m benchmarks.stage_one
	$(PY) -m benchmarks.stage_one --height 1080 --shot_detector transnetv2 --repeat 1 --max_ratio 99
	$(PY) -m benchmarks.transnet
	$(PY) -m benchmarks.shots
	$(PY) -m benchmarks.sharpness
	$(PY) -m benchmarks.scaling
	$(PY) -m benchmarks.captioners
	$(PY) -m benchmarks.server
	$(PY) -m benchmarks.viewer
	$(PY) -m benchmarks.rerun
	$(PY) -m benchmarks.convert
	$(PY) -m benchmarks.kill

clean:
	rm -rf .venv data/toystories
