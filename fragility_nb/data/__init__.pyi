# Made by tools/public_names.py.
from . import convert, folders, images, labels, pixels, sets
from .pixels import unit_pixels
from .images import LazyImages, check_images, check_labels, ImageData, channel_moments, generator
from .folders import IN_MEMORY, CORRUPTED, data_root, cache_folder, list_corruptions
from .sets import (
    DATASETS, load_data, load_digits, load_mnist, load_fashion_mnist, load_cifar10, load_cifar100,
    load_tiny_imagenet, load_imagenet, load_cifar10_jpeg, pick_device,
)
from .convert import as_data

__all__ = [
    "unit_pixels", "LazyImages", "check_images", "check_labels", "ImageData", "channel_moments", "generator",
    "IN_MEMORY", "CORRUPTED", "data_root", "cache_folder", "list_corruptions", "DATASETS", "load_data",
    "load_digits", "load_mnist", "load_fashion_mnist", "load_cifar10", "load_cifar100", "load_tiny_imagenet",
    "load_imagenet", "load_cifar10_jpeg", "pick_device", "as_data",
]
