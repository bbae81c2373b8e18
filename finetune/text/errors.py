"""Errors of words: text models, captions, classes and indices that cannot be used."""

from bandloom.errors import BandloomError


class TextError(BandloomError):
    """A text model, a caption, a prompt or an index that cannot be used as asked."""
