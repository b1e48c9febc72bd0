#!/bin/sh
# Makes made_up.wasm, here or in the folder that is given. Needs occopus, and componentize-js
# (npm install -g @bytecodealliance/componentize-js).
set -eu
cd "$(dirname "$0")"
out=${1:-.}
"${OCCOPUS:-occopus}" plugin wit --kind driver "$out/wit"
componentize-js driver.js --wit "$out/wit" --world-name driver-full --disable fetch-event --out "$out/made_up.wasm"
