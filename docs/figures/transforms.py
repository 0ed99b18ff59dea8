"""The figure of ../transforms.md.

`python docs/figures/transforms.py` writes transforms.png beside this file.
"""

from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from rotfast.data import load_digits
from rotfast.transforms import RandomAffine, Transformed

COLUMNS = 7
COLORS = {"mask": "#0072B2", "box": "#E69F00", "keypoint": "#CC79A7"}


def annotated(images: Tensor) -> Transformed:
    """Images (N, 28, 28) with their ink as mask, its box, and its first and last pixel as keypoints."""
    ink = images > 100
    boxes, points = [], []
    for mask in ink:
        rows, columns = mask.nonzero().unbind(1)
        boxes.append([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        points.append([[columns[0], rows[0]], [columns[-1], rows[-1]]])
    return Transformed(images.unsqueeze(1), ink, torch.tensor(boxes).float(), torch.tensor(points).float())


def draw(axes: Axes, image: Tensor, mask: Tensor, box: Tensor, points: Tensor) -> None:
    """One image with what belongs to it; a box bounds pixels, whose centres lie at integers."""
    axes.imshow(image.squeeze(0), cmap="gray_r", vmin=0, vmax=255)
    axes.contour(mask, levels=[0.5], colors=COLORS["mask"], linewidths=0.9)
    x1, y1, x2, y2 = (box.squeeze(0) - 0.5).tolist()
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=COLORS["box"], linewidth=1.4))
    axes.plot(*points.T, "o", color=COLORS["keypoint"], markersize=4)
    axes.set(xticks=[], yticks=[], xlim=(-0.5, 27.5), ylim=(27.5, -0.5))


def main() -> None:
    """Draw, transform, replay and undo."""
    augment = RandomAffine(
        40, (0.12, 0.12), (0.7, 1.1), 20, "bilinear", p=0.8, generator=torch.Generator().manual_seed(8)
    )
    original = annotated(load_digits("test")[0][:COLUMNS])
    params = augment.sample(original.x)
    targets = {"masks": original.masks, "boxes": original.boxes, "keypoints": original.keypoints}
    moved, again = (augment(original.x, params=params, **targets) for _ in range(2))
    if not all(torch.equal(a, b) for a, b in zip(moved, again, strict=True)):
        raise AssertionError("a replay must be identical")
    back = augment.inverse(moved.x, params, masks=moved.masks, boxes=moved.boxes, keypoints=moved.keypoints)
    rows = {"original": original, "transformed": moved, "replayed:\nidentical": again, "inverse": back}
    figure = Figure(figsize=(1.15 * COLUMNS + 0.6, 1.15 * len(rows) + 0.35), layout="constrained")
    for axes, (name, batch) in zip(figure.subplots(len(rows), COLUMNS), rows.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for cell, *items in zip(axes, *batch, strict=True):
            draw(cell, *items)
        if batch is original:
            for cell, angle, applied in zip(
                axes, params.angle.tolist(), params.applied.tolist(), strict=True
            ):
                cell.set_title(f"{angle:+.0f}°" if applied else "not drawn", fontsize=9)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
