"""Land-cover classes: label sets, mappings between them, and the names, words and colours of classes."""
