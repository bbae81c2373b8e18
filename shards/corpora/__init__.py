"""Public pretraining corpora: recognised by their signature, read in order, one container of many samples at a time."""
