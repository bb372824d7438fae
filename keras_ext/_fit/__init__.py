"""Who owns what callbacks put on a model for the time of a `fit`."""
