"""The language: checks of arguments, types, patterns, paths. No TensorFlow."""
