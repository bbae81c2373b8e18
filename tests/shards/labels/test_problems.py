from bandloom.shards.labels.problems import Problems


def test_problems_that_differ_in_their_place_alone_are_one_line():
    problems = Problems()
    for number in range(27_000):
        problems.add(f"chip_{number}.tif", f"chip_{number}.tif has 13 bands and does not describe them.")
    problems.add("Pasture", "has 1 chips; 5 or more can be split.", "warning")
    assert problems.lines() == [
        "error: chip_0.tif and 26999 more: has 13 bands and does not describe them.",
        "warning: Pasture: has 1 chips; 5 or more can be split.",
    ]
    assert len(problems.to_dict()["problems"]) == 27_001  # a program gets them all


def test_a_few_alike_are_told_one_by_one():
    problems = Problems()
    for name in ("a", "b", "c"):
        problems.add(name, "is torn.")
    assert problems.lines() == ["error: a: is torn.", "error: b: is torn.", "error: c: is torn."]
