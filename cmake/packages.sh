#!/bin/sh
# Finds the Debian packages that a command of the Makefile needs, says which are missing, and installs them.
#
#   cmake/packages.sh build|test|check      each set holds the one before it
#   PRUNE_NO_INSTALL=1                      installs nothing: prints the missing packages and fails
set -eu

set_name=${1:-build}

# Build and run the program, its tests and its benchmarks.
packages="g++ cmake ninja-build libeigen3-dev libdnnl-dev libfmt-dev libboost-program-options-dev
  libbenchmark-dev libgtest-dev libgmock-dev nlohmann-json3-dev libjs-chart.js libpcre2-dev libutf8proc-dev
  libsentencepiece-dev"
# Check the format and the code; independent implementations in the tests; counting system calls; the package
# as its users meet it.
test_packages="clang-format-14 clang-tidy-14 libomp-14-dev python3 python3-numpy strace pkg-config"
# Installed for the tests where that works; those that need them are skipped where not: kernels of ARM64.
optional_packages="g++-aarch64-linux-gnu qemu-user-static"
# Build with the second compiler, its sanitizers and its fuzzer; the dashboard's page in a browser, and another's tool on what it
# exports, whose tests are skipped where these are missing.
check_packages="clang-14 libclang-rt-14-dev chromium chromium-driver libbenchmark-tools python3-scipy"

case $set_name in
  build) optional_packages= ;;
  test) packages="$packages $test_packages" ;;
  check) packages="$packages $test_packages $check_packages" ;;
  *) echo "packages: unknown set '$set_name': use build, test or check" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  echo "packages: not a Debian system, nothing is installed. Needed, by their Debian names:" >&2
  echo $packages >&2
  exit 0
fi

missing_of() {
  for package; do
    is_installed "$package" || printf '%s ' "$package"
  done
}
is_installed() {
  # One line for each architecture of the package.
  dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}
missing=$(missing_of $packages)
missing=${missing% }
optional=$(missing_of $optional_packages)
[ -n "$missing$optional" ] || exit 0

if [ "${PRUNE_NO_INSTALL:-}" = 1 ]; then
  [ -n "$missing" ] || exit 0
  echo "packages: missing, and PRUNE_NO_INSTALL=1 is set. Install them with" >&2
  echo "  apt-get install --no-install-recommends $missing" >&2
  exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
  if [ -z "$missing" ] && ! sudo -n true 2>/dev/null; then
    exit 0
  fi
  if ! command -v sudo >/dev/null; then
    echo "packages: neither root nor sudo. Install as root: apt-get install --no-install-recommends $missing" >&2
    exit 1
  fi
  as_root=sudo
fi

# The folder of half-fetched lists is touched by every update, also by one that finds nothing new.
lists_are_fresh() {
  ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 &&
    [ -n "$(find /var/lib/apt/lists/partial -maxdepth 0 -mtime -1 2>/dev/null)" ]
}
update() { $as_root apt-get -qq update || echo "packages: apt-get update failed; going on with the lists there are" >&2; }
install() {
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-remove --no-install-recommends "$@" </dev/null >&2
}

if [ -n "$missing" ]; then
  echo "packages: installing $missing" >&2
  if ! lists_are_fresh || ! install $missing; then
    update
    if ! install $missing; then
      echo "packages: could not install everything; the message of apt-get above says why" >&2
      exit 1
    fi
  fi
fi
if [ -n "$optional" ]; then
  echo "packages: installing $optional" >&2
  install -o Acquire::Retries=0 -o Acquire::http::Timeout=10 $optional || echo "packages: could not install $optional; tests that need them are skipped" >&2
fi
