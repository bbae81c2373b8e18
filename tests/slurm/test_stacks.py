from bandloom.slurm.stacks import read_stack, suspects

DUMP = """step 13
Fatal Python error: Aborted

Thread 0x00007f1 (most recent call first):
  File "/v/lib/python3.11/threading.py", line 324 in wait

Current thread 0x00007f2 (most recent call first):
  File "/v/site-packages/torch/distributed/distributed_c10d.py", line 3000 in all_reduce
  File "/v/site-packages/torch/distributed/c10d_logger.py", line 83 in wrapper
  File "/code/bandloom/ranks.py", line 80 in any
  File "/code/bandloom/trainer.py", line 99 in train

Extension modules: numpy.core (total: 1)
"""
LOADING = """Fatal Python error: Aborted

Current thread 0x00007f2 (most recent call first):
  File "/v/lib/python3.11/multiprocessing/connection.py", line 930 in wait
  File "/code/shards/loader.py", line 41 in next_batch
  File "/code/bandloom/trainer.py", line 95 in train
"""


def test_the_stack_of_the_thread_that_was_hit_is_read_innermost_first():
    stack = read_stack(DUMP)
    assert [frame.function for frame in stack] == ["all_reduce", "wrapper", "any", "train"]
    assert str(stack[2]) == "any (ranks.py:80)"


def test_a_log_without_a_stack_has_none():
    assert read_stack("step 1\nstep 2\n") == ()


def test_the_rank_that_is_not_in_the_collective_is_suspected_and_its_own_code_named():
    found = suspects({0: read_stack(DUMP), 1: read_stack(DUMP), 2: read_stack(LOADING), 3: read_stack(DUMP)})
    assert {rank: str(frame) for rank, frame in found.items()} == {2: "next_batch (loader.py:41)"}


def test_of_two_ranks_the_one_outside_of_the_collective_is_suspected():
    assert list(suspects({0: read_stack(LOADING), 1: read_stack(DUMP)})) == [0]


def test_nobody_is_suspected_when_all_are_in_one_place():
    assert suspects({rank: read_stack(DUMP) for rank in range(4)}) == {}
    assert suspects({}) == {}


def test_the_few_are_suspected_when_all_are_in_collectives():
    barrier = read_stack(DUMP.replace("in all_reduce", "in barrier"))
    assert list(suspects({0: read_stack(DUMP), 1: read_stack(DUMP), 2: barrier})) == [2]
