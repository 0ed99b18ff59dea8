"""Episodes of rotated images in which one task is one angle."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from rotfast.data._checks import check_angles, check_images_labels, check_positive
from rotfast.data.rotated import turned

__all__ = ["AngleEpisodes", "Episode"]


@dataclass(frozen=True)
class Episode:
    """Support and query sets of T tasks.

    Attributes:
        x_spt: (T, k_spt, 1, H, W) float32 in [0, 1].
        y_spt: (T, k_spt) int64.
        x_qry: (T, k_qry, 1, H, W).
        y_qry: (T, k_qry).
        angle: (T,) float32, degrees.
        angle_index: (T,) int64, place of the angle in the list of angles.

    Example:
        >>> images, labels = torch.zeros(60, 28, 28), torch.zeros(60, dtype=torch.int64)
        >>> episode = AngleEpisodes(images, labels, [0.0, 9.0], k_spt=1, k_qry=19).sample()
        >>> episode.to("cpu").x_qry.shape
        torch.Size([2, 19, 1, 28, 28])
    """

    x_spt: Tensor
    y_spt: Tensor
    x_qry: Tensor
    y_qry: Tensor
    angle: Tensor
    angle_index: Tensor

    def to(self, device: torch.device | str) -> "Episode":
        """The same episode on another device."""
        return Episode(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


class AngleEpisodes:
    """Draws episodes of rotated images: one task is one angle, its images are fresh at every call.

    The state of ``generator`` is all that a resumed run needs to draw the same episodes.

    Args:
        images: uint8 0..255 or floating point, (N, H, W) or (N, 1, H, W).
        labels: (N,) integers.
        angles: degrees, the angles of the tasks.
        k_spt: support images per task.
        k_qry: query images per task.
        generator: source of randomness; None is torch's global one.

    Raises:
        TypeError: images of an integer type other than uint8.
        ValueError: wrong shapes, no angle, an angle that is not finite, or fewer than ``k_spt + k_qry``
            images.

    Example:
        >>> images, labels = torch.zeros(60, 28, 28), torch.zeros(60, dtype=torch.int64)
        >>> episodes = AngleEpisodes(images, labels, angles=[0.0, 9.0, 18.0, 27.0, 36.0], k_spt=1, k_qry=19)
        >>> episode = episodes.sample()
        >>> episode.x_spt.shape, episode.y_qry.shape, episode.angle
        (torch.Size([5, 1, 1, 28, 28]), torch.Size([5, 19]), tensor([ 0.,  9., 18., 27., 36.]))
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        angles: Sequence[float] | Tensor,
        k_spt: int,
        k_qry: int,
        generator: torch.Generator | None = None,
    ) -> None:
        check_positive(k_spt=k_spt, k_qry=k_qry)
        self.images = check_images_labels(images, labels)
        self.labels = labels
        self.angles = check_angles(angles)
        if k_spt + k_qry > len(labels):
            raise ValueError(f"k_spt + k_qry must be at most the {len(labels)} images, got {k_spt} + {k_qry}")
        self.k_spt = k_spt
        self.k_qry = k_qry
        self.generator = generator

    def sample(self, num_tasks: int | None = None) -> Episode:
        """Draw one episode.

        Args:
            num_tasks: number of tasks; None gives every angle once, in order. Otherwise the angles are drawn,
                and none comes a second time before all have come once.

        Returns:
            Episode with T = ``num_tasks`` or the number of angles; no image occurs twice in a task.

        Raises:
            ValueError: ``num_tasks`` below 1.

        Example:
            >>> images, labels = torch.zeros(60, 28, 28), torch.zeros(60, dtype=torch.int64)
            >>> AngleEpisodes(images, labels, [0.0, 90.0], k_spt=1, k_qry=4).sample(num_tasks=7).y_qry.shape
            torch.Size([7, 4])
        """
        angle_index = self._draw_angles(num_tasks)
        angle = self.angles[angle_index]
        size = self.k_spt + self.k_qry
        chosen = torch.stack(
            [torch.randperm(len(self.labels), generator=self.generator)[:size] for _ in range(len(angle))]
        )
        flat = turned(self.images[chosen.flatten()], angle.repeat_interleave(size))
        x, y = flat.reshape(*chosen.shape, *flat.shape[1:]), self.labels[chosen]
        k = self.k_spt
        return Episode(x[:, :k], y[:, :k], x[:, k:], y[:, k:], angle, angle_index)

    def _draw_angles(self, num_tasks: int | None) -> Tensor:
        count = len(self.angles)
        if num_tasks is None:
            return torch.arange(count)
        check_positive(num_tasks=num_tasks)
        rounds = -(-num_tasks // count)
        return torch.cat([torch.randperm(count, generator=self.generator) for _ in range(rounds)])[:num_tasks]
