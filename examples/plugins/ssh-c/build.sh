#!/bin/sh
# Makes ssh.wasm, here or in the folder that is given. Needs occopus, wit-bindgen (cargo install wit-bindgen-cli),
# a C compiler for WebAssembly (pip install ziglang), and jco (npm install -g @bytecodealliance/jco).
set -eu
cd "$(dirname "$0")"
out=${1:-.}
rm -rf "$out/wit-all"
cp -R wit "$out/wit-all"
contract="$out/wit-all/deps/occopus-health"
"${OCCOPUS:-occopus}" plugin wit --kind health-checker "$contract"
mv "$contract"/deps/* "$out/wit-all/deps"
rmdir "$contract/deps"
wit-bindgen c "$out/wit-all" --world ssh --out-dir "$out/generated"
python3 -m ziglang cc -target wasm32-wasi -mexec-model=reactor -Os -Wall -Wl,-z,stack-size=65536 -I "$out/generated" -o "$out/ssh.core.wasm" \
    checker.c "$out/generated/ssh.c" "$out/generated/ssh_component_type.o"
jco new "$out/ssh.core.wasm" --wasi-reactor -o "$out/ssh.wasm"
