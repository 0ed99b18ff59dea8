import math

import pytest
import torch
from torch.utils.data import DataLoader

import rotfast
from rotfast.data import RotatedDataset, load_rmnist_task_data

IMAGES = torch.randint(0, 256, (30, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(30) % 10


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class TestRotatedDataset:
    def test_item(self):
        data = RotatedDataset(IMAGES, LABELS, [0.0, 90.0], generator=seeded())
        assert len(data) == 30
        for i in range(30):
            image, label, angle = data[i]
            assert image.shape == (1, 28, 28)
            assert image.dtype == torch.float32
            assert (label, type(label)) == (i % 10, int)
            assert isinstance(angle, float)
            upright = rotfast.rotate(IMAGES[i], 0, mean=0, std=1)
            torch.testing.assert_close(upright, IMAGES[i] / 255)
            assert torch.equal(image[0], upright.rot90(int(angle // 90)))
        assert set(data.angle.tolist()) == {0.0, 90.0}

    def test_reproducible_from_the_seed(self):
        first, second = (
            RotatedDataset(IMAGES, LABELS, angle_range=(-90.0, 90.0), generator=seeded(3)) for _ in "ab"
        )
        assert torch.equal(first.angle, second.angle)
        assert torch.equal(first[4][0], second[4][0])
        other = RotatedDataset(IMAGES, LABELS, angle_range=(-90.0, 90.0), generator=seeded(4))
        assert not torch.equal(first.angle, other.angle)

    def test_range(self):
        images, labels = torch.zeros(1000, 2, 2), torch.zeros(1000, dtype=torch.int64)
        angle = RotatedDataset(images, labels, angle_range=(-30.0, 60.0), generator=seeded()).angle
        assert angle.min() >= -30
        assert angle.max() <= 60
        assert angle.mean().item() == pytest.approx(15, abs=3)

    def test_loader_rotates_batches(self):
        data = RotatedDataset(IMAGES, LABELS, [0.0, 9.0, 18.0], generator=seeded())
        images, labels, angles = next(iter(DataLoader(data, batch_size=8)))
        assert images.shape == (8, 1, 28, 28)
        assert (labels.dtype, angles.dtype) == (torch.int64, torch.float64)
        assert torch.equal(images[5], data[5][0])
        assert angles.tolist() == data.angle[:8].tolist()

    def test_float_images_with_a_channel(self):
        images = torch.rand(3, 1, 5, 5)
        assert torch.equal(RotatedDataset(images, LABELS[:3], [0.0])[1][0], images[1])

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"angles": []}, ValueError, "angles must be a non-empty list"),
            ({"angles": [0.0, math.nan]}, ValueError, "angles must be finite"),
            ({"angles": None}, ValueError, "either angles or angle_range"),
            ({"angle_range": (0.0, 1.0)}, ValueError, "either angles or angle_range"),
            ({"angles": None, "angle_range": (1.0, 0.0)}, ValueError, r"angle_range must be .*\(1.0, 0.0\)"),
            ({"angles": None, "angle_range": (0.0, math.inf)}, ValueError, "angle_range must be finite"),
            ({"images": IMAGES.int()}, TypeError, "images must be uint8 or floating point, got torch.int32"),
            ({"images": IMAGES.numpy()}, TypeError, "images must be a Tensor, got ndarray"),
            (
                {"images": torch.zeros(30, 3, 8, 8)},
                ValueError,
                r"images must be \(N, H, W\).*\(30, 3, 8, 8\)",
            ),
            ({"labels": LABELS[:4]}, ValueError, r"labels must be \(30,\).*\(4,\)"),
            ({"labels": LABELS.float()}, TypeError, "labels must be integers, got torch.float32"),
        ],
    )
    def test_bad_input(self, change, error, message):
        with pytest.raises(error, match=message):
            RotatedDataset(**({"images": IMAGES, "labels": LABELS, "angles": [0.0]} | change))


class TestTaskData:
    def loader(self, batch_size: int = 12) -> DataLoader:
        return DataLoader(
            RotatedDataset(IMAGES, torch.arange(30), [0.0, 9.0], generator=seeded()), batch_size
        )

    def test_cuts_batches_in_order(self):
        tasks = load_rmnist_task_data(self.loader(), num_tasks=4, k_spt=1, k_qry=4)
        assert len(tasks) == 4
        x_spt, y_spt, angles_spt, x_qry, y_qry, angles_qry = tasks[0]
        assert x_spt.shape == (1, 1, 28, 28)
        assert x_qry.shape == (4, 1, 28, 28)
        assert y_spt.shape == angles_spt.shape == (1,)
        assert y_qry.shape == angles_qry.shape == (4,)
        drawn = [torch.cat([task[1], task[4]]).tolist() for task in tasks]
        assert drawn == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [12, 13, 14, 15, 16], [17, 18, 19, 20, 21]]

    @pytest.mark.parametrize(
        ("num_tasks", "k_spt", "k_qry", "message"),
        [
            (1, 3, 10, "k_spt \\+ k_qry must be at most the batch size 12, got 3 \\+ 10"),
            (6, 1, 4, "num_tasks must be at most the 5 tasks the loader holds, got 6"),
            (0, 1, 4, "num_tasks must be at least 1, got 0"),
            (1, 0, 4, "k_spt must be at least 1, got 0"),
        ],
    )
    def test_bad_input(self, num_tasks, k_spt, k_qry, message):
        with pytest.raises(ValueError, match=message):
            load_rmnist_task_data(self.loader(), num_tasks, k_spt, k_qry)
