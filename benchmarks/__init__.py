"""One script a figure, each beside its rival in the same run."""
