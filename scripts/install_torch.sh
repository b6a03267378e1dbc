#!/bin/sh
# Puts PyTorch into the virtual environment. Called by `make install`.
#
# With a GPU, a torch that is already there is left alone: somebody chose its CUDA. Otherwise the
# version is pinned, so that nobody gets another one than what the tests ran with.
set -eu

if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
  if version=$("$PYTHON" -c 'import torch; print(torch.__version__)' 2>/dev/null); then
    echo "GPU found; keeping torch $version of this environment"
    exit 0
  fi
fi
"$PYTHON" -m pip install --quiet "$TORCH"
