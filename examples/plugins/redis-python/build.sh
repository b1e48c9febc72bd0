#!/bin/sh
# Makes redis.wasm, here or in the folder that is given. Needs occopus, and componentize-py (pip install componentize-py).
set -eu
cd "$(dirname "$0")"
out=${1:-.}
"${OCCOPUS:-occopus}" plugin wit --kind health-checker "$out/wit"
componentize-py --wit-path "$out/wit" --world health-checker componentize checker --output "$out/redis.wasm"
