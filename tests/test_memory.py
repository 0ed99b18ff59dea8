import subprocess
import sys

import pytest

# Page faults of the sixth step that takes and frees five blocks of 40 MB, with and without the call before.
COUNT = """
import resource, sys, torch, rotfast
if sys.argv[1] == "keep" and not rotfast.keep_freed_memory():
    print("unsupported")
    raise SystemExit
for _ in range(6):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10 << 20) for _ in range(5)]
    del tensors
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> str:
    run = subprocess.run([sys.executable, "-c", COUNT, mode], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_freed_memory_is_taken_again_without_page_faults() -> None:
    kept = faults("keep")
    if kept == "unsupported":
        pytest.skip("the C allocator is not glibc's")
    assert int(kept) < 0.5 * int(faults("default"))
