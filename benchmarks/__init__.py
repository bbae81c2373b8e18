"""One script a figure, each beside a baseline in the same run."""
