"""Batches for training: augmentation, a cache of decoded pictures, and their order."""
