# SPDX-License-Identifier: AGPL-3.0-only
#
# A thin front for CMake and the test programs. PREFIX, LIBEXECDIR, SYSCONFDIR, UNITDIR and DESTDIR mean what they mean
# elsewhere; BUILD is where everything that is made goes.
BUILD ?= build
PREFIX ?= /usr
LIBEXECDIR ?= $(PREFIX)/libexec
SYSCONFDIR ?= /etc
UNITDIR ?= $(SYSCONFDIR)/systemd/system
PYTHON ?= /usr/bin/python3
JOBS ?= $(shell nproc)

main := $(BUILD)/main
stage := $(abspath $(BUILD))/stage
results := $(abspath $(BUILD))/results
# One more than there are processors: some tests wait for a time of kmodguard's to be up.
pytest := PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -q -p no:cacheprovider --dist loadgroup -n $(shell expr $(JOBS) + 1)
configure := cmake -G Ninja -S . -DCMAKE_INSTALL_PREFIX=$(PREFIX) -DCMAKE_INSTALL_LIBEXECDIR=$(LIBEXECDIR) \
	-DCMAKE_INSTALL_SYSCONFDIR=$(SYSCONFDIR) -DKMODGUARD_UNIT_DIRECTORY=$(UNITDIR)
# What of the tests to run: files or folders, and pytest's expression.
CLI_TESTS ?= tests/cli tests/scripts
VM_TESTS ?= tests/vm
VM_ONLY ?=
# What `make check` compares with: HEAD for what is not committed, origin/main for a branch.
BASE ?= HEAD
vm_environment := KMODGUARD_VM_CACHE=$(abspath $(BUILD))/vm KMODGUARD_STAGE=$(stage) PYTHONDONTWRITEBYTECODE=1

.PHONY: all build test unit-build unit-test cli-test vm-test check lint fuzz bench demo process-demo readme-demo stage install uninstall clean \
	bootstrap

all: build

build:
	@scripts/bootstrap build
	$(configure) -B $(main) -DKMODGUARD_TESTS=OFF >/dev/null
	cmake --build $(main) -j $(JOBS)

# Everything: pure tests, real kernels, whole programs. The last use modules of the kernels that the test machine fetches.
test:
	@MAKE='$(MAKE)' scripts/test $(BUILD)

unit-test: unit-build
	ctest --test-dir $(BUILD)/test --output-on-failure -j $(JOBS)

unit-build:
	@scripts/bootstrap test
	$(configure) -B $(BUILD)/test -DKMODGUARD_SANITIZE=address,undefined -DCMAKE_BUILD_TYPE=Debug -DKMODGUARD_RESULTS=$(results) >/dev/null
	cmake --build $(BUILD)/test -j $(JOBS)

cli-test: build
	@scripts/bootstrap test
	KMODGUARD_PROGRAMS=$(abspath $(main)) $(pytest) --junitxml=$(results)/cli-test.xml $(CLI_TESTS)

vm-test: stage
	@scripts/bootstrap vm
	cmake --build $(main) --target powerless verdicts fail_bpf index_oracle
	KMODGUARD_BUILD=$(abspath $(main)) $(vm_environment) $(pytest) --junitxml=$(results)/vm-test.xml -k '$(VM_ONLY)' $(VM_TESTS)

# For the inner loop: what a change touches, and a list of what was left out.
check:
	@scripts/bootstrap test lint
	@MAKE='$(MAKE)' scripts/check.py $(BUILD) $(BASE)

lint:
	@scripts/bootstrap lint
	scripts/lint $(BUILD)

fuzz:
	@scripts/bootstrap lint
	scripts/fuzz $(BUILD)

bench: stage
	@scripts/bootstrap vm
	$(configure) -B $(main) -DKMODGUARD_BENCH=ON >/dev/null
	cmake --build $(main) -j $(JOBS) --target kmodguard_bench
	$(vm_environment) $(PYTHON) bench/run.py $(main)/bench/kmodguard_bench

# In a virtual machine; where QEMU is not installed and cannot be, what works without one.
demo:
	@MAKE='$(MAKE)' PYTHON='$(PYTHON)' $(vm_environment) scripts/demo

process-demo: stage
	KMODGUARD_STAGE=$(stage) PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/cli/demo.py

# README.md's example, by a run of the demo.
readme-demo: stage
	@scripts/bootstrap build demo
	$(vm_environment) $(PYTHON) scripts/readme_demo.py

# What `make install` installs, under BUILD: what the test machine boots.
stage: build
	rm -rf $(stage)
	DESTDIR=$(stage) cmake --install $(main) --strip >/dev/null

install: build
	DESTDIR=$(DESTDIR) cmake --install $(main) --strip

uninstall:
	@test -f $(main)/install_manifest.txt || { echo "nothing was installed from here" >&2; exit 1; }
	@# With the hook gone but still armed, every request would fail.
	if [ -z "$(DESTDIR)" ] && [ -x $(PREFIX)/bin/kmodctl ]; then $(PREFIX)/bin/kmodctl stop; fi
	sed 's|^|$(DESTDIR)|' $(main)/install_manifest.txt | xargs -d '\n' rm -fv
	rm -rf $(DESTDIR)/var/lib/kmodguard

clean:
	rm -rf $(BUILD)

bootstrap:
	scripts/bootstrap build test lint vm
