from typing import TypedDict

class BuildInfo(TypedDict):
    torch: str
    compiler: str
    instruction_set: str
    cuda: str | None
    cuda_architectures: list[str]
    no_cuda_reason: str | None

def build_info() -> BuildInfo: ...
