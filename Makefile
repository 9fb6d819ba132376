# The commands of the project. How things are built is said in CMakePresets.json and the CMakeLists.txt files.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check bench build format format-check tidy clean

JOBS := $(shell nproc)
# ROOMS: where sources of ours lie.
ROOMS := libprune kernels apps bench test docs
sources = $(shell find $(ROOMS) -name '*.h' -o -name '*.cc' -o -name '*.cu' -o -name '*.cuh')
CTEST := ctest --output-on-failure --no-label-summary --parallel $(JOBS)

help:  ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo:  ## prune, verify, pack and time the bundled model
	@cmake/packages.sh build
	cmake --preset release
	cmake --build --preset program
	docs/demo.sh build/release/apps/prune/prune build/demo

test: format-check tidy  ## all tests, plain and under ASan+UBSan, the format, clang-tidy
	cmake --preset release
	cmake --build --preset release
	$(CTEST) --preset release
	@cmake/skipped_tests.sh build/release
	cmake --preset asan-ubsan
	cmake --build --preset asan-ubsan
	$(CTEST) --preset asan-ubsan
	@cmake/skipped_tests.sh build/asan-ubsan

check: test  ## the long form of test: also clang, TSan, and each fuzz target for 30 s
	@cmake/packages.sh check
	$(CTEST) --preset asan-returns
	@cmake/tidy.sh build/tidy $(JOBS) "libprune|kernels|apps|bench" all
	cmake --preset clang
	cmake --build --preset clang
	$(CTEST) --preset clang
	@cmake/skipped_tests.sh build/clang
	cmake --preset tsan
	cmake --build --preset tsan
	$(CTEST) --preset tsan
	@cmake/skipped_tests.sh build/tsan
	cmake --preset fuzz
	cmake --build --preset fuzz
	$(CTEST) --preset fuzz

bench:  ## build and run the benchmarks (BENCH_FLAGS='--mode quick': a minute); JSON goes to build/bench
	@cmake/packages.sh build
	cmake --preset release
	cmake --build --preset bench
	mkdir -p build/bench
	build/release/bench/spmm_bench --benchmark_out=build/bench/spmm.json --benchmark_out_format=json $(BENCH_FLAGS)

build:  ## build everything, optimised, into build/release
	@cmake/packages.sh build
	cmake --preset release
	cmake --build --preset release

format:  ## rewrite the sources as .clang-format says
	@cmake/packages.sh test
	@clang-format-14 -i $(sources)

format-check:  ## fail where a source is not as .clang-format says
	@cmake/packages.sh test
	@clang-format-14 --dry-run -Werror $(sources)

tidy:  ## clang-tidy over what changed lately (cmake/tidy.sh); make check: over all
	@cmake/packages.sh test
	cmake --preset tidy
	@cmake/tidy.sh build/tidy $(JOBS)

clean:  ## remove everything that was built
	rm -rf build
