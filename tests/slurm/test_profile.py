import pytest

from bandloom.errors import ConfigError, SlurmError
from bandloom.slurm.profile import SHIPPED, Profile, load_profile


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_profile_loads(path):
    assert load_profile(path.stem) == load_profile(str(path))


def test_an_unknown_key_is_refused_and_the_nearest_named(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("partitoin: gpu\n")
    with pytest.raises(ConfigError, match=r"unknown key 'partitoin'.*Did you mean 'partition'"):
        load_profile(str(path))


def test_an_unknown_key_of_a_section_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preflight: {gpu: true}\n")
    with pytest.raises(ConfigError, match=r"preflight\.gpu.*Did you mean 'gpus'"):
        load_profile(str(path))


def test_an_unknown_profile_names_the_known_ones_and_where_to_write_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(SlurmError, match=r"no profile 'pyxsi'.*bandloom/slurm/pyxsi\.yaml.*Did you mean 'pyxis'"):
        load_profile("pyxsi")


def test_a_users_profile_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "bandloom" / "slurm").mkdir(parents=True)
    (tmp_path / "bandloom" / "slurm" / "plain.yaml").write_text("partition: mine\n")
    assert load_profile("plain").partition == "mine"


@pytest.mark.parametrize(
    ("key", "value"),
    [("setup", ["a\nb"]), ("partition", "a b"), ("sbatch", ["--x\n#SBATCH --y"]), ("gpus_per_node", -1)],
)
def test_a_value_that_would_break_the_script_is_refused(tmp_path, key, value):
    import yaml

    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value}))
    with pytest.raises(ConfigError, match=key):
        load_profile(str(path))


def test_there_is_one_rank_a_gpu_unless_told_otherwise():
    assert Profile(gpus_per_node=4).tasks_per_node == 4
    assert Profile(gpus_per_node=0).tasks_per_node == 1
    assert Profile(gpus_per_node=4, ranks_per_node=2).tasks_per_node == 2
