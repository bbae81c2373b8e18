"""Tables of embeddings, read back by this project and by a reader of GeoParquet."""

import json

import numpy as np
import pytest

from bandloom.embeddings.basis import Moments
from bandloom.embeddings.table import read_table, write_table
from bandloom.errors import LabelError

pa = pytest.importorskip("pyarrow")
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 6)).astype(np.float32)
PLACES = np.stack([RNG.uniform(-180, 180, 40), RNG.uniform(-80, 80, 40)], axis=1)


@pytest.mark.parametrize("packed", [False, True])
def test_rows_come_back_with_their_places(tmp_path, packed):
    moments = Moments()
    moments.add(FEATURES.T)
    basis = moments.basis(3, "int8") if packed else None
    codes = basis.encode(FEATURES.T).T if basis else FEATURES
    places = PLACES.copy()
    places[7] = np.nan
    write_table(tmp_path / "t.parquet", {"key": [str(n) for n in range(40)]}, places, codes, basis)
    features, columns = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(features, basis.decode(codes.T).T if basis else FEATURES)
    assert columns["key"] == [str(n) for n in range(40)]
    shapely = pytest.importorskip("shapely")
    points = shapely.from_wkb(columns["geometry"])
    assert points[7] is None
    kept = np.delete(np.arange(40), 7)
    np.testing.assert_array_equal(shapely.get_coordinates(points), places[kept])
    import pyarrow.parquet as pq

    schema = pq.read_schema(tmp_path / "t.parquet")
    told = json.loads(schema.metadata[b"geo"])
    assert told["columns"]["geometry"]["geometry_types"] == ["Point"]
    assert schema.field("embedding").type == pa.list_(pa.int8() if packed else pa.float32(), codes.shape[1])


def test_what_is_no_table_of_embeddings_is_refused(tmp_path):
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(LabelError, match="cannot be read as embeddings"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(LabelError, match="cannot be read as embeddings"):
        read_table(tmp_path / "none.parquet")
