from bandloom.export.from_torch.calibrate import calibrate
from bandloom.export.from_torch.export_run import ground_of


def test_members_of_different_splits_keep_the_plain_mean(tmp_path, caplog):
    other = [{"training": {"split_hash": name}} for name in ("a", "b")]
    ground = ground_of(tmp_path, {"training": {"config": {"shards": str(tmp_path)}}}, tmp_path)
    assert calibrate(object(), ground, other) is None  # type: ignore[arg-type]
    assert "different splits" in caplog.text
