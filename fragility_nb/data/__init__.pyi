# Made by tools/public_names.py.
from . import convert, folders, images, labels, pixels, sets
from .convert import as_data
from .folders import CORRUPTED, IN_MEMORY, cache_folder, data_root, list_corruptions
from .images import ImageData, LazyImages, channel_moments, check_images, check_labels, generator
from .pixels import unit_pixels
from .sets import (
    DATASETS,
    load_cifar10,
    load_cifar10_jpeg,
    load_cifar100,
    load_data,
    load_digits,
    load_fashion_mnist,
    load_imagenet,
    load_mnist,
    load_tiny_imagenet,
    pick_device,
)

__all__ = [
    "unit_pixels", "LazyImages", "check_images", "check_labels", "ImageData", "channel_moments", "generator",
    "IN_MEMORY", "CORRUPTED", "data_root", "cache_folder", "list_corruptions", "DATASETS", "load_data",
    "load_digits", "load_mnist", "load_fashion_mnist", "load_cifar10", "load_cifar100", "load_tiny_imagenet",
    "load_imagenet", "load_cifar10_jpeg", "pick_device", "as_data",
]
