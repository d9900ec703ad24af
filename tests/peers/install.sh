#!/usr/bin/env bash
# Puts the hosts and masters of others, which the tests run as processes of their own, into one folder:
#
#     tests/peers/install.sh [FOLDER]        default: MOONKILN_PEER_TOOLS, or .peers beside the checkout's files
#
# FOLDER/octoprint is a venv with OctoPrint; FOLDER/node holds cncjs, jsmodbus and modbus-serial (package.json here has
# their versions). As root it installs mbpoll and libmodbus-dev, too. What is there in the right version is left alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-${MOONKILN_PEER_TOOLS:-$(dirname "$(dirname "$here")")/.peers}}
python=${PYTHON:-python3}
octoprint=OctoPrint==1.11.8
missing=()
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

say() { printf '%s\n' "$*"; }

if [ "$(cat "$folder/octoprint/.installed" 2>/dev/null)" = "$octoprint" ]; then
    say "OctoPrint: there already"
else
    rm -rf "$folder/octoprint"
    if "$python" -m venv "$folder/octoprint" && "$folder/octoprint/bin/python" -m pip install --quiet "$octoprint"; then
        printf '%s\n' "$octoprint" >"$folder/octoprint/.installed"
        say "OctoPrint: installed"
    else
        missing+=(OctoPrint)
    fi
fi

if cmp -s "$here/package.json" "$folder/node/.installed"; then
    say "cncjs, jsmodbus, modbus-serial: there already"
elif ! command -v npm >/dev/null 2>&1; then
    say "npm is not installed: no cncjs, jsmodbus, modbus-serial" >&2
    missing+=(cncjs jsmodbus modbus-serial)
else
    mkdir -p "$folder/node"
    cp "$here/package.json" "$folder/node/package.json"
    # no scripts: serialport ships its binding built, and nothing else needs one
    if (cd "$folder/node" && npm install --omit=dev --ignore-scripts --no-package-lock --no-audit --no-fund --loglevel=error); then
        cp "$here/package.json" "$folder/node/.installed"
        say "cncjs, jsmodbus, modbus-serial: installed"
    else
        missing+=(cncjs jsmodbus modbus-serial)
    fi
fi

packages=()
command -v mbpoll >/dev/null 2>&1 || packages+=(mbpoll)
[ -e /usr/include/modbus/modbus.h ] || packages+=(libmodbus-dev)
if [ ${#packages[@]} -eq 0 ]; then
    say "mbpoll, libmodbus: there already"
elif [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    if apt-get update -qq && apt-get install -y -qq "${packages[@]}"; then
        say "${packages[*]}: installed"
    else
        missing+=("${packages[@]}")
    fi
else
    say "for mbpoll and libmodbus, as root: apt-get install ${packages[*]}" >&2
    missing+=("${packages[@]}")
fi

if [ ${#missing[@]} -gt 0 ]; then
    say "not installed: ${missing[*]}; the tests that need them are skipped" >&2
    exit 1
fi
