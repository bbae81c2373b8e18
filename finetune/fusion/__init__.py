"""Fusion of images with context in words (reports, notes, metadata): does it raise the accuracy of land cover?"""
