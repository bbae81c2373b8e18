"""Galileo from its authors' files: their answers, its input contract, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

from bandloom.errors import CheckpointError, SceneError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.public_encoders import galileo
from bandloom.public_encoders.galileo import read, resized_kernels
from bandloom.public_encoders.golden import check_golden, native_groups
from bandloom.sensors import get_sensor
from tests.public_encoder_folders import real_galileo, tiny_galileo

L1C, L2A = get_sensor("sentinel2-l1c"), get_sensor("sentinel2-l2a")
TEN = L1C.subset(["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"])

TEN_OF_GALILEO = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")


def chips(sensor=L1C, side_m: int = 360, seed: int = 0) -> dict[int, torch.Tensor]:
    rng = np.random.default_rng(seed)
    sides = {g.gsd_m: side_m // g.gsd_m for g in sensor.groups}
    return {
        g.gsd_m: torch.from_numpy(
            rng.integers(1200, 5000, (2, len(g.bands), sides[g.gsd_m], sides[g.gsd_m])).astype(np.int32)
        )
        for g in sensor.groups
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_galileo(tmp_path_factory.mktemp("public") / "galileo")


@pytest.fixture(scope="module")
def encoder(folder):
    return read(folder).eval()


def test_it_answers_as_its_authors_code_does_on_five_real_windows():
    answers = check_golden(real_galileo())
    assert {answer.patch_px for answer in answers} == {3, 4, 6, 8}
    assert len(answers) == 5
    assert max(answer.max_abs for answer in answers) < 1e-4


def largest_scores(encoder, groups, sensor) -> list[float]:
    """Return the largest attention score of each block."""
    largest = []

    def look(attention, given):
        b, t, _ = given[0].shape
        query, key, _ = attention.qkv(given[0]).reshape(b, t, 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        largest.append(float(((query * attention.scale) @ key.transpose(-2, -1)).abs().max()))

    hooks = [block.attn.register_forward_pre_hook(look) for block in encoder.blocks]
    with torch.no_grad():
        encoder.forward_features(groups, sensor)
    for hook in hooks:
        hook.remove()
    return largest


def test_keys_lose_what_all_of_them_share_and_no_answer_changes(folder, monkeypatch):
    centred = read(folder).eval()
    monkeypatch.setattr(galileo, "centre_keys", lambda encoder: None)
    plain = read(folder).eval()
    groups, width = chips(), plain.embed_dim
    assert not torch.equal(centred.blocks[0].attn.qkv.bias, plain.blocks[0].attn.qkv.bias)
    for rows in (slice(0, width), slice(2 * width, None)):  # queries and values
        assert torch.equal(centred.blocks[0].attn.qkv.bias[rows], plain.blocks[0].attn.qkv.bias[rows])
    with torch.no_grad():
        torch.testing.assert_close(
            centred.forward_features(groups, L1C), plain.forward_features(groups, L1C), atol=1e-5, rtol=1e-5
        )


def test_attention_scores_of_the_real_weights_are_a_quarter_of_what_they_were_on_real_ground(monkeypatch):
    real = real_galileo()
    with np.load(real / "golden.npz") as held:
        name = next(name for name in held.files if name.endswith("_dn"))
        side = held[name].shape[0] // 6 * 6
        groups = native_groups(held[name][:side, :side], TEN_OF_GALILEO, 10, TEN)
    centred = largest_scores(read(real).eval(), groups, TEN)
    monkeypatch.setattr(galileo, "centre_keys", lambda encoder: None)
    plain = largest_scores(read(real).eval(), groups, TEN)
    assert plain[0] > 10_000
    assert centred[0] < plain[0] / 3
    assert max(centred[1:]) <= max(plain[1:])


@pytest.mark.parametrize(("rows", "columns", "patch_px"), [(3, 3, 6), (8, 8, 6), (2, 5, 6), (5, 2, 4)])
def test_positions_follow_the_sides_of_the_grid_as_a_loop_says(folder, rows, columns, patch_px):
    """The authors' formula by hand: columns first, in pixels of 10 m, at their own rates; made once and kept."""
    encoder = read(folder, patch_px=patch_px)
    given = encoder.positions(rows, columns)
    width = encoder.embed_dim // 4
    rates = [10000.0 ** -(i / (width // 2) / 2.0) for i in range(width // 4)]
    for row, column in np.ndindex(rows, columns):
        axes = [[f(place * patch_px * rate) for f in (np.sin, np.cos) for rate in rates] for place in (column, row)]
        expected = [0.0] * (encoder.embed_dim - width) + axes[0] + axes[1]
        np.testing.assert_allclose(given[row * columns + column].numpy(), expected, atol=2e-5)
    assert encoder.positions(rows, columns).data_ptr() == given.data_ptr()


def test_a_sample_of_20_m_is_repeated_over_four_pixels_and_normalised_as_the_authors_do(encoder):
    groups = chips(TEN, 60)
    samples, valid = encoder.samples(groups, TEN)
    planes = samples[0, 0].unflatten(0, (10, 6, 6))
    dn = groups[20][0, 0].numpy().repeat(2, 0).repeat(2, 1) - 1000  # B05 is the fourth channel
    np.testing.assert_allclose(planes[3].numpy(), (dn - (1500 - 2 * 1000)) / (4 * 1000), rtol=1e-6)
    assert valid.all()


def test_an_absent_sample_takes_the_mean_of_its_band_in_its_token_and_an_empty_token_the_pretraining_mean(encoder):
    groups = chips(TEN, 120)
    groups[10][0, 0, 0, :3] = 0
    groups[10][0, 1, 6:, 6:] = 65535
    samples, valid = encoder.samples(groups, TEN)
    blue = samples[0].unflatten(1, (10, 36))[0, 0]
    kept = (groups[10][0, 0, :6, :6].numpy().ravel()[3:] - 1000 + 500) / 4000
    np.testing.assert_allclose(blue[:3].numpy(), kept.mean(), rtol=1e-5)
    np.testing.assert_allclose(samples[0].unflatten(1, (10, 36))[3, 1].numpy(), 0.5)
    assert (~valid[0]).sum() == 3 + 36


def test_bands_that_it_does_not_take_change_nothing(encoder):
    groups = chips()
    fewer = {10: groups[10], 20: groups[20]}
    with torch.no_grad():
        torch.testing.assert_close(encoder.forward_features(groups, L1C), encoder.forward_features(fewer, TEN))


def test_a_band_group_that_a_sensor_lacks_leaves_the_sequence_as_in_pretraining(encoder):
    rgb = L1C.subset(["B02", "B03", "B04"])
    groups = chips()
    alone = {10: groups[10][:, :3]}
    samples, _ = encoder.samples(alone, rgb)
    sequence = encoder.to_sequence(samples, rgb, encoder.positions(6, 6))
    assert sequence.shape == (2, 36, 32)
    whole = encoder.to_sequence(encoder.samples(groups, L1C)[0], L1C, encoder.positions(6, 6))
    torch.testing.assert_close(sequence, whole.unflatten(1, (36, 5))[:, :, 0])


@pytest.mark.parametrize(
    ("sensor", "said"),
    [
        (L2A, "surface reflectance (L2A)"),
        (L1C.subset(["B02", "B03", "B04", "B05", "B08"]), "lacks B06, B07"),
        (L1C.subset(["B01", "B10"]), "has none"),
    ],
)
def test_a_wrong_level_and_half_a_band_group_are_refused(encoder, sensor, said):
    with pytest.raises(CheckpointError, match="galileo") as caught:
        encoder.check_sensor(sensor)
    assert said in str(caught.value)
    with pytest.raises(CheckpointError):
        encoder.samples(chips(sensor), sensor)


def test_a_chip_that_tokens_do_not_tile_is_refused_and_never_stretched(encoder):
    with pytest.raises(SceneError, match="does not tile into tokens of 60 m"):
        encoder.forward_features(chips(TEN, 320), TEN)


def test_a_folder_without_its_normalisation_has_no_scale_and_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "g")
    (tmp_path / "g" / "normalization.json").unlink()
    with pytest.raises(CheckpointError, match="scale of the encoder's input is unknown"):
        load_encoder(tmp_path / "g")
    (tmp_path / "g" / "normalization.json").write_text(json.dumps({"13": {"mean": [1.0] * 12, "std": [0.0] * 13}}))
    with pytest.raises(CheckpointError, match="has no scale"):
        load_encoder(tmp_path / "g")


def test_weights_of_another_shape_are_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "g")
    shape = {"embedding_size": 32, "depth": 3, "num_heads": 4, "mlp_ratio": 4}
    (tmp_path / "g" / "config.json").write_text(json.dumps({"model": {"encoder": shape}}))
    with pytest.raises(CheckpointError, match=r"has no 'blocks\.2"):
        read(tmp_path / "g")


def test_kernels_at_another_patch_see_a_resized_image_as_before():
    """FlexiViT, eq. 7: with as many pixels or fewer, the resized kernel gives the token of the resized image."""
    torch.manual_seed(0)
    kernels, small = torch.randn(3, 2, 8, 8), torch.randn(2, 4, 4)
    resized = resized_kernels(kernels, 4)
    assert resized.shape == (3, 2, 4, 4)
    basis = torch.eye(64).reshape(64, 1, 8, 8)
    down = torch.nn.functional.interpolate(basis, (4, 4), mode="bicubic", antialias=True).reshape(64, 16)
    for kernel, own in zip(kernels.flatten(0, 1), resized.flatten(0, 1), strict=True):
        best = torch.linalg.lstsq(down, kernel.reshape(64, 1)).solution
        torch.testing.assert_close(own.reshape(16, 1), best, atol=1e-4, rtol=1e-3)
    assert torch.equal(resized_kernels(kernels, 8), kernels)
    assert torch.isfinite(torch.einsum("dcij,cij->d", resized, small)).all()


def test_a_checkpoint_made_of_it_answers_the_same_and_carries_its_licence(folder, tmp_path):
    encoder = read(folder, patch_px=4, month=2).eval()
    save_encoder(tmp_path / "c", encoder, [L1C], {})
    again = load_encoder(tmp_path / "c").eval()
    groups = chips(side_m=240)
    with torch.no_grad():
        assert torch.equal(encoder.forward_features(groups, L1C), again.forward_features(groups, L1C))
    assert again.config == encoder.config
    record = json.loads((tmp_path / "c" / "config.json").read_text())
    assert record["encoder_licence"]["name"] == "MIT"
    assert "Presto Authors" in (tmp_path / "c" / "README.md").read_text()


def test_intermediates_end_in_the_features(encoder):
    groups = chips()
    with torch.no_grad():
        kept = encoder.forward_intermediates(groups, L1C, [0, 1])
        torch.testing.assert_close(kept[1], encoder.forward_features(groups, L1C))
    assert kept[0].shape == (2, 36, 32)


def test_the_month_and_the_place_change_the_answer(folder):
    groups = chips()
    with torch.no_grad():
        january, july = (read(folder, month=month).eval().forward_features(groups, L1C) for month in (0, 6))
    assert float((january - july).abs().max()) > 1e-3
