"""What a model is made of: layers, paths, units, groups of weights."""
