"""Paths, such as `block/dense/kernel`: text with slashes."""

from collections.abc import Collection


def unique_path(path: str, taken: Collection[str]) -> str:
    """The path, with a number if it is taken."""
    unique, count = path, 1
    while unique in taken:
        count += 1
        unique = f"{path}_{count}"
    return unique


def joined(*parts: str) -> str:
    """The path of those parts that are not empty."""
    return "/".join(part for part in parts if part)


def layer_path(path: str) -> str:
    """The path of a weight without its last part."""
    return path.rpartition("/")[0] or path
