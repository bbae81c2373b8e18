"""Images joined with context in words: does a report, a note or metadata raise the accuracy of land cover?"""
