#!/usr/bin/env bash
# Compiles every CUDA source for sm_80 and sm_90, without a GPU and against any torch's headers. A spill is an error.
# Usage: checks/nvcc.sh [python with torch]
set -euo pipefail
python=${1:-python3}

mapfile -t sources < <(find csrc -name '*.cu' | sort)
if [ ${#sources[@]} -eq 0 ]; then
  echo "nvcc: there are no CUDA sources"
  exit 0
fi
nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc || true)
if [ -z "$nvcc" ]; then
  echo "nvcc: skipped ${#sources[@]} CUDA sources, no nvcc on this machine"
  exit 0
fi

headers=$("$python" -c 'import os, torch; print(os.path.join(os.path.dirname(torch.__file__), "include"))')
objects=$(mktemp -d)
trap 'rm -rf "$objects"' EXIT
for source in "${sources[@]}"; do
  echo "nvcc: $source"
  "$nvcc" -std=c++20 -O3 -DUSE_CUDA -DTORCH_TARGET_VERSION=0x020b000000000000 -isystem "$headers" -Icsrc \
    -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 --threads 2 \
    -Xptxas -v,-warn-spills -Xcompiler -fPIC,-Wall -Werror all-warnings \
    -c "$source" -o "$objects/out.o" 2>&1 | tee "$objects/log"
  if grep -E '[1-9][0-9]* bytes spill' "$objects/log"; then
    echo "nvcc: $source spills registers"
    exit 1
  fi
done
echo "nvcc: ${#sources[@]} CUDA sources compile for sm_80 and sm_90 without spills"
