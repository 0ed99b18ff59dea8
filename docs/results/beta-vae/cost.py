"""CPU time of a training step per image, one thread, and the share of it in rotation.

`python docs/results/beta-vae/cost.py` prints the table of ../../recipes/beta-vae.md.
"""

import statistics
import time
from collections.abc import Callable

import torch

import rotfast
from rotfast.recipes.beta_vae import preset_config
from rotfast.recipes.beta_vae.networks import make_net, terms

BATCH, REPEATS = 64, 7


def milliseconds(call: Callable[[], object]) -> float:
    """Median CPU time of a call, by image."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times) / BATCH


def main() -> None:
    """Print one row for every architecture, at the size its preset gives it."""
    torch.set_num_threads(1)
    print("| architecture | image size | ms an image | of it rotation |\n| --- | --- | --- | --- |")
    for architecture in ("article", "own", "spatial"):
        config = preset_config(architecture, "mnist")
        net = make_net(config)
        adam = torch.optim.Adam(net.parameters(), fused=True)
        x = torch.rand(BATCH, 1, config.image_size, config.image_size)
        candidates = torch.rand(BATCH, config.candidates) * 90

        def step(net=net, adam=adam, x=x) -> None:
            loss = sum(term.mean() for term in terms(net, x))
            adam.zero_grad()
            loss.backward()
            adam.step()

        rotation = milliseconds(lambda x=x: rotfast.rotate(x, torch.rand(BATCH) * 90))
        whole = milliseconds(step) + rotation
        if architecture == "spatial":
            rotation += milliseconds(lambda x=x, angle=candidates: rotfast.rotate(x, angle))
        print(f"| {architecture} | {config.image_size} | {whole:.2f} | {rotation / whole:.1%} |")


if __name__ == "__main__":
    main()
