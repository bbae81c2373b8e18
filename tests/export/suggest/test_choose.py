import numpy as np

from bandloom.export.suggest.choose import far_from, spread, thinned


def candidates(count=400, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform(0, 3000, (count, 2)), random.uniform(0, 1, count), random.normal(size=(count, 3))


def test_thinning_keeps_the_most_unsure_of_every_square():
    xy, worth, _ = candidates()
    worth[:50] = 0
    best = {}
    for number in range(len(xy)):
        square = (int(xy[number, 0] // 500), int(xy[number, 1] // 500))
        if worth[number] > 0 and (square not in best or worth[number] > worth[best[square]]):
            best[square] = number
    kept = thinned(xy, worth, 500)
    assert sorted(kept.tolist()) == sorted(best.values())
    assert (np.diff(worth[kept]) <= 0).all()


def test_places_lie_apart_and_the_same_seed_chooses_the_same():
    xy, worth, features = candidates()
    chosen = spread(xy, worth, features, 30, 150, seed=3)
    distances = np.sqrt(((xy[chosen][:, None] - xy[chosen]) ** 2).sum(-1)) + np.eye(30) * 1e9
    assert distances.min() >= 150
    assert chosen.tolist() == spread(xy, worth, features, 30, 150, seed=3).tolist()
    assert chosen.tolist() != spread(xy, worth, features, 30, 150, seed=4).tolist()


def test_every_kind_of_place_is_chosen_before_any_twice():
    random = np.random.default_rng(1)
    kind = np.repeat(np.arange(5), (960, 10, 10, 10, 10))
    features = 100.0 * np.eye(5)[kind] + random.normal(size=(1000, 5)) * 0.01
    xy = np.stack([np.arange(1000) * 10.0, np.zeros(1000)], 1)
    chosen = spread(xy, np.ones(1000), features, 5, 10, seed=0)
    assert sorted(kind[chosen].tolist()) == [0, 1, 2, 3, 4]
    labelled = features[[0, 960, 970]]
    first = spread(xy, np.ones(1000), features, 2, 10, seed=0, labelled=labelled)
    assert sorted(kind[first].tolist()) == [3, 4]


def test_places_of_no_doubt_are_chosen_only_where_nothing_else_is_left():
    xy, worth, features = candidates(40)
    worth[:20] = 0
    assert set(spread(xy, worth, features, 20, 0.001, seed=0).tolist()) == set(range(20, 40))


def test_ground_around_labelled_points_is_left_out_and_fewer_places_come_back():
    xy = np.array([[0.0, 0.0], [90.0, 0.0], [100.0, 0.0], [400.0, 0.0]])
    assert far_from(xy, np.array([[0.0, 0.0]]), 100).tolist() == [False, False, True, True]
    assert len(spread(xy, np.ones(4), np.zeros((4, 2)), 9, 200, seed=0)) == 2
