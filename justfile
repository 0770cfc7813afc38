# Every recipe makes and fills .venv first if it is missing or stale. `just` lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

python := env("PYTHON", "python3")
bin := ".venv/bin"
port := "6006"

_list:
    @just --list --unsorted

# make .venv with what training needs
setup: (_venv "")

# make .venv with the development tools too
install-dev: (_venv "dev")

# .venv is stale when pyproject.toml, constraints.txt or the wanted extras have changed since it was filled
_venv extras:
    #!/usr/bin/env bash
    set -euo pipefail
    wanted="$(cat pyproject.toml constraints.txt | cksum) $({{ python }} -c 'import sys; print(sys.version_info[:2])')"
    have="$(cat .venv/.filled 2>/dev/null || true)"
    if [ "${have%%|*}" = "$wanted" ] && { [ -z "{{ extras }}" ] || [[ "$have" == *"|{{ extras }}"* ]]; }; then exit 0; fi
    echo "filling .venv (packages{{ if extras == "" { "" } else { " and extras: " + extras } }}); this happens once"
    [ -x {{ bin }}/python ] || {{ python }} -m venv .venv
    {{ bin }}/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".{{ if extras == "" { "" } else { "[" + extras + "]" } }}"
    if [ "${have%%|*}" = "$wanted" ]; then echo "$have|{{ extras }}" > .venv/.filled; else echo "$wanted|{{ extras }}" > .venv/.filled; fi

# format the code
format: install-dev
    {{ bin }}/ruff format .
    {{ bin }}/ruff check --fix --select I .

# look for mistakes and bad form
lint: install-dev
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .

# check the types
typecheck: install-dev
    {{ bin }}/mypy

# run the tests, without the slow ones
test *args: install-dev
    {{ bin }}/python -m pytest -n 2 -m "not slow" {{ args }}

# run the slow tests only
test-slow *args: install-dev
    {{ bin }}/python -m pytest -m slow {{ args }}

# run the tests and report which lines they reached
test-cov *args: install-dev
    {{ bin }}/python -m pytest -n 2 -m "not slow" --cov=nanolit --cov-report=term-missing:skip-covered --cov-report=html {{ args }}

# all that a commit should pass: format, lint, types, tests
pre-commit: format lint typecheck test

# from nothing to an assistant of the village, in a quarter of an hour; again: goes on where it stopped
chatgpt-quick *args: setup
    {{ bin }}/python -m nanolit pipeline experiment=village {{ args }}

# text to token shards: just prepare-data data=text data.source=FOLDER
prepare-data *args: setup
    {{ bin }}/nanolit prepare {{ args }}

# train with any overrides: just train model=gpt2_124m data=owt
train *args: setup
    {{ bin }}/python train.py {{ args }}

# the village: a small GPT that writes little stories after a minute on two CPU cores
train-quick *args: setup
    {{ bin }}/python train.py experiment=quick {{ args }}

# GPT-2 124M on OpenWebText, on all GPUs of this machine
train-full *args: setup
    {{ bin }}/python train.py experiment=gpt2_124m_owt trainer=ddp {{ args }}

# train one of conf/experiment: just train-with-config shakespeare_char_cpu
train-with-config experiment *args: setup
    {{ bin }}/python train.py experiment={{ experiment }} {{ args }}

# let a run or a model directory write: just generate runs/quick/… prompt="Once"
generate model *args: setup
    {{ bin }}/nanolit generate model={{ model }} {{ args }}

# talk with a model that has chat tokens: just chat runs/…
chat model *args: setup
    {{ bin }}/nanolit chat model={{ model }} {{ args }}

# an OpenAI-compatible server and a web page at http://localhost:8000: just serve runs/…
serve model *args: (_venv "serve")
    {{ bin }}/nanolit serve model={{ model }} {{ args }}

# the curves of all runs at http://localhost:6006
tensorboard *args: setup
    {{ bin }}/tensorboard --logdir "${OUT_DIR:-runs}" --port {{ port }} {{ args }}

# open the notebooks
notebook: (_venv "notebook")
    {{ bin }}/jupyter lab notebooks

# what torch sees of this machine
check-gpu: setup
    {{ bin }}/python -c "import json; from nanolit.runtime.devices import describe; print(json.dumps(describe(), indent=2))"

# remove caches and build products
clean:
    rm -rf build dist htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
    find . -path ./.venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

# remove prepared data, runs and .venv as well; asks first
[confirm("This deletes .venv, all prepared data (DATA_ROOT) and all runs and models (OUT_DIR). Sure? [y/N]")]
clean-all: clean
    rm -rf .venv "${DATA_ROOT:-data}" "${OUT_DIR:-runs}"
