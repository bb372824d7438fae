"""Types of numbers."""


def wide_dtype(dtype: object) -> str:
    """The type to compute in, and to keep state in: float64 for itself, else float32.

    Sums in half precision stop growing, and small factors vanish in it.

    Examples:
        >>> from keras_ext._core._dtypes import wide_dtype
        >>> wide_dtype("float16"), wide_dtype("float64")
        ('float32', 'float64')
    """
    return "float64" if "float64" in str(dtype) else "float32"
