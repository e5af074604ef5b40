# Every target sets up what it needs first. `make help` lists them.

# What `make convert` works on: without SRC, a sample checkpoint of this preset.
SRC ?=
DST ?=
TO ?= nemo
DTYPE ?= bf16
PRESET ?= 20b-layer
# Where `make install` puts things; DESTDIR goes in front of it.
PREFIX ?= /usr/local
# How long `make fuzz` runs each target.
SECONDS ?= 60
# What a build, a test run or a lint run may use at once.
JOBS ?= $(shell nproc)

export SRC DST TO DTYPE PRESET JOBS
export CMAKE_BUILD_PARALLEL_LEVEL := $(JOBS)
export CTEST_PARALLEL_LEVEL := $(JOBS)

# Names the programs of a build for tests/peers.
commands_of = MXFERRY=$(CURDIR)/build/$(1)/mxferry SAVE_MODEL=$(CURDIR)/build/$(1)/save_model \
  FAULTS=$(CURDIR)/build/$(1)/tests/faults/libfaults.so

.PHONY: help convert test test-cpp test-python fuzz check-deep wheel lint format bench install clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 20

convert:  ## convert SRC to DST (TO=nemo DTYPE=bf16) and prove it; without SRC, a sample
	@scripts/setup.sh build
	cmake --preset release
	cmake --build --preset release --target mxferry-cli
	@scripts/convert.sh

test: test-cpp test-python  ## build and run every test, under ASan and UBSan

test-cpp:  ## the part of `make test` that needs no Python packages
	@scripts/setup.sh build test
	cmake --preset asan
	cmake --build --preset asan
	ctest --preset asan

test-python: test-cpp wheel  ## the part of `make test` that needs PyTorch and Transformers
	@scripts/venv.sh build/venv tests/requirements.txt
	@scripts/nemo.sh build/venv
	@scripts/venv.sh build/venv-numpy tests/requirements-numpy.txt
	@scripts/venv.sh build/venv-mlx tests/requirements-mlx.txt
	@scripts/install-wheel.sh build/venv build/venv-numpy
	$(call commands_of,asan) MLX=$(CURDIR)/build/venv-mlx/bin/python \
	  build/venv/bin/python -m pytest -p no:cacheprovider tests/peers
	# Bounds of memory, which a sanitizer's own hides.
	MXFERRY=$(CURDIR)/build/venv/bin/mxferry python3 tests/cli/cgroup_test.py
	MXFERRY=$(CURDIR)/build/venv/bin/mxferry python3 tests/cli/hostile_test.py
	build/venv/bin/python -m pytest -p no:cacheprovider tests/python
	build/venv-numpy/bin/python -m pytest -p no:cacheprovider \
	  tests/python/test_numpy.py tests/python/test_package.py tests/python/test_verbs.py \
	  tests/python/test_checkpoint.py

fuzz:  ## run every fuzz target for SECONDS=60 each, JOBS of them at once
	@scripts/setup.sh build fuzz
	cmake --preset fuzz
	cmake --build --preset fuzz
	scripts/fuzz.sh $(SECONDS)

# What takes too long for every change: hours of fuzzing, many times more cases of every property,
# every interleaving of two commands, every test under ThreadSanitizer.
check-deep:  ## fuzz half an hour a target, properties with 5000 cases, every fault, TSan
	$(MAKE) fuzz SECONDS=1800
	@scripts/setup.sh build test python
	@scripts/venv.sh build/venv tests/requirements.txt
	cmake --preset dev
	cmake --build --preset dev
	RC_PARAMS="max_success=5000" MXFERRY_KILLS=200 MXFERRY_FAULTS_STEP=1 ctest --preset dev
	MXFERRY_ACTORS_STEP=1 $(call commands_of,dev) build/venv/bin/python -m pytest -p no:cacheprovider \
	  tests/peers/test_two_actors.py
	MXFERRY_FOLDERS_STEP=1 $(call commands_of,dev) build/venv/bin/python -m pytest -p no:cacheprovider \
	  tests/peers/test_folders.py
	cmake --preset tsan
	cmake --build --preset tsan
	ctest --preset tsan

wheel:  ## build a wheel of the Python package for python3 into build/wheels
	@scripts/setup.sh build python
	@scripts/venv.sh build/wheel-venv scripts/wheel-requirements.txt
	scripts/wheel.sh

lint:  ## check format, clang-tidy and ruff at pinned versions
	@scripts/setup.sh build test python
	@scripts/venv.sh build/lint-venv scripts/lint-requirements.txt
	cmake --preset lint
	scripts/lint.sh

format:  ## rewrite the sources in the format that lint asks for
	@scripts/setup.sh build
	@scripts/venv.sh build/lint-venv scripts/lint-requirements.txt
	scripts/lint.sh --fix

bench: wheel  ## build and run the benchmarks, each beside a reference in the same run
	@scripts/setup.sh build test
	@scripts/venv.sh build/venv tests/requirements.txt
	@scripts/install-wheel.sh build/venv
	@build/venv/bin/python -m pip install --disable-pip-version-check -q -r bench/requirements.txt
	cmake --preset bench
	cmake --build --preset bench
	python3 bench/run.py build/bench --python build/venv/bin/python

install:  ## install the command, the library and its headers under PREFIX
	@scripts/setup.sh build
	cmake --preset release
	cmake --build --preset release
	cmake --install build --prefix "$(PREFIX)"

clean:  ## remove everything that was built, Python environments included
	rm -rf build
