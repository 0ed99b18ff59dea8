"""Rotated image sets: a map-style data set, and tasks cut from a loader."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from rotfast.data._checks import check_angle_range, check_angles, check_images_labels, check_positive
from rotfast.functional import rotate

__all__ = ["RotatedDataset", "load_rmnist_task_data"]

Task = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def turned(images: Tensor, angle: Tensor) -> Tensor:
    """The images turned by one angle each, as float32, where uint8 counts as 0..1."""
    if images.dtype == torch.uint8:
        return rotate(images, angle, mean=0.0, std=1.0)
    return rotate(images.to(torch.float32), angle)


class RotatedDataset(Dataset[tuple[Tensor, int, float]]):
    """Images, each turned by an angle of its own that is drawn once, at construction.

    Map-style: item i is (image float32 (1, H, W) in [0, 1], label int, angle float in degrees), the same on
    every access. A DataLoader rotates a whole batch at once. The angles are drawn from ``generator`` only, so
    a seed fixes the data set.

    Args:
        images: uint8 0..255 or floating point, (N, H, W) or (N, 1, H, W).
        labels: (N,) integers.
        angles: degrees to draw from, uniformly.
        angle_range: (low, high) in degrees to draw from, uniformly; give either this or ``angles``.
        generator: source of randomness; None is torch's global one.

    Attributes:
        angle: (N,) float32, the angle of every image.
        angle_index: (N,) int64, its place in ``angles``; None with ``angle_range``.

    Raises:
        TypeError: images of an integer type other than uint8.
        ValueError: wrong shapes, no angle, an angle that is not finite, both or neither of ``angles`` and
            ``angle_range``.

    Example:
        >>> images, labels = torch.zeros(6, 28, 28, dtype=torch.uint8), torch.arange(6)
        >>> generator = torch.Generator().manual_seed(0)
        >>> data = RotatedDataset(images, labels, angles=[0.0, 9.0, 18.0], generator=generator)
        >>> image, label, angle = data[2]
        >>> image.shape, label, angle in (0.0, 9.0, 18.0)
        (torch.Size([1, 28, 28]), 2, True)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        angles: Sequence[float] | Tensor | None = None,
        *,
        angle_range: tuple[float, float] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.images = check_images_labels(images, labels)
        self.labels = labels
        self.angle_index: Tensor | None = None
        count = len(labels)
        if (angles is None) == (angle_range is None):
            raise ValueError("give either angles or angle_range, got both or neither")
        if angles is not None:
            choices = check_angles(angles)
            self.angle_index = torch.randint(len(choices), (count,), generator=generator)
            self.angle = choices[self.angle_index]
        elif angle_range is not None:
            low, high = check_angle_range(angle_range)
            self.angle = low + (high - low) * torch.rand(count, generator=generator)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, float]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[tuple[Tensor, int, float]]:
        """Items of a batch, rotated together; DataLoader calls it when it is there."""
        chosen = torch.tensor(indices)
        angle = self.angle[chosen]
        images = turned(self.images[chosen], angle)
        return list(zip(images, self.labels[chosen].tolist(), angle.tolist(), strict=True))


def load_rmnist_task_data(
    loader: Iterable[Sequence[Tensor]], num_tasks: int, k_spt: int, k_qry: int
) -> list[Task]:
    """Cut tasks from the batches of a loader, in order, with no image in two tasks.

    Every task takes the next ``k_spt`` support and ``k_qry`` query images of the current batch; a rest too
    short for a task is dropped and the next batch begins. Such a task mixes angles; for tasks of one angle
    see AngleEpisodes.

    Args:
        loader: yields (images (B, 1, H, W), labels (B,), angles (B,)), such as a DataLoader over a
            RotatedDataset.
        num_tasks: number of tasks.
        k_spt: support images per task.
        k_qry: query images per task.

    Returns:
        One (x_spt, y_spt, angles_spt, x_qry, y_qry, angles_qry) per task, images (k, 1, H, W), the others
        (k,).

    Raises:
        ValueError: a number below 1, ``k_spt + k_qry`` larger than the batch, or a loader that ends before
            the last task.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> data = RotatedDataset(torch.zeros(40, 28, 28), torch.arange(40), angle_range=(-45.0, 45.0))
        >>> tasks = load_rmnist_task_data(DataLoader(data, batch_size=40), num_tasks=2, k_spt=1, k_qry=19)
        >>> len(tasks), tasks[0][0].shape, tasks[0][5].shape
        (2, torch.Size([1, 1, 28, 28]), torch.Size([19]))
    """
    check_positive(num_tasks=num_tasks, k_spt=k_spt, k_qry=k_qry)
    size = k_spt + k_qry
    tasks: list[Task] = []
    for batch_number, (images, labels, angles) in enumerate(loader):
        if batch_number == 0 and len(images) < size:
            raise ValueError(
                f"k_spt + k_qry must be at most the batch size {len(images)}, got {k_spt} + {k_qry}"
            )
        for start in range(0, len(images) - size + 1, size):
            support, query = slice(start, start + k_spt), slice(start + k_spt, start + size)
            tasks.append(
                (
                    images[support],
                    labels[support],
                    angles[support],
                    images[query],
                    labels[query],
                    angles[query],
                )
            )
            if len(tasks) == num_tasks:
                return tasks
    raise ValueError(f"num_tasks must be at most the {len(tasks)} tasks the loader holds, got {num_tasks}")
