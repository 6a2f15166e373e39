#!/bin/sh
# What the image is built with, in two steps so that a change of the code does not install everything again.
# Run where the files of the image lie; PYTHON is the Python to build with.
set -eu

case "${1:-}" in
dependencies) # the pinned ones, each with its hash; none that only development needs
    "${PYTHON:-python}" -m venv .venv
    .venv/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet \
        --no-deps --require-hashes -r requirements.lock
    # Their own tests, a tenth of what they weigh, run nowhere here.
    find .venv -type d \( -name tests -o -name test \) -path '*/site-packages/*' \
        \( -path '*/pandas/tests' -o -path '*/scipy/*/tests' -o -path '*/pyarrow/tests' -o -path '*/numpy/*/tests' \) \
        -prune -exec rm -rf {} +
    ;;
package) # the command, and the flows where workers look for them
    .venv/bin/python -m pip --disable-pip-version-check --no-cache-dir install --quiet \
        --no-deps --no-build-isolation --no-index --editable .
    .venv/bin/python -m compileall -q domain tasks flows emulators # nobody may write there later
    ;;
*)
    echo "usage: build.sh dependencies|package" >&2
    exit 2
    ;;
esac
