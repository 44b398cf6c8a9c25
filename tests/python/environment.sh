#!/bin/sh
# Prints the Python of a pinned environment, which it makes once per version of requirements.txt in the cache directory:
# that of the folder given, or of the clients beside this script. It must never leave half an environment that looks whole: the mark is written last, under a lock.
set -eu
here=$(cd "${1:-$(dirname "$0")}" && pwd)
pins=$(sha256sum "$here/requirements.txt" | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/portolan
environment=$cache/python-$pins
mkdir -p "$cache"
exec 9>"$environment.lock"
flock 9
if [ ! -e "$environment/complete" ]; then
    echo "making the Python environment of $here/requirements.txt in $environment" >&2
    rm -rf "$environment"
    python3 -m venv "$environment" >&2
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        --requirement "$here/requirements.txt" >&2
    touch "$environment/complete"
fi
echo "$environment/bin/python"
