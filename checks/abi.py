"""The extension needs nothing of torch but its stable ABI: no undefined at::, c10:: or torch:: symbol."""

import importlib.util
import re
import subprocess
import sys

FOREIGN = re.compile(r"\b(at|c10|torch)::")


def undefined(path: str) -> list[str]:
    """Demangled undefined symbols of a shared library."""
    listing = subprocess.run(
        ["nm", "-DC", "--undefined-only", path], capture_output=True, text=True, check=True
    )
    return [line.split(maxsplit=1)[1] for line in listing.stdout.splitlines()]


def main() -> int:
    """Print the verdict; 1 where a symbol outside the stable ABI is needed."""
    spec = importlib.util.find_spec("rotfast._C")
    if spec is None or spec.origin is None:
        print("rotfast._C is not built")
        return 1
    symbols = undefined(spec.origin)
    stable = sum(symbol.startswith(("aoti_torch_", "torch_")) for symbol in symbols)
    foreign = [symbol for symbol in symbols if FOREIGN.search(symbol)]
    for symbol in foreign:
        print(f"outside the stable ABI: {symbol}")
    print(f"ABI: {len(symbols)} undefined symbols, {stable} of the stable ABI, {len(foreign)} outside it")
    return 1 if foreign or not stable else 0


if __name__ == "__main__":
    sys.exit(main())
