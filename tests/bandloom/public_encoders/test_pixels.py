"""Native groups on one grid, against plain loops."""

import numpy as np
import torch

from bandloom.public_encoders.pixels import on_one_grid
from bandloom.sensors import get_sensor

S2 = get_sensor("sentinel2-l1c")


def groups(side_m: int, seed: int = 0) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        g.gsd_m: rng.integers(0, 9, (1, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m)) * 700 for g in S2.groups
    }


def test_coarser_samples_are_repeated_over_what_they_cover():
    native = groups(120)
    dn, valid = on_one_grid({g: torch.from_numpy(x) for g, x in native.items()}, S2, ("B01", "B02", "B05"), 10)
    for y in range(12):
        for x in range(12):
            wanted = [native[60][0, 0, y // 6, x // 6], native[10][0, 0, y, x], native[20][0, 0, y // 2, x // 2]]
            assert dn[0, :, y, x].tolist() == wanted
            assert valid[0, :, y, x].tolist() == [value > 0 for value in wanted]


def test_finer_samples_are_averaged_without_the_absent_ones():
    native = groups(180)
    native[10][0, 0, :3, :3] = 0
    native[10][0, 0, 3, 3] = 65535
    dn, valid = on_one_grid({g: torch.from_numpy(x) for g, x in native.items()}, S2, ("B02", "B05"), 30)
    fine = {"B02": native[10][0, 0], "B05": native[20][0, 0].repeat(2, 0).repeat(2, 1)}
    for index, plane in enumerate(fine.values()):
        for y in range(6):
            for x in range(6):
                block = plane[3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
                kept = block[(block > 0) & (block < 65535)]
                assert bool(valid[0, index, y, x]) == bool(len(kept))
                if len(kept):
                    np.testing.assert_allclose(float(dn[0, index, y, x]), kept.mean(), rtol=1e-5)
