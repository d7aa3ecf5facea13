# Sourced by start.sh and test.sh: sets $python to a Python of at least 3.11, or says what is missing.
usable() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
if [ -n "${PYTHON:-}" ]; then
    usable "$PYTHON" && python=$PYTHON
else
    for candidate in .venv/bin/python python3.13 python3.12 python3.11 python3 python; do
        if usable "$candidate"; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    found=$("${PYTHON:-python3}" -c 'import sys; print("Python %d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none
    echo "cronsched: needs Python 3.11 or newer (found: ${PYTHON:+$PYTHON, }$found). Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python; or name one: PYTHON=/path/to/python3" >&2
    exit 1
fi
