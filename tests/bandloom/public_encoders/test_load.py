"""What holds for every family of public encoders alike: its contract, its refusals, its tokens, its licence."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bandloom.cli import main
from bandloom.errors import CheckpointError
from bandloom.model.checkpoint import load_encoder, save_encoder
from bandloom.public_encoders.family import families
from bandloom.public_encoders.golden import native_sensor
from bandloom.public_encoders.load import public_from_record, say_licence
from bandloom.rasters.values import OFFSET
from bandloom.sensors import SENSORS, Sensor
from tests.public_encoder_families import tiny_family

FAMILIES = sorted(families())
NORMS = ("norm1.weight", "0.input_norm.weight", "0.norm.weight", "bn1.weight")  # of a block, by its authors' names


@pytest.fixture(scope="module", params=FAMILIES)
def folder(request, tmp_path_factory):
    return tiny_family(request.param, tmp_path_factory.mktemp("public") / request.param)


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder).eval()


@pytest.fixture(scope="module")
def sensor(encoder) -> Sensor:
    return native_sensor(encoder.family.level, encoder.family.bands, encoder.config.gsd_m)


def chips(sensor: Sensor, encoder, seed: int = 0) -> dict[int, torch.Tensor]:
    rng, side_m = np.random.default_rng(seed), encoder.chip_step_m
    shapes = {g.gsd_m: (1, len(g.bands), side_m // g.gsd_m, side_m // g.gsd_m) for g in sensor.groups}
    return {gsd: torch.from_numpy(rng.integers(1200, 5000, shape)).float() for gsd, shape in shapes.items()}


def test_a_wrong_level_is_refused(encoder, sensor):
    other = next(s for s in SENSORS.values() if s.reflectance != encoder.family.level)
    with pytest.raises(CheckpointError, match="was pretrained on"):
        encoder.check_sensor(other)
    with pytest.raises(CheckpointError, match="was pretrained on"):
        encoder.samples(chips(other, encoder), other)


def test_a_band_that_is_missing_is_refused_and_never_made_up(encoder, sensor):
    fewer = sensor.subset([band.name for band in sensor.bands if band.slot != encoder.family.bands[1]])
    with pytest.raises(CheckpointError, match=encoder.family.bands[1]):
        encoder.check_sensor(fewer)


def test_an_input_without_a_scale_is_refused(encoder):
    record = encoder.config.model_dump(mode="json")
    for damage in ({"divide": record["divide"][1:]}, {"divide": [0.0] * len(record["divide"])}, {"mean": []}):
        with pytest.raises(CheckpointError, match="scale"):
            public_from_record(record | damage, encoder.statistics)


def test_a_patch_and_a_month_that_it_has_not_are_refused(encoder, folder):
    from bandloom.public_encoders.load import read_public

    with pytest.raises(CheckpointError, match="takes patches of"):
        read_public(folder, patch_px=999)
    if encoder.family.month is None:
        with pytest.raises(CheckpointError, match="no month"):
            read_public(folder, month=3)


def test_samples_are_those_of_a_loop_over_tokens_bands_and_pixels(encoder, sensor):
    groups, config, family = chips(sensor, encoder), encoder.config, encoder.family
    samples, valid = encoder.samples(groups, sensor)
    side = encoder.samples_px
    moved = 1 if family.family == "dofa" else 0  # its convolution pads by one
    rows, columns = encoder.grid(groups)
    assert samples.shape == (1, rows * columns, encoder.samples_per_token(sensor))
    assert valid.all() or moved
    if side != config.patch_px:
        return
    planes = {
        slot: plane.numpy().repeat(g.gsd_m // config.gsd_m, 0).repeat(g.gsd_m // config.gsd_m, 1)
        for g in sensor.groups
        for slot, plane in zip(g.slots, groups[g.gsd_m][0], strict=True)
    }
    unit = 1.0 if family.units == "reflectance * 10000" else 1e-4
    for row, column in ((0, 0), (rows - 1, columns - 1)):
        token = samples[0, row * columns + column].unflatten(0, (len(family.bands), side, side))
        for index, slot in enumerate(family.bands):
            for y, x in ((0, 0), (1, side - 1), (side - 1, side // 2)):
                down, across = row * side + y - moved, column * side + x - moved
                value = float((planes[slot][down, across] - OFFSET) * unit) if min(down, across) >= 0 else None
                if value is not None and config.high:
                    value = min(max(value, config.low[index]), config.high[index])
                wanted = 0.0 if value is None else (value - config.shift[index]) / config.divide[index]
                assert float(token[index, y, x]) == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_every_token_stands_for_its_own_ground_row_by_row(encoder, sensor):
    """Without blocks, ground that changes in one token changes that token alone (and those that overlap it)."""
    groups = chips(sensor, encoder)
    rows, columns = encoder.grid(groups)
    changed = {gsd: group.clone() for gsd, group in groups.items()}
    row, column = rows - 1, 0
    for gsd, group in changed.items():
        step = max(encoder.config.token_m // gsd, 1)
        inside = slice(row * step + step // 2, row * step + step // 2 + 1), slice(step // 2, step // 2 + 1)
        if encoder.config.token_m % gsd == 0:
            group[:, :, inside[0], inside[1]] += 900
    positions = encoder.positions(rows, columns)

    def tokens(of: dict[int, torch.Tensor]) -> torch.Tensor:
        sequence = encoder.to_sequence(encoder.samples(of, sensor)[0], sensor, positions)
        return encoder.to_tokens(sequence, rows * columns)

    if encoder.config.family == "ssl4eo_resnet":
        with torch.no_grad():
            assert encoder.forward_features(groups, sensor).shape == (1, rows * columns, encoder.embed_dim)
        return
    with torch.no_grad():
        difference = (tokens(changed) - tokens(groups)).abs().amax(-1)[0].unflatten(0, (rows, columns))
        assert encoder.forward_features(groups, sensor).shape == (1, rows * columns, encoder.embed_dim)
    assert difference[row, column] > 0
    if encoder.samples_px == encoder.config.patch_px:
        difference[row, column] = 0
        assert float(difference.max()) == 0


def test_intermediates_end_in_the_features(encoder, sensor):
    groups, last = chips(sensor, encoder), len(encoder.blocks) - 1
    with torch.no_grad():
        (kept,) = encoder.forward_intermediates(groups, sensor, [last])
        torch.testing.assert_close(kept, encoder.forward_features(groups, sensor))
    if encoder.config.family == "ssl4eo_resnet":
        with pytest.raises(CheckpointError, match="head=linear"):
            encoder.forward_intermediates(groups, sensor, [0, last])


def test_a_checkpoint_made_of_it_answers_the_same_and_carries_its_licence(encoder, sensor, tmp_path):
    save_encoder(tmp_path / "c", encoder, [sensor], {})
    again = load_encoder(tmp_path / "c").eval()
    with torch.no_grad():
        groups = chips(sensor, encoder)
        assert torch.equal(encoder.forward_features(groups, sensor), again.forward_features(groups, sensor))
    record = json.loads((tmp_path / "c" / "config.json").read_text())
    assert record["encoder_licence"]["conditions"] == encoder.family.licence.conditions
    assert encoder.family.licence.conditions in (tmp_path / "c" / "README.md").read_text()


def test_weights_of_another_shape_are_refused(encoder, folder, tmp_path):
    if encoder.config.family == "galileo":
        pytest.skip("tests/bandloom/public_encoders/test_galileo.py does so")
    for file in folder.iterdir():
        if file.suffix in (".pt", ".pth", ".ckpt"):
            state = torch.load(file, weights_only=True)
            inner = next((v for v in state.values() if isinstance(v, dict)), state)
            del inner[next(name for name in inner if name.endswith(NORMS))]
            torch.save(state, tmp_path / file.name)
        elif file.suffix == ".safetensors":
            state = load_file(file)
            del state["norm.weight"]
            save_file(state, tmp_path / file.name)
        else:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(CheckpointError, match=f"{tmp_path}"):
        load_encoder(tmp_path)


def saved_anew(folder, out, change):
    """Copy a family's files, its weights as ``change`` makes them of the authors' by name."""
    for file in folder.iterdir():
        if file.suffix in (".pt", ".pth", ".ckpt"):
            state = torch.load(file, weights_only=True)
            torch.save(change(state), out / file.name)
        elif file.suffix == ".safetensors":
            save_file(change(load_file(file)), out / file.name)
        else:
            (out / file.name).write_bytes(file.read_bytes())
    return out


def spoilt(value):
    def change(state):
        inner = next((v for v in state.values() if isinstance(v, dict)), state)
        name = next(name for name in inner if name.endswith("weight") and inner[name].is_floating_point())
        inner[name] = inner[name].clone()
        inner[name].view(-1)[-1] = value
        return state

    return change


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(folder, tmp_path, value):
    with pytest.raises(CheckpointError, match=r"holds NaN or infinite weights \(the first in .*weight\)"):
        load_encoder(saved_anew(folder, tmp_path, spoilt(value)))


def test_weights_that_ranks_saved_in_a_wrapper_are_the_same(encoder, folder, tmp_path):
    if encoder.config.family == "croma":
        pytest.skip("its one file holds several networks, by whose names the right one is taken")

    def wrapped(state):
        inner = next((v for v in state.values() if isinstance(v, dict)), state)
        own = {f"module.{name}": value for name, value in inner.items()}
        return own if any(file.suffix == ".safetensors" for file in folder.iterdir()) else {"state_dict": own}

    again = load_encoder(saved_anew(folder, tmp_path, wrapped)).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("held", [b"", b"<html>404</html>", "a list", "a tensor"])
def test_a_file_without_weights_by_name_is_refused_in_words(folder, tmp_path, held):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
        if file.suffix in (".pt", ".pth", ".ckpt", ".safetensors"):
            spoiled = tmp_path / file.name
    if isinstance(held, bytes):
        spoiled.write_bytes(held)
    elif spoiled.suffix != ".safetensors":
        torch.save([torch.ones(2)] if held == "a list" else torch.ones(2), spoiled)
    else:
        save_file({}, spoiled)
    with pytest.raises(CheckpointError, match=f"{spoiled.name}.* (again|no weights by name)") as told:
        load_encoder(tmp_path)
    assert "weights_only" not in str(told.value)  # torch's advice, which would run whatever code the file holds


def test_a_folder_that_is_none_is_told_from_its_parent_its_child_and_its_files(folder, tmp_path):
    from bandloom.public_encoders.load import read_public

    with pytest.raises(CheckpointError, match="there is no folder"):
        read_public(tmp_path / "nothing")
    file = next(file for file in folder.iterdir() if file.suffix != ".json")
    with pytest.raises(CheckpointError, match="is a file; pass its folder"):
        read_public(file)
    with pytest.raises(CheckpointError, match=f"holds no public encoder itself; pass .*{folder.name}"):
        read_public(folder.parent)
    with pytest.raises(CheckpointError, match=f"files go by the names .*{file.name}"):
        read_public(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_licence_is_shown_before_use_and_the_record_can_be_read(family, caplog, capsys):
    say_licence.cache_clear()
    with caplog.at_level("INFO"):
        say_licence(family)
    assert families()[family].licence.conditions in caplog.text
    with pytest.raises(SystemExit) as ended:
        main(["encoder", "show", family])
    assert ended.value.code == 0
    assert "verified:" in capsys.readouterr().out


def test_the_licence_is_shown_before_use_of_what_was_made_of_the_authors_files(encoder, sensor, tmp_path, caplog):
    save_encoder(tmp_path / "made", encoder, [sensor], {})
    say_licence.cache_clear()
    with caplog.at_level("INFO"):
        load_encoder(tmp_path / "made")
        load_encoder(tmp_path / "made")
    assert caplog.text.count(encoder.family.licence.conditions) == 1
