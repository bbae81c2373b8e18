"""Where labels would help a map most: places where the model is unsure, that differ from each other."""
