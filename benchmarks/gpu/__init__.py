"""What a GPU does with this project, row by row: ``python -m benchmarks.gpu --plan`` says how to use an hour of one."""
