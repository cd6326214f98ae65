#!/bin/sh
# Build KenLM's `lmplz` and `build_binary` into build/lmplz, for recipes with `estimator: lmplz`.
#
# The kenlm package of the constraints has no lmplz, but its source distribution does (LGPL; nothing of it is kept here).
# Needs cmake, a C++ compiler and Debian's libboost-{program-options,system,thread,test}-dev; takes about a minute.
# PYTHON names the interpreter whose pip fetches the source (default .venv/bin/python).
set -eu

cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
target=build/lmplz
version=$("$python" -c 'import importlib.metadata as m; print(m.version("kenlm"))')

if [ -x "$target/lmplz" ] && [ "$(cat "$target/VERSION" 2>/dev/null)" = "$version" ]; then
    echo "$target/lmplz of kenlm $version is there"
    exit 0
fi
for tool in cmake c++ make; do
    command -v "$tool" >/dev/null || { echo "lmplz needs $tool: apt-get install cmake g++ make" >&2; exit 1; }
done
if [ ! -e /usr/include/boost/version.hpp ] && [ -z "${BOOST_ROOT:-}" ]; then
    echo "lmplz needs Boost: apt-get install libboost-program-options-dev libboost-system-dev libboost-thread-dev" \
        "libboost-test-dev, or set BOOST_ROOT" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Without isolation: pip asks the package for its name, and would otherwise build the package's own cmake for that.
"$python" -m pip download --quiet --no-deps --no-build-isolation --no-binary kenlm --dest "$work" "kenlm==$version"
mkdir "$work/source" "$work/build"
tar -xzf "$work/kenlm-$version.tar.gz" -C "$work/source" --strip-components 1
log=$work/log
{
    cmake -S "$work/source" -B "$work/build" -DCMAKE_BUILD_TYPE=Release &&
        cmake --build "$work/build" --parallel "${JOBS:-2}" --target lmplz build_binary
} >"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }
mkdir -p "$target"
cp "$work/build/bin/lmplz" "$work/build/bin/build_binary" "$target/"
echo "$version" >"$target/VERSION"
echo "built $target/lmplz of kenlm $version"
