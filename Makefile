# A thin door to CMake: `make help`. The build itself is described in CMakeLists.txt and
# CMakePresets.json, the packages it needs in tools/packages.txt.
JOBS ?= $(shell nproc)
PREFIX ?= /usr/local
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := build
.PHONY: help setup build test test-python demo install format clean

help:
	@echo 'make build      the command at build/tnl (Release; installs missing packages first)'
	@echo 'make test       build, then every test'
	@echo 'make test-python  the Python package in an environment of its own, and its tests'
	@echo 'make demo       build, then train a small model on English text and let it write'
	@echo '                TEXT=PATH  a text file or a folder of them in place of the default text'
	@echo '                STEPS=N    training steps in place of the default'
	@echo 'make install    the command, library, headers and CMake package to PREFIX=$(PREFIX)'
	@echo 'make format     clang-format every source file'
	@echo 'make clean      remove the build folders'
	@echo 'JOBS=N          processes at once, $(JOBS) here'

setup:
	@tools/setup.sh build

# Configuring says much that is only worth reading when it fails.
build: setup
	@mkdir -p build
	@cmake --preset release > build/configure.log 2>&1 || (cat build/configure.log; exit 1)
	@cmake --build --preset release --parallel $(JOBS)

test: build
	@ctest --preset release --parallel $(JOBS)

test-python:
	@JOBS='$(JOBS)' tools/python_test.sh

demo: build
	@tools/setup.sh demo
	@TEXT='$(TEXT)' STEPS='$(STEPS)' tools/demo.sh

install: build
	@cmake --install build --prefix '$(PREFIX)'

format:
	@tools/setup.sh ci
	@git ls-files '*.cc' '*.h' '*.cu' '*.cuh' | xargs clang-format -i

clean:
	rm -rf build build-*
